# SPDX-License-Identifier: GPL-3.0-or-later
"""Host energy and power from Scaphandre's Prometheus exporter, and what it gives to processes.

``scaph_host_energy_microjoules`` is the raw sum of RAPL counters: it falls when one of them wraps, and the exporter does not tell
their range, so such a window is invalid. What "host" means differs between machines: psys where there is one, else packages + dram.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import KjouleError
from .exposition import ACCEPT, Sample, parse
from .kepler import LISTED, TOLERANCE, Series
from .polled import Answer, PolledSource
from .source import Accuracy, Channel
from .web import WEB_OPTIONS, WebClient, finite, text_option

OPTIONS = (*WEB_OPTIONS, "quantity")

URL = "http://127.0.0.1:8080"
ENERGY = "scaph_host_energy_microjoules"
POWER = "scaph_host_power_microwatts"
DOMAIN = "scaph_domain_energy_microjoules"
PROCESS = "scaph_process_power_consumption_microwatts"
PREFIXES = ("scaph_host_", "scaph_domain_", "scaph_process_power_")
#: The exporter looks at its counters when a request comes more than 2 s after the last *request*, whoever made it, and shows the last look
#: otherwise (src/exporters/prometheus.rs of 1.0.0). Asked once a second it never looks again, so it is left alone for that long.
UPDATE_SECONDS = 2.0
PAUSE_SECONDS = 2.05
ACCURACY = Accuracy(0.05, "Khan et al. 2018 (RAPL in action): package RAPL against wall power")


def make(options: dict[str, Any]) -> PolledSource:
    """Options: WEB_OPTIONS (url without /metrics, default http://127.0.0.1:8080); quantity (energy or power; energy where there is one)."""
    quantity = text_option(options, "quantity", "scaphandre", "auto")
    if quantity not in ("auto", "energy", "power"):
        raise KjouleError("option quantity of the energy source scaphandre", expected="energy or power", seen=repr(quantity))
    client = WebClient.from_options(options, "scaphandre", URL)
    path = "" if client.base.endswith("/metrics") else "/metrics"

    def samples() -> list[Sample]:
        return parse(client.get(path, ACCEPT).decode("utf-8", errors="replace"), client.what, PREFIXES)

    try:
        first = samples()
        if quantity == "auto":
            quantity = "energy" if any(sample.name == ENERGY for sample in first) else "power"
        counter = quantity == "energy"
        return PolledSource(
            name="scaphandre",
            kind="counter" if counter else "gauge",
            scope=scope_of(first),
            channels=(Channel("host", "J" if counter else "W"),),
            resolution=1e-6,
            update_seconds=UPDATE_SECONDS,
            accuracy=ACCURACY,
            ask=lambda: Answer((host_figure(samples(), ENERGY if counter else POWER, client.what),)),
            more={"at": client.what},
            give_back=client.close,
            pause_seconds=PAUSE_SECONDS,
        )
    except BaseException:
        client.close()
        raise


def scope_of(samples: list[Sample]) -> str:
    """What this exporter's host is made of: psys, as the label of its figure says, or packages with or without dram."""
    if any(sample.name in (ENERGY, POWER) and sample.labels.get("value_source") == "powercap_rapl_psys" for sample in samples):
        return "scaphandre:psys"
    dram = any(sample.name == DOMAIN and "dram" in sample.labels.values() for sample in samples)
    return "scaphandre:package+dram" if dram else "scaphandre:package"


def host_figure(samples: list[Sample], metric: str, what: str) -> float:
    """The host's joules or watts of one scrape. Raises KjouleError when it is not there exactly once, or is no number."""
    found = [sample.value for sample in samples if sample.name == metric]
    if len(found) != 1:
        raise KjouleError(
            f"{what} shows no {metric}",
            expected="one sample",
            seen=str(len(found)),
            next_step="is it Scaphandre, and does it see RAPL? Power comes with its second look only",
        )
    return finite(found[0], f"{metric} of {what}") * 1e-6


def process_joules(series: list[Series], begin: float, end: float, host_joules: float) -> dict[str, Any]:
    """Energy by process between two moments of the series' clock: the trapezoid rule on what the exporter gives to each.

    ``{joules, listed: [{pid, exe, joules}], others_joules, reasons}``; more than the host has used is a reason not to believe it.
    """
    joules: dict[tuple[str, str], float] = {}
    for one in series:
        if one.name == PROCESS:
            inside = [point for point in one.points if begin <= point.t <= end]
            gained = math.fsum((a.value + b.value) / 2e6 * (b.t - a.t) for a, b in zip(inside, inside[1:]))
            who = (one.labels.get("pid", ""), one.labels.get("exe", ""))
            joules[who] = joules.get(who, 0.0) + gained
    total = math.fsum(joules.values())
    ranked = sorted(((gained, who) for who, gained in joules.items() if gained > 0), reverse=True)
    over = total > host_joules * (1 + TOLERANCE)
    return {
        "joules": total,
        "listed": [{"pid": pid, "exe": exe, "joules": gained} for gained, (pid, exe) in ranked[:LISTED]],
        "others_joules": math.fsum(gained for gained, _who in ranked[LISTED:]),
        "reasons": [f"processes are given {total:.4g} J, the host has used {host_joules:.4g} J"] if over else [],
    }
