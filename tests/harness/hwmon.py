# SPDX-License-Identifier: GPL-3.0-or-later
"""An ACPI power meter whose watts are known: momentary, or averaged over its interval."""

from __future__ import annotations

import os
from pathlib import Path

from harness.shapes import Shape
from harness.simulated import SimulatedTime


class PowerMeter:
    """One chip named power_meter below ``root``, in simulated time. Its figure is renewed every ``update_seconds``."""

    def __init__(self, root: Path, shape: Shape, update_seconds: float, average: bool, seed: int = 1) -> None:
        self.shape = shape
        self.update_seconds = update_seconds
        self.average = average
        folder = root / "class" / "hwmon" / "hwmon0"
        folder.mkdir(parents=True)
        (folder / "name").write_text("power_meter\n")
        (folder / "update_interval").write_text(f"{round(update_seconds * 1000)}\n")
        file = folder / ("power1_average" if average else "power1_input")
        file.touch()
        # Nobody reads while it writes, so the file is written in place, which is several times faster.
        self._descriptor = os.open(file, os.O_WRONLY)
        self._shown = -1.0
        self.show(0.0)
        self.time = SimulatedTime(self.show, seed)

    def close(self) -> None:
        os.close(self._descriptor)

    def show(self, t: float) -> None:
        renewed = t // self.update_seconds * self.update_seconds
        if renewed == self._shown:
            return
        self._shown = renewed
        if self.average and renewed > 0:
            begin = renewed - self.update_seconds
            watts = (self.shape.joules(renewed) - self.shape.joules(begin)) / self.update_seconds
        else:
            watts = self.shape.power_watts(renewed)
        os.ftruncate(self._descriptor, os.pwrite(self._descriptor, b"%d\n" % round(watts * 1e6), 0))

    def truth_joules(self, begin_ns: int, end_ns: int) -> float:
        return self.shape.joules(self.time.seconds(end_ns)) - self.shape.joules(self.time.seconds(begin_ns))
