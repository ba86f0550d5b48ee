# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of a report as SVG. They draw what the report holds and compute nothing; each comes with its numbers and the same in words.

matplotlib's SVG backend draws without a display and with the fonts it brings along. Text stays text, so that it can be selected and
found, and colours are variables of the page, so that they follow its light, dark and printed form.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from .assumptions import multiplied
from .document import Picture, Table
from .metrics import WHEN
from .words import bounded, interval, seconds, significant

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
#: Names of the page's colours, and the stand-ins that matplotlib draws with.
NAMES = ("paper", "ink", "muted", "line", "band", "first", "second", "good", *(f"c{number}" for number in range(1, 11)))
COLOUR = {name: f"#0a00{index:02x}" for index, name in enumerate(NAMES, start=1)}
PAPER, INK, MUTED, LINE, BAND, FIRST, SECOND = (COLOUR[name] for name in NAMES[:7])
SIDES = (FIRST, SECOND)
MARKERS = ("o", "s")
#: More points than this stand so close that a line shows the same, in a tenth of the size.
MOST_MARKERS = 1000
#: Inches; half of the page's width, so that letters stay readable on a phone.
WIDTH, HEIGHT = 4.6, 2.7

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_locale": False,
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.constrained_layout.use": True,
}


def _page_svg(drawn: str, alt: str) -> str:
    """SVG that can stand in a page: no prologue, no style or size of its own, no identifiers that another picture has as well."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(drawn)
    for element in root.iter():
        for child in list(element):
            if child.tag in (f"{{{SVG}}}style", f"{{{SVG}}}metadata"):
                element.remove(child)
        if element.tag == f"{{{SVG}}}g":
            element.attrib.pop("id", None)
        style = element.attrib.get("style")
        if style:
            for name, stand_in in COLOUR.items():
                style = style.replace(stand_in, f"var(--{name})")
            element.set("style", re.sub(r"font-family: [^;]*", "font-family: inherit", style))
        if element.tag == f"{{{SVG}}}text" and element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", alt)
    return ElementTree.tostring(root, encoding="unicode")


def draw(name: str, alt: str, paint: Callable[[Axes], None], height: float = HEIGHT) -> Callable[[], str]:
    """What draws the SVG of one pair of axes with ``paint``. ``name`` makes its identifiers differ from those of other pictures."""
    return partial(_draw, name, alt, paint, height)


def _draw(name: str, alt: str, paint: Callable[[Axes], None], height: float) -> str:
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_subplot()
        paint(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _page_svg(stream.getvalue(), alt)


def scaled(unit: str) -> tuple[float, str]:
    """The factor and name in which a reader sees a unit."""
    return (1000, "mCPU") if unit == "CPU" else (1, unit)


def _legend(axes: Axes, columns: int = 2) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=columns, handlelength=1.2, columnspacing=1.2)


def _whole_numbers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def differences(report: dict[str, Any]) -> Picture | None:
    """The paired difference of the primary metric in every block, with its mean and interval."""
    metric = report["metrics"].get(report["primary"] or "")
    if metric is None:
        return None
    factor, unit = scaled(metric["unit"])
    effect, blocks = metric["effect"], metric["blocks"]
    values = [value * factor for value in effect["differences"]]
    margin = effect["equivalence"]["margin"] * factor if effect["equivalence"] else None

    def paint(axes: Axes) -> None:
        if margin is not None:
            axes.axhspan(-margin, margin, color=BAND, label="counts as the same", zorder=0)
        axes.axhline(0, color=MUTED, linewidth=1)
        if effect["low"] is not None:
            label = f"mean and {100 * effect['confidence']:g} % interval"
            axes.axhspan(effect["low"] * factor, effect["high"] * factor, color=SECOND, alpha=0.25, linewidth=0)
            axes.axhline(effect["mean"] * factor, color=SECOND, linewidth=1.5, label=label)
        style: dict[str, Any] = (
            {"marker": "o", "linestyle": "", "markersize": 6} if len(blocks) <= MOST_MARKERS else {"linewidth": 0.3, "zorder": 1.5}
        )
        axes.plot(blocks, values, color=FIRST, label="one block", **style)
        axes.set_xlabel("block")
        axes.set_ylabel(f"difference, {unit}")
        axes.margins(x=0.08)
        _whole_numbers(axes)
        _legend(axes, 3)

    above = sum(value > 0 for value in values)
    alt = (
        f"Difference ({report['question']['effect']}), {metric['what']}: {interval(effect, factor, unit, sign=True)}; "
        f"above zero in {above} of {len(values)} blocks."
    )
    rows = [[block, significant(value)] for block, value in zip(blocks, values)]
    return Picture(
        "Difference in every block",
        alt,
        draw("differences", alt, paint),
        Table("Difference by block", ["block", f"difference, {unit}"], rows),
    )


def run_order(report: dict[str, Any]) -> Picture | None:
    """The primary metric of every period that counts, in the order in which they ran: drift and carry-over would show here."""
    metric = report["metrics"].get(report["primary"] or "")
    if metric is None or not report["run_order"]:
        return None
    factor, unit = scaled(metric["unit"])
    labels = report["question"]["labels"]
    rows = [row for row in report["run_order"] if row["value"] is not None]

    def paint(axes: Axes) -> None:
        for label, colour, marker in zip(labels, SIDES, MARKERS):
            own = [(number, row["value"] * factor) for number, row in enumerate(rows, start=1) if row["label"] == label]
            style: dict[str, Any] = {"marker": marker, "markersize": 5, "linestyle": ":", "linewidth": 1}
            if len(rows) > MOST_MARKERS:
                style = {"linewidth": 0.3}
            axes.plot(*zip(*own), color=colour, label=label, **style)
        axes.set_xlabel("period, in the order they ran")
        axes.set_ylabel(f"{report['primary']}, {unit}")
        axes.set_ylim(bottom=0)
        _whole_numbers(axes)
        _legend(axes)

    alt = (
        f"Primary metric ({metric['what']}) of {len(rows)} periods, in the order they ran. "
        "A trend would be drift of the machine; the blocks cancel it."
    )
    table = [
        [number, row["block"], row["label"], row["started_at"] or "-", significant(row["value"] * factor)]
        for number, row in enumerate(rows, start=1)
    ]
    return Picture(
        "Order of the periods",
        alt,
        draw("order", alt, paint),
        Table("Periods in order", ["period", "block", "side", "started", unit], table),
    )


def timeline(report: dict[str, Any], side: dict[str, Any], top: float) -> Picture:
    """CPU over the time of one period, with its phases; ``top`` is the end of the axis, the same for all sides, in CPU."""
    times = side["seconds"]
    roles = [
        (role, colour)
        for role, colour in (("cluster", COLOUR["c1"]), ("arm", COLOUR["c2"]), ("simulator", COLOUR["c8"]))
        if any(side["cpu"][role])
    ]
    phases = side["phases"]

    def paint(axes: Axes) -> None:
        span, free_from = phases[-1]["end"] - phases[0]["start"], phases[0]["start"]
        for number, phase in enumerate(phases):
            if number % 2:
                axes.axvspan(phase["start"], phase["end"], color=BAND, linewidth=0, zorder=0)
            if (phase["start"] + phase["end"]) / 2 < free_from:  # its name would stand on another; the table has it
                continue
            free_from = (phase["start"] + phase["end"]) / 2 + 0.05 * span
            axes.text(
                (phase["start"] + phase["end"]) / 2,
                1.02,
                phase["name"],
                transform=axes.get_xaxis_transform(),
                rotation=38,
                ha="left",
                va="bottom",
                fontsize=7,
                color=MUTED,
            )
        stacks = [[1000 * value for value in side["cpu"][role]] for role, _colour in roles]
        axes.stackplot(
            times, stacks, colors=[colour for _role, colour in roles], labels=[role for role, _colour in roles], linewidth=0, step="pre"
        )
        axes.set_xlim(phases[0]["start"], phases[-1]["end"])
        axes.set_ylim(0, 1000 * top)
        axes.set_xlabel("seconds")
        axes.set_ylabel("mCPU")
        if all(phase["watts"] is not None for phase in phases):
            watts = axes.twinx()
            edges = [phase["start"] for phase in phases] + [phases[-1]["end"]]
            watts.stairs([phase["watts"] for phase in phases], edges, color=INK, linewidth=1.2, baseline=None, label="whole host, W")
            watts.set_ylabel("whole host, W")
        _legend(axes, 3)

    busiest = max(phases, key=lambda phase: phase["cpu"])
    alt = (
        f"CPU time of {side['label']} over one period (block {side['block']}, the one with the median difference). Mean by phase: "
        + ", ".join(f"{phase['name']} {significant(1000 * phase['cpu'])}" for phase in phases)
        + f" mCPU; most in {busiest['name']}."
    )
    head = ["phase", "from, s", "to, s", "mCPU, mean", "whole host, W"]
    rows = [
        [phase["name"], f"{phase['start']:.1f}", f"{phase['end']:.1f}", significant(1000 * phase["cpu"]), significant(phase["watts"])]
        for phase in phases
    ]
    title = f"One period over time: {side['label']}"
    return Picture(title, alt, draw(f"time-{side['label']}", alt, paint, HEIGHT + 0.5), Table(title, head, rows))


def timelines(report: dict[str, Any]) -> list[Picture]:
    """One picture for each side, on the same scale."""
    sides = report["timeline"]
    peaks = [sum(values) for side in sides for values in zip(*side["cpu"].values())]
    return [timeline(report, side, 1.05 * max(peaks)) for side in sides] if peaks and max(peaks) > 0 else []


def components(report: dict[str, Any]) -> Picture | None:
    """Mean CPU of every component, in every phase, of both sides."""
    shown = [row for row in report["components"] if row["seconds"] and row["kind"] not in ("baseline", "install", "teardown")]
    if not shown:
        return None
    totals: dict[str, float] = {}
    parts = []
    for row in shown:
        values = {part["name"]: part["cpu_seconds"] for part in row["components"] if part["role"] != "tool"}
        values["actor"] = row["actor_cpu_seconds"]
        parts.append({name: 1000 * value / row["seconds"] for name, value in values.items()})
        for name, value in parts[-1].items():
            totals[name] = totals.get(name, 0.0) + value
    names = sorted(totals, key=lambda name: (-totals[name], name))
    if len(names) > 10:
        kept, rest = names[:9], names[9:]
        parts = [{**{name: part.get(name, 0.0) for name in kept}, "others": sum(part.get(name, 0.0) for name in rest)} for part in parts]
        names = [*kept, "others"]
    ticks = [f"{row['phase']}, {row['label']}" for row in shown]

    def paint(axes: Axes) -> None:
        places = list(range(len(shown)))
        left = [0.0] * len(shown)
        for index, name in enumerate(names):
            widths = [part.get(name, 0.0) for part in parts]
            axes.barh(places, widths, left=left, color=COLOUR[f"c{index + 1}"], label=name, height=0.75, edgecolor=PAPER, linewidth=0.5)
            left = [start + width for start, width in zip(left, widths)]
        axes.set_yticks(places, ticks)
        axes.invert_yaxis()
        axes.set_xlabel("mCPU, mean over the phase")
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.35, -0.16 * 2.7 / (0.9 + 0.24 * len(shown))), ncols=3, handlelength=1, columnspacing=1
        )

    alt = "Mean CPU by component. " + "; ".join(
        f"{tick}: {significant(sum(part.values()))} mCPU, most of it {max(part, key=lambda name: part[name])}"
        for tick, part in zip(ticks, parts)
    )
    rows = [[tick, *[significant(part.get(name, 0.0)) for name in names]] for tick, part in zip(ticks, parts)]
    svg = draw("components", alt, paint, 1.7 + 0.24 * len(shown))
    return Picture(
        "Where the CPU time goes", f"{alt}.", svg, Table("mCPU by component, mean over the phase", ["phase, side", *names], rows)
    )


def _curve(
    axes: Axes, points: list[dict[str, Any]], key: str, figure: Callable[[dict[str, Any]], dict[str, float]], colour: str = SECOND
) -> None:
    """A band through all points, a mark with its interval where it was measured; what comes from a fit is dashed."""
    places = [point[key] for point in points]
    found = [figure(point) for point in points]
    axes.fill_between(
        places, [item["low"] for item in found], [item["high"] for item in found], color=colour, alpha=0.25, linewidth=0, label="band"
    )
    axes.plot(places, [item["value"] for item in found], "--", color=colour, linewidth=1.2, label="fitted and extrapolated")
    for point, item in zip(points, found):
        if point["kind"] == "measured":
            bars = [[item["value"] - item["low"]], [item["high"] - item["value"]]]
            axes.errorbar([point[key]], [item["value"]], yerr=bars, fmt="o", color=FIRST, markersize=6, capsize=3, label="measured here")
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set_xscale("log")
    axes.minorticks_off()


def _wide(axes: Axes, linear_below: float) -> None:
    """A vertical axis over many powers of ten that may hold 0, with plain numbers."""
    axes.set_yscale("symlog", linthresh=linear_below)
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _curve_table(title: str, first: str, points: list[dict[str, Any]], name: Callable[[dict[str, Any]], str]) -> Table:
    rows = [
        [
            name(point),
            point["kind"],
            significant(1000 * point["value"]),
            f"{significant(1000 * point['low'])} to {significant(1000 * point['high'])}",
            significant(point["watts"]["value"]),
            f"{significant(point['watts']['low'])} to {significant(point['watts']['high'])}",
        ]
        for point in points
    ]
    return Table(title, [first, "kind", "mCPU", "band, mCPU", "W, estimated", "bounds, W"], rows)


def interval_curve(report: dict[str, Any]) -> Picture | None:
    """What Flux adds at rest against the reconcile interval."""
    points = report["interval_curve"]
    if len(points) < 2:
        return None

    def paint(axes: Axes) -> None:
        _curve(axes, points, "interval_seconds", lambda point: multiplied(point, 1000))
        axes.set_xlabel("reconcile interval")
        axes.set_ylabel("effect at rest, mCPU")
        shown = [10, 60, 600, 3600]
        axes.set_xticks(shown, [seconds(value) for value in shown])
        _legend(axes, 3)

    first, last = points[0], points[-1]
    alt = (
        f"What {report['question']['effect']} is at rest at other reconcile intervals, extrapolated from the fitted costs: "
        f"{significant(1000 * first['value'])} mCPU at {seconds(first['interval_seconds'])}, between {significant(1000 * last['low'])} and "
        f"{significant(1000 * last['high'])} at {seconds(last['interval_seconds'])}."
    )
    title = "Cost at other reconcile intervals"
    table = _curve_table(title, "interval", points, lambda point: seconds(point["interval_seconds"]))
    return Picture(f"{title} (extrapolated)", alt, draw("intervals", alt, paint), table)


def apps_curve(report: dict[str, Any]) -> Picture | None:
    """What Flux adds at rest against the number of apps."""
    points = report["apps_curve"]
    if len(points) < 2:
        return None

    def paint(axes: Axes) -> None:
        _curve(axes, points, "apps", lambda point: multiplied(point, 1000))
        _wide(axes, 10)
        axes.set_ylim(bottom=min(0.0, *(1000 * point["low"] for point in points)))
        axes.set_xlabel("apps")
        axes.set_ylabel("effect at rest, mCPU")
        axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
        _legend(axes, 3)

    last = points[-1]
    alt = (
        f"What {report['question']['effect']} is at rest with other numbers of apps, extrapolated from the fitted costs: "
        f"{significant(1000 * last['value'])} mCPU ({significant(1000 * last['low'])} to {significant(1000 * last['high'])}) at "
        f"{last['apps']} apps, at an interval of {seconds(report['settings']['interval_seconds'])}. A reconcile costs more in a larger "
        f"repository: a run with one number of apps cannot see that, and what it draws for more of them is too little."
    )
    title = "Cost with other numbers of apps"
    return Picture(
        f"{title} (extrapolated)", alt, draw("apps", alt, paint), _curve_table(title, "apps", points, lambda point: str(point["apps"]))
    )


def break_even(report: dict[str, Any]) -> Picture | None:
    """Orphaned pods at which Flux costs nothing, against the reconcile interval."""
    if report["savings"] is None:
        return None
    points = [point for point in report["savings"]["break_even"] if point["pods"] is not None]
    if len(points) < 2:
        return None

    def paint(axes: Axes) -> None:
        _curve(axes, points, "interval_seconds", lambda point: point["pods"])
        _wide(axes, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("reconcile interval")
        axes.set_ylabel("orphaned pods")
        shown = [10, 60, 600, 3600]
        axes.set_xticks(shown, [seconds(value) for value in shown])
        _legend(axes, 3)

    measured = points[0]["basis"] == "measured"
    at = [f"{seconds(point['interval_seconds'])}: {bounded(point['pods'])}" for point in points]
    alt = (
        f"Orphaned pods, pruned by Flux and not by hand, at which Flux costs nothing, by reconcile interval. What one burns is "
        f"{points[0]['basis']}. {'; '.join(at)}."
    )
    rows = [
        [
            seconds(point["interval_seconds"]),
            point["kind"],
            f"{bounded(point['watts'])} W, {point['energy']}",
            *([bounded(point["pods_stated"])] if measured else []),
            *(bounded(point[key]) for key in ("pods", "drift_events_a_day", "deployments_a_day", "sleeping_environments")),
        ]
        for point in points
    ]
    stated = ["orphaned pods by stated watts"] if measured else []
    head = [
        "interval",
        "kind",
        "Flux at rest",
        *stated,
        f"orphaned pods, {points[0]['basis']}",
        "drift events a day",
        "deployments a day",
        "sleeping environments",
    ]
    return Picture("Where Flux costs nothing", alt, draw("break-even", alt, paint), Table("Break-even, with bounds", head, rows))


#: Beyond so many hosts their names would overlap; the table has them.
NAMED_HOSTS = 30


def forest(group: dict[str, Any], pooled: dict[str, Any] | None) -> Picture | None:
    """The primary effect of every host with its interval, sorted, and the pooled one below."""
    found = [(row["host"], row["effects"]["cpu"].get(group["primary"] or "")) for row in group["hosts"]]
    shown = sorted(((effect["mean"], host, effect) for host, effect in found if effect), key=lambda item: (item[0], str(item[1])))
    if not shown:
        return None
    named = len(shown) <= NAMED_HOSTS

    def paint(axes: Axes) -> None:
        places = list(range(1, len(shown) + 1))
        means = [1000 * mean for mean, _host, _effect in shown]
        bars = [
            [1000 * (effect["mean"] - (effect["mean"] if effect["low"] is None else effect["low"])) for _mean, _host, effect in shown],
            [1000 * ((effect["mean"] if effect["high"] is None else effect["high"]) - effect["mean"]) for _mean, _host, effect in shown],
        ]
        axes.errorbar(
            means, places, xerr=bars, fmt="o", color=FIRST, markersize=5 if named else 2, linewidth=1 if named else 0.4, label="a host"
        )
        axes.axvline(0, color=MUTED, linewidth=1)
        if pooled is not None:
            axes.axvspan(1000 * pooled["low"], 1000 * pooled["high"], color=SECOND, alpha=0.3, linewidth=0, label="pooled, with interval")
            axes.axvline(1000 * pooled["mean"], color=SECOND, linewidth=1.5)
        if named:
            axes.set_yticks(places, [str(host)[:24] for _mean, host, _effect in shown])
        else:
            axes.set_ylabel("hosts, sorted")
            axes.set_yticks([])
        axes.set_xlabel(f"{group['primary']}, mCPU, {group['labels'][1]} minus {group['labels'][0]}")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

    middle = f" Pooled: {interval(pooled, 1000, 'mCPU', sign=True)}." if pooled else ""
    extremes = f"from {significant(1000 * shown[0][0])} to {significant(1000 * shown[-1][0])} mCPU"
    alt = f"Effect {WHEN[group['primary']]} of {len(shown)} hosts, {extremes}.{middle}"
    picked = shown if named else [shown[index * (len(shown) - 1) // 10] for index in range(11)]
    rows = [[host, interval(effect, 1000, sign=True)] for _mean, host, effect in picked]
    what = "Effect by host, mCPU" if named else "Effect of eleven hosts from the smallest to the largest, mCPU; all are in the table below"
    height = 1.4 + 0.2 * len(shown) if named else 4.0
    return Picture(
        "Effect of every host", alt, draw(f"forest-{group['hosts'][0]['host']}", alt, paint, height), Table(what, ["host", "effect"], rows)
    )
