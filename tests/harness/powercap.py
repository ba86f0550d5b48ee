# SPDX-License-Identifier: GPL-3.0-or-later
"""A powercap tree whose counters hold known energy, in simulated time or in real time.

In simulated time (``Simulation``) the clock is one's own: an hour of windows takes a second. In real time this file is a program that
drives a directory, so that several readers (this collection, a real Kepler by ``host.sysfs``, a real Scaphandre by
``SCAPHANDRE_POWERCAP_PATH``) see one truth:

    python tests/harness/powercap.py --root DIRECTORY --shape square --seed 1 --update-seconds 0.01

The shapes begin at the monotonic time in ``DIRECTORY/truth.json``; ``truth_joules`` computes what the counters were given between two
moments. Files are replaced as a whole, as the kernel's are; a reader opens them anew for each reading.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.shapes import SHAPES, Shape
from harness.simulated import SimulatedTime

RANGE_UJ = 262_143_328_850  # of a package of today
OLD_RANGE_UJ = 65_532_610_987  # of an older one: wraps after 11 minutes at 100 W


@dataclass
class Zone:
    """One counter with what befalls it. Times are seconds of the shape.

    update_seconds and jitter: the counter shows the energy as of its last update; updates are ``update_seconds`` apart, each late by a
    random part ``jitter`` of that. reset_at: it begins again at nought. frozen: between these two moments it does not move, and what it
    should have counted meanwhile is lost. gone: between these two there is no such zone.
    """

    entry: str
    name: str
    shape: Shape
    range_uj: int = RANGE_UJ
    start_uj: int = 0
    update_seconds: float = 0.001
    jitter: float = 0.0
    seed: int = 1
    reset_at: float | None = None
    frozen: tuple[float, float] | None = None
    gone: tuple[float, float] | None = None

    @property
    def slowest_update_seconds(self) -> float:
        return self.update_seconds * (1 + self.jitter)

    def _last_update(self, t: float) -> float:
        number = int(t / self.update_seconds)
        return max(0.0, next(late for late in map(self._update, range(number, number - 3, -1)) if late <= t))

    def _update(self, number: int) -> float:
        """When the update of this number comes; any of them can be asked for, so the lateness is a hash and no sequence."""
        chance = math.sin(number * 12.9898 + self.seed * 78.233) * 43758.5453 % 1.0
        return (number + self.jitter * chance) * self.update_seconds

    def shows_uj(self, t: float) -> int:
        """What energy_uj holds at that moment."""
        shown_at = self._last_update(t)
        joules, start = self.shape.joules(shown_at), self.start_uj
        if self.frozen is not None and shown_at > self.frozen[0]:
            joules -= self.shape.joules(min(shown_at, self.frozen[1])) - self.shape.joules(self.frozen[0])
        if self.reset_at is not None and shown_at >= self.reset_at:
            joules, start = joules - self.shape.joules(self.reset_at), 0
        return int(start + joules * 1e6) % self.range_uj

    def is_gone(self, t: float) -> bool:
        return self.gone is not None and self.gone[0] <= t < self.gone[1]


class Tree:
    """The directory with the zones in it."""

    def __init__(self, root: Path, zones: list[Zone]) -> None:
        self.root = root
        self.zones = zones
        for zone in zones:
            folder = self.file(zone).parent
            folder.mkdir(parents=True)
            (folder / "name").write_text(f"{zone.name}\n")
            (folder / "max_energy_range_uj").write_text(f"{zone.range_uj}\n")
        self.show(0.0)

    def file(self, zone: Zone) -> Path:
        """The counter's file."""
        return self.root / "class" / "powercap" / zone.entry / "energy_uj"

    def show(self, t: float) -> None:
        """Write what the counters hold at that moment, each file whole or not at all."""
        for zone in self.zones:
            file = self.file(zone)
            if zone.is_gone(t):
                file.unlink(missing_ok=True)
                continue
            (file.parent / "next").write_text(f"{zone.shows_uj(t)}\n")
            os.replace(file.parent / "next", file)

    def truth_joules(self, begin: float, end: float) -> float:
        """What was used between two moments, all zones together."""
        return sum(zone.shape.joules(end) - zone.shape.joules(begin) for zone in self.zones)


class Simulation(SimulatedTime):
    """A tree in time of one's own. It is the clock of a source: a reading takes some microseconds, and shows what the counters hold
    half-way.

    Nobody reads while it writes, so the files are written in place, which is several times faster.
    """

    def __init__(self, root: Path, zones: list[Zone], seed: int = 1) -> None:
        self.tree = Tree(root, zones)
        self._open = [(zone, os.open(self.tree.file(zone), os.O_WRONLY)) for zone in zones]
        super().__init__(self._show_in_place, seed)

    def close(self) -> None:
        for _zone, descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def truth_joules(self, begin_ns: int, end_ns: int) -> float:
        return self.tree.truth_joules(self.seconds(begin_ns), self.seconds(end_ns))

    def _show_in_place(self, t: float) -> None:
        if any(zone.gone is not None for zone in self.tree.zones):
            self.tree.show(t)
            return
        for zone, descriptor in self._open:
            os.ftruncate(descriptor, os.pwrite(descriptor, b"%d\n" % zone.shows_uj(t), 0))


def drive(tree: Tree, start_ns: int, write_seconds: float, stop: threading.Event) -> None:
    """Write the tree in real time until told to stop."""
    while not stop.is_set():
        tree.show((time.monotonic_ns() - start_ns) / 1e9)
        stop.wait(write_seconds)


def truth_joules(root: Path, begin_ns: int, end_ns: int) -> float:
    """What the program that drives ``root`` gave its counters between two moments of the monotonic clock."""
    truth = json.loads((root / "truth.json").read_text())
    shape = SHAPES[truth["shape"]](truth["seed"])
    return truth["zones"] * (shape.joules((end_ns - truth["start_ns"]) / 1e9) - shape.joules((begin_ns - truth["start_ns"]) / 1e9))


def main() -> None:
    parser = argparse.ArgumentParser(description="Drive a powercap tree in real time until SIGTERM")
    parser.add_argument("--root", type=Path, required=True, help="becomes a sysfs: class/powercap below it")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="square")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--packages", type=int, default=1)
    parser.add_argument("--range-uj", type=int, default=RANGE_UJ)
    parser.add_argument("--start-uj", type=int, default=1_000_000)
    parser.add_argument("--update-seconds", type=float, default=0.01)
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    zones = [
        Zone(
            f"intel-rapl:{number}",
            f"package-{number}",
            SHAPES[arguments.shape](arguments.seed),
            arguments.range_uj,
            arguments.start_uj + 7_000_000 * number,
            update_seconds=1e-6,
        )
        for number in range(arguments.packages)
    ]
    tree = Tree(arguments.root, zones)
    start_ns = time.monotonic_ns()
    truth = {"start_ns": start_ns, "shape": arguments.shape, "seed": arguments.seed, "zones": len(zones)}
    (arguments.root / "truth.json").write_text(json.dumps(truth))
    print("ready", flush=True)
    drive(tree, start_ns, arguments.update_seconds, stop)


if __name__ == "__main__":
    main()
