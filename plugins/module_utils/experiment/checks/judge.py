# SPDX-License-Identifier: GPL-3.0-or-later
"""From looks at a host to the results of its checks: what is found is compared with thresholds, which are data. Pure.

A result is ``{name, level, figure, unit, threshold, text, advice}``. Levels: ``ok``; ``warn``: the figures of the period are noisier than
they could be; ``fail``: the period does not count; ``unknown``: this host does not tell. ``threshold`` is the one crossed, else the
first one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Callable

from .cron import fires_within
from .host_state import HostState


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the looks.

    ``planned_seconds``: how long the period will take at least. ``base_celsius``: the temperature at the start of the first period.
    ``others_share``: share of all processors that others used within the windows. ``sample_times_ns``: when the meter's sampler woke up.
    """

    planned_seconds: float = 0.0
    base_celsius: float | None = None
    others_share: float | None = None
    sample_times_ns: list[int] = field(default_factory=list)
    sample_seconds: float = 1.0
    lab_has_guests: bool = False


#: (figure, what was seen); the figure None where the host does not tell, and then the text says what is missing.
Found = tuple[Any, str]
Check = Callable[[HostState, HostState, Circumstances], Found]


# --- before the period: ``first`` and ``last`` are two looks, a moment apart


def _load(first: HostState, last: HostState, _about: Circumstances) -> Found:
    total = last.cpu.total - first.cpu.total
    if total <= 0:
        return None, "the two looks are too close together"
    share = (last.cpu.busy - first.cpu.busy) / total
    return share, f"{100 * share:.1f} % of all processors were busy before the period"


def _governor(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if not last.governors:
        return None, "no cpufreq"
    other = {policy: governor for policy, governor in last.governors.items() if governor != "performance"}
    kinds = ", ".join(sorted(set(last.governors.values())))
    preferences = ", ".join(sorted(set(last.energy_preferences.values())))
    return len(other), f"{kinds}{f' (energy preference {preferences})' if preferences else ''} on {len(last.governors)} frequency domains"


def _turbo(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    return (None, "no switch for turbo") if last.turbo is None else (int(last.turbo), "turbo is on" if last.turbo else "turbo is off")


def _smt(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if last.smt is None:
        return None, "no switch for SMT"
    return int(last.smt), "SMT is on" if last.smt else "SMT is off, or the processor has none"


def _nmi_watchdog(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if last.nmi_watchdog is None:
        return None, "no NMI watchdog"
    return int(last.nmi_watchdog), "the NMI watchdog is on" if last.nmi_watchdog else "the NMI watchdog is off"


def _frequency(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if not last.frequency_limits:
        return None, "no cpufreq"
    share, policy = max((1 - allowed / able, policy) for policy, (allowed, able) in last.frequency_limits.items())
    allowed, able = last.frequency_limits[policy]
    return max(0.0, share), f"{policy} may run at up to {allowed / 1000:.0f} of {able / 1000:.0f} MHz"


def _temperature(_first: HostState, last: HostState, about: Circumstances) -> Found:
    if last.celsius is None:
        return None, "no temperature sensor of the processor"
    if about.base_celsius is None:
        return 0.0, f"{last.celsius:.1f} °C, the base of this run"
    return (
        last.celsius - about.base_celsius,
        f"{last.celsius:.1f} °C, {last.celsius - about.base_celsius:+.1f} against the base of this run",
    )


def _swap(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if last.swap_used_bytes is None:
        return None, "the use of swap is not told"
    return last.swap_used_bytes / 2**20, f"{last.swap_used_bytes / 2**20:.0f} MiB of swap in use"


def _timers_due(_first: HostState, last: HostState, about: Circumstances) -> Found:
    if last.timers is None:
        return None, "no systemd that lists its timers as JSON"
    until = last.realtime_ns + int(about.planned_seconds * 1e9)
    due = sorted(timer.unit for timer in last.timers if 0 < timer.next_ns <= until)
    return len(due), f"due within the {about.planned_seconds:.0f} s of the period: {_list(due)}"


def _cron_due(_first: HostState, last: HostState, about: Circumstances) -> Found:
    begin = last.realtime_ns / 1e9
    return _cron_between(last, begin, begin + about.planned_seconds, "due within the period")


def _cron_between(state: HostState, begin: float, end: float, what: str) -> Found:
    if not state.cron_runs:
        return 0, "no cron daemon runs"
    lines = [line for line in state.crontabs if fires_within(line, begin, end)]
    return len(lines), f"{what}: {_list(lines)}"


def _containers(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    return len(last.containers), f"other containers: {_list(sorted(last.containers))}"


def _virtual_machines(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    return len(last.virtual_machines), f"virtual machines: {_list(list(last.virtual_machines))}"


def _power_cap(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if not last.power_caps:
        return None, "no RAPL limits with a maximum"
    share, name = max((1 - limit / most, name) for name, (limit, most) in last.power_caps.items())
    limit, most = last.power_caps[name]
    return max(0.0, share), f"{name}: {limit / 1e6:.1f} W of at most {most / 1e6:.1f} W"


def _energy_filter(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if last.energy_filter is None:
        return None, "the processor's registers cannot be read (module msr, root), or it has no such filter"
    return int(last.energy_filter), f"the filter of energy readings is {'on' if last.energy_filter else 'off'}"


def _disk(_first: HostState, last: HostState, _about: Circumstances) -> Found:
    if last.free_bytes is None:
        return None, "no directory to look at"
    return last.free_bytes / 2**20, f"{last.free_bytes / 2**20:.0f} MiB free where labs and journals live"


# --- after the period: ``first`` is the look before it, ``last`` the one after it


def _others(_first: HostState, _last: HostState, about: Circumstances) -> Found:
    if about.others_share is None:
        return None, "no window was measured"
    return about.others_share, f"{100 * about.others_share:.1f} % of the time of all processors went to nothing of this measurement"


def _steal(first: HostState, last: HostState, _about: Circumstances) -> Found:
    return _share_of(last.cpu.steal - first.cpu.steal, last.cpu.total - first.cpu.total, "was taken by other guests (steal)")


def _guest(first: HostState, last: HostState, about: Circumstances) -> Found:
    if about.lab_has_guests:
        return None, "the lab itself may be a virtual machine"
    return _share_of(last.cpu.guest - first.cpu.guest, last.cpu.total - first.cpu.total, "went to virtual machines on this host")


def _share_of(part: int, total: int, what: str) -> Found:
    if total <= 0:
        return None, "the clock of the machine did not move"
    return part / total, f"{100 * part / total:.2f} % of the time of all processors {what}"


def _throttling(first: HostState, last: HostState, _about: Circumstances) -> Found:
    pairs = [(first.core_throttles, last.core_throttles), (first.package_throttles, last.package_throttles)]
    told = [after - before for before, after in pairs if before is not None and after is not None]
    return (sum(told), f"the processor was slowed down {sum(told)} times for its heat") if told else (None, "no thermal counters")


def _warming(first: HostState, last: HostState, _about: Circumstances) -> Found:
    if first.celsius is None or last.celsius is None:
        return None, "no temperature sensor of the processor"
    return abs(last.celsius - first.celsius), f"from {first.celsius:.1f} to {last.celsius:.1f} °C"


def _swapping(first: HostState, last: HostState, _about: Circumstances) -> Found:
    if first.swapped_pages is None or last.swapped_pages is None:
        return None, "swapped pages are not counted"
    pages = last.swapped_pages - first.swapped_pages
    return pages, f"{pages} pages were swapped in or out"


def _timers_fired(first: HostState, last: HostState, _about: Circumstances) -> Found:
    if last.timers is None:
        return None, "no systemd that lists its timers as JSON"
    fired = sorted(timer.unit for timer in last.timers if first.realtime_ns < timer.last_ns <= last.realtime_ns)
    return len(fired), f"fired during the period: {_list(fired)}"


def _cron_fired(first: HostState, last: HostState, _about: Circumstances) -> Found:
    return _cron_between(last, first.realtime_ns / 1e9, last.realtime_ns / 1e9, "fired during the period")


def _time_step(first: HostState, last: HostState, _about: Circumstances) -> Found:
    # Slewing (adjtimex) moves both clocks alike; only a step moves one of them.
    step = ((last.realtime_ns - last.monotonic_ns) - (first.realtime_ns - first.monotonic_ns)) / 1e9
    stepped = max(0.0, abs(step) - _doubt(first, last))
    return stepped, f"the wall clock was stepped by {step:+.3f} s; windows are timed on the monotonic clock, logs are not"


def _suspend(first: HostState, last: HostState, _about: Circumstances) -> Found:
    slept = ((last.boottime_ns - last.monotonic_ns) - (first.boottime_ns - first.monotonic_ns)) / 1e9
    slept = max(0.0, slept - _doubt(first, last))
    return slept, f"the host slept for {slept:.1f} s"


def _doubt(first: HostState, last: HostState) -> float:
    """By how many seconds the difference of two clocks may have changed because they were not read at one moment."""
    return (first.doubt_ns + last.doubt_ns) / 1e9


#: What must be the same after a period as before it, for its windows to have been measured under one set of conditions.
_CONDITIONS = {
    "governor": "governors",
    "energy preference": "energy_preferences",
    "turbo": "turbo",
    "SMT": "smt",
    "NMI watchdog": "nmi_watchdog",
    "frequency limit": "frequency_limits",
    "power cap": "power_caps",
    "energy filter": "energy_filter",
    "power supply": "on_mains",
}


def _changed(first: HostState, last: HostState, _about: Circumstances) -> Found:
    changed = [name for name, attribute in _CONDITIONS.items() if getattr(first, attribute) != getattr(last, attribute)]
    return len(changed), f"changed during the period: {_list(changed)}"


def _jitter(_first: HostState, _last: HostState, about: Circumstances) -> Found:
    times = about.sample_times_ns
    gaps = sorted(abs((later - earlier) / 1e9 / about.sample_seconds - 1) for earlier, later in zip(times, times[1:]))
    if len(gaps) < 2:
        return None, "fewer than three samples"
    worst = gaps[math.ceil(0.95 * len(gaps)) - 1]
    return worst, f"95 % of {len(gaps)} samples came within {100 * worst:.1f} % of {about.sample_seconds:g} s"


#: The checks before and after a period, by name, in the order of the report.
BEFORE: dict[str, Check] = {
    "load": _load,
    "governor": _governor,
    "turbo": _turbo,
    "smt": _smt,
    "nmi_watchdog": _nmi_watchdog,
    "frequency": _frequency,
    "temperature": _temperature,
    "swap": _swap,
    "timers": _timers_due,
    "cron": _cron_due,
    "containers": _containers,
    "virtual_machines": _virtual_machines,
    "power_cap": _power_cap,
    "energy_filter": _energy_filter,
    "disk": _disk,
}
AFTER: dict[str, Check] = {
    "others": _others,
    "steal": _steal,
    "guest": _guest,
    "throttling": _throttling,
    "warming": _warming,
    "swapping": _swapping,
    "timers": _timers_fired,
    "cron": _cron_fired,
    "containers": _containers,
    "virtual_machines": _virtual_machines,
    "time_step": _time_step,
    "suspend": _suspend,
    "changed": _changed,
    "jitter": _jitter,
}


def judge(
    checks: dict[str, Check], thresholds: dict[str, dict[str, Any]], first: HostState, last: HostState, about: Circumstances
) -> list[dict[str, Any]]:
    """Results of those ``checks`` that ``thresholds`` names; it holds rows ``{unit, worse, warn, fail, advice}`` by name."""
    results = []
    for name, check in checks.items():
        if name in thresholds:
            row = thresholds[name]
            figure, text = check(first, last, about)
            level, threshold = level_of(figure, row)
            results.append(
                {
                    "name": name,
                    "level": level,
                    "figure": figure if figure is None else round(figure, 6),
                    "unit": row["unit"],
                    "threshold": threshold,
                    "text": f"not known here: {text}" if figure is None else text,
                    "advice": row["advice"] if level in ("warn", "fail") else "",
                }
            )
    return results


def level_of(figure: float | None, row: dict[str, Any]) -> tuple[str, float | None]:
    """The level of a figure and the threshold that it crossed, or else the first one there is."""
    first = row["warn"] if row["warn"] is not None else row["fail"]
    if figure is None:
        return "unknown", first
    for level in ("fail", "warn"):
        threshold = row[level]
        if threshold is not None and (figure < threshold if row["worse"] == "below" else figure > threshold):
            return level, threshold
    return "ok", first


def _list(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
