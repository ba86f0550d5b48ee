# SPDX-License-Identifier: GPL-3.0-or-later
"""The sampler alone, in a process of its own, so that nothing else is in what it costs: run by energy.py.

python bench/energy_sampler.py SYSFS_ROOT SECONDS PID...   prints {"mcpu": ..., "megabytes": ...}
"""

from __future__ import annotations

import json
import sys
import time

from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.energy.meter import Meter
from ansible_collections.kjoule.bench.plugins.module_utils.energy.rapl import RaplSource
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify


def resident_megabytes(pid: int | str) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmRSS")) / 1024


def main() -> None:
    root, seconds, pids = sys.argv[1], float(sys.argv[2]), [int(pid) for pid in sys.argv[3:]]
    clocks = [ProcessClock(f"component-{pid}", identity) for pid in pids if (identity := identify(pid)) is not None]
    meter = Meter(clocks, RaplSource(root), 1.0, lambda: None)
    meter.start()
    begin, cpu = time.monotonic(), time.process_time()
    meter.hold(seconds)
    spent, elapsed = time.process_time() - cpu, time.monotonic() - begin
    meter.stop()
    samples = meter.samples()
    assert len(clocks) == len(pids)
    assert min(len(samples["t_ns"]), len(samples["energy"]["t_ns"])) >= seconds * 0.8
    print(json.dumps({"mcpu": 1000 * spent / elapsed, "megabytes": resident_megabytes("self")}))


if __name__ == "__main__":
    main()
