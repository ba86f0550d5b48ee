# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report of a host says, section by section, from the report's data. Pure."""

from __future__ import annotations

from typing import Any

from . import checks, pictures
from .answer import CONTROL_PLANE, headline, statements, tiles, verdict_word
from .assumptions import multiplied
from .document import Block, Document, Heading, Items, Picture, Section, Table, Text
from .metrics import ENERGY_METRICS, METRICS
from .pictures import scaled
from .sizes import other_sizes
from .sureness import sureness
from .words import bounded, interval, joules, layout, probability, seconds, significant


def document(report: dict[str, Any]) -> Document:
    """The whole report: the answer first, then what it rests on."""
    control, treatment = report["question"]["labels"]
    sections = [Section("What was measured, and how sure this is", _measured(report))]
    if report["metrics"]:
        sections += [
            Section("Effects", _effects(report)),
            *([Section("How sure this is", sure)] if (sure := sureness(report)) else []),
            *([Section("What it costs at other sizes", sizes)] if (sizes := other_sizes(report)) else []),
            Section("Pictures", _pictures(report)),
            *([Section("Where the energy went", _attribution(report["attribution"]))] if report["attribution"] else []),
            Section("State", _state(report)),
        ]
    if report["pods"]:
        sections.append(Section("What pods used", _pods(report["pods"])))
    if report["virtual_machine"]:
        sections.append(Section("From the host to the virtual machine to its pods", _virtual_machine(report["virtual_machine"])))
    if report["savings"]:
        sections.append(Section("What Flux saves, and where it breaks even", _savings(report)))
    if report["carbon"]:
        sections.append(Section("Carbon", _carbon(report)))
    sections += [
        *([Section("Was the host quiet?", _checks(report))] if report["checks"] else []),
        Section("Left out", _exclusions(report)),
        Section("Method", _method(report)),
        Section("Provenance", _provenance(report)),
    ]
    return Document(
        title=f"{report['figure'][0].upper()}{report['figure'][1:]}: {treatment} against {control} on {report['host']}",
        scope=_scope(report),
        headline=headline(report),
        verdict=verdict_word(report),
        tiles=tiles(report),
        statements=[text for text in statements(report)[1:] if text not in report["warnings"]],
        warnings=report["warnings"],
        sections=sections,
        footer=f"Run {report['run_id']} on {report['host']}, computed from its plan and journal by kjoule. Schema {report['schema']}.",
    )


def _scope(report: dict[str, Any]) -> str:
    settings, blocks, host = report["settings"], report["blocks"], report["provenance"]["host"]
    kind = "joules measured" if report["energy"]["kind"] == "measured" else "joules estimated"
    processor = f", {host['cpu_model']}" if host.get("cpu_model") else ""
    return (
        f"{settings['apps']} apps, reconcile interval {seconds(settings['interval_seconds'])}, "
        f"{len(blocks['valid'])} of {blocks['planned']} blocks, lab {settings['lab']}{processor}; CPU time measured, {kind}"
    )


def _measured(report: dict[str, Any]) -> list[Block]:
    settings, blocks, energy = report["settings"], report["blocks"], report["energy"]
    host = report["provenance"]["host"]
    pretended = ": API server, etcd and controllers are real, no containers ran" if report["figure"] == CONTROL_PLANE else ""
    phases = ", ".join(
        f"{phase['name']} {seconds(phase['hold_seconds'])}" if phase["hold_seconds"] else phase["name"] for phase in settings["scenario"]
    )
    rows: list[list[Any]] = [
        ["host", ", ".join(str(host[key]) for key in ("name", "cpu_model", "kernel") if host.get(key)) or report["host"]],
        ["lab", settings["lab"] + pretended],
        ["workload", f"{settings['apps']} apps, {report['workload']['kind']}, {layout(settings)}"],
        ["reconcile interval", seconds(settings["interval_seconds"])],
        ["scenario", f"{settings['scenario_name']}: {phases}"],
        ["blocks", f"{len(blocks['valid'])} valid of {blocks['planned']} planned, {blocks['given_up']} given up"],
        ["CPU time", "measured: process clocks of every component, exited threads included"],
    ]
    if energy["kind"] == "measured":
        rows.append(["energy", "measured: " + ", ".join(energy["scopes"]) + "; idle power and everything else on the machine is in it"])
    else:
        row = energy["estimate"]
        coefficient = f"{row['joules_per_cpu_second']:g} J per CPU-second ({row['low']:g} to {row['high']:g}), {row['id']}, {row['source']}"
        rows.append(["energy", f"estimated: {coefficient}; marginal CPU energy only"])
        rows += [["why not measured", reason] for reason in energy["why_not_measured"]]
    return [Table("What was measured", ["what", "how"], rows)]


def _effects(report: dict[str, Any]) -> list[Block]:
    control, treatment = report["question"]["labels"]
    rows = []
    for name in METRICS:
        metric = report["metrics"].get(name)
        if metric is None:
            continue
        scale, unit = scaled(metric["unit"])
        effect, estimate = metric["effect"], metric["estimated"]["effect"]
        rows.append(
            [
                name + (" (primary)" if metric["primary"] else ""),
                unit,
                significant(metric["sides"][control]["mean"] * scale),
                significant(metric["sides"][treatment]["mean"] * scale),
                interval(effect, scale, sign=True),
                significant(effect["hodges_lehmann"] * scale),
                probability(effect["p"]) + ("" if effect["p_adjusted"] is None else f", Holm {effect['p_adjusted']:.2g}"),
                effect["verdict"] or "-",
                f"{significant(estimate['value'])} ({significant(estimate['low'])} to {significant(estimate['high'])}) "
                + metric["estimated"]["unit"],
            ]
        )
    head = ["metric", "unit", control, treatment, "effect", "Hodges-Lehmann", "p", "verdict", "energy of the effect, estimated"]
    meanings = [[name, report["metrics"][name]["what"]] for name in METRICS if name in report["metrics"]]
    blocks: list[Block] = [
        Text(f"An effect is {report['question']['effect']}, paired by block."),
        Table("Effects", head, rows),
        Table("What the metrics are", ["metric", "what"], meanings),
    ]
    for entry in report["measured_energy"]:
        rows = [
            [
                name,
                metric["unit"],
                significant(metric["sides"][control]["mean"]),
                significant(metric["sides"][treatment]["mean"]),
                interval(metric["effect"], sign=True),
                _with_the_meter(metric["effect"]["meter"]),
                probability(metric["effect"]["p"]),
                metric["effect"]["verdict"] or "-",
            ]
            for name, metric in ((name, entry["metrics"][name]) for name in ENERGY_METRICS if name in entry["metrics"])
        ]
        title = f"Measured energy, {entry['scope']}"
        blocks += [
            Heading(title),
            Table(title, ["metric", "unit", control, treatment, "effect", "with the meter's error", "p", "verdict"], rows),
        ]
    if report["reconcile"]:
        rows = [
            [label, interval(item, 1000, "CPU-ms"), item["reconciles"], significant(item["reconciles_per_second"])]
            for label, item in sorted(report["reconcile"].items())
        ]
        head = ["side", "CPU time per reconcile", "reconciles counted", "per second"]
        blocks += [Heading("Reconciles"), Table("Reconciles", head, rows)]
    return blocks


def _with_the_meter(meter: dict[str, Any] | None) -> str:
    """The interval that joins sampling error and meter; none where either is not known."""
    return "-" if meter is None or meter["low"] is None else f"{significant(meter['low'])} to {significant(meter['high'])}"


def _pictures(report: dict[str, Any]) -> list[Block]:
    drawn: list[Picture | None] = [
        pictures.differences(report),
        pictures.run_order(report),
        *pictures.timelines(report),
        pictures.components(report),
    ]
    blocks: list[Block] = [picture for picture in drawn if picture is not None]
    return [*blocks, *_components(report)]


def _components(report: dict[str, Any]) -> list[Block]:
    labels = report["question"]["labels"]
    rows_of: dict[str, dict[str, dict[str, Any]]] = {}
    for row in report["components"]:
        rows_of.setdefault(row["phase"], {})[row["label"]] = row
    table: list[list[Any]] = []
    for phase, sides in rows_of.items():
        values = [{part["name"]: part for part in sides[label]["components"]} if label in sides else {} for label in labels]
        for name in sorted(set(values[0]) | set(values[1])):
            role = next(side[name]["role"] for side in values if name in side)
            table.append([phase, name, role, *[significant(side[name]["cpu_seconds"]) if name in side else "-" for side in values]])
        extra = (
            ("actor", "actor", "actor_cpu_seconds"),
            ("residual", "not attributed", "residual_seconds"),
            ("machine busy", "machine", "machine_busy_seconds"),
            ("steal", "other guests", "steal_seconds"),
            ("duration", "seconds", "seconds"),
        )
        for title, role, key in extra:
            table.append([phase, title, role, *[significant(sides[label][key]) if label in sides else "-" for label in labels]])
    return [
        Heading("CPU time by phase and component"),
        Text("Mean CPU-seconds per period, over the blocks that count."),
        Table("CPU-seconds by phase and component", ["phase", "component", "role", *labels], table, folded=True),
        Text("Residual = machine busy - components - actor: what else the machine did. It is shown, and in no figure above."),
    ]


def _attribution(item: dict[str, Any]) -> list[Block]:
    """Joules by phase, side and part: idle, components, actor, residual; they add up to what was measured."""
    rows: list[list[Any]] = []
    for row in item["rows"]:
        marginal, share = row["marginal"] or {"idle": None, "residual": None}, row["share"]
        place = [row["phase"], row["label"]]
        rows.append([*place, "idle", joules(marginal["idle"]), joules(share["idle"]), "-", ""])
        for part in row["parts"]:
            figures = [joules(part[method]) for method in ("marginal", "share", "kepler")]
            rows.append([*place, part["name"], *figures, ", ".join(part["disagree"])])
        rows.append([*place, "residual", joules(marginal["residual"]), joules(share["residual"]), "-", ""])
        rows.append([*place, "measured", joules(row["total"]), joules(row["total"]), "-", ""])
    if item["calibrated_at"] is None:
        how = (
            "There is no energy calibration of this host in this scope, so there is no marginal cost: idle is the share of its processors "
            "that was not busy, and static power leaks into the parts. The module energy_calibrate gives a better answer."
        )
    else:
        how = (
            f"By marginal cost: CPU-seconds times what one cost by the energy calibration of {item['calibrated_at']}; the residual is what "
            "is left of the measured energy. By CPU share: the energy above idle split by busy time; the residual is what nobody here used."
        )
    kepler = f" Kepler attributed in {', '.join(item['kepler_zones'])}, without idle." if item["kepler_zones"] else ""
    flagged = f" In {item['disagreements']} places two ways differ by more than both their uncertainties." if item["disagreements"] else ""
    head = ["phase", "side", "part", "by marginal cost, J", "by CPU share, J", "by Kepler, J", "disagree"]
    return [
        Text(f"Mean joules per period, {item['scope']}. Idle, parts and residual add up to what was measured. {how}{kepler}{flagged}"),
        Table("Joules by phase and part", head, rows, folded=True),
    ]


def _state(report: dict[str, Any]) -> list[Block]:
    state = report["state"]
    blocks: list[Block] = []
    if state["compared"]:
        same = "Both sides held the same objects" if state["equal"] else "The sides did not always hold the same objects"
        blocks.append(Text(f"{same} after deploy, steady and update ({state['compared']} comparisons by hash).", strong=not state["equal"]))
    if state["flags"]:
        rows = [[flag["block"], flag["phase"], flag["what"]] for flag in state["flags"]]
        blocks.append(Table("Differences in state", ["block", "phase", "what"], rows))
    if state["left"]:
        labels = report["question"]["labels"]
        rows = [
            [name, *[f"{per[label]['mean']:g} ({', '.join(str(v) for v in per[label]['values'])})" for label in labels]]
            for name, per in sorted(state["left"].items())
        ]
        blocks.append(Table("Objects left after drift and prune", ["objects left, mean (per block)", *labels], rows))
    return blocks


def _assumed(report: dict[str, Any], names: tuple[str, ...]) -> Table:
    rows = []
    for name in names:
        figure = report["assumptions"][name]
        marginal = f"; marginal {figure['marginal']:g}" if figure.get("marginal") is not None else ""
        rows.append([name, f"{bounded(figure, 3)} {figure['unit']}{marginal}".strip(), figure["what"], figure["source"]])
    return Table("What is assumed, and where it comes from", ["factor", "value and bounds", "what", "source"], rows)


#: How CPU time of pods became joules: pod_energy.table, ``method``.
JOULES_BY = {
    "marginal": "what a CPU-second costs on this host by calibration",
    "share": "the share of the measured energy above idle; static power leaks into it",
    "estimated": "the estimate of a CPU-second",
}


def _pods(rows: dict[str, dict[str, Any]]) -> list[Block]:
    sources = sorted({row["source"] for row in rows.values()})
    table = [
        [
            row["what"],
            f"{row['pods']} in {row['blocks']} blocks, {' and '.join(row['phases'])}",
            f"{significant(row['seconds'])} s",
            f"{bounded(row['cpu_seconds'], 3)} s",
            f"{bounded(multiplied(row['cpu'], 1000), 3)} mCPU",
            f"{bounded(row['joules'])} J",
            f"{bounded(multiplied(row['watts'], 1000))} mW",
            row["method"],
        ]
        for row in rows.values()
    ]
    head = ["pod", "seen", "lived", "CPU time", "rate", "energy", "power", "joules by"]
    methods = sorted({row["method"] for row in rows.values()})
    return [
        Text(
            f"Measured: CPU time of real pods ({', '.join(sources)}), per pod over the phases; the mean of the blocks "
            f"with its t interval. Joules by {' and by '.join(JOULES_BY[method] for method in methods)}, with its bounds."
        ),
        Table("CPU time and energy of one pod", head, table),
    ]


def _virtual_machine(rows: list[dict[str, Any]]) -> list[Block]:
    names = list(dict.fromkeys(part["name"] for row in rows for part in row["parts"]))
    cells = []
    for row in rows:
        parts = {part["name"]: part for part in row["parts"]}
        shown = [f"{significant(parts[name]['cpu_seconds'])} s, {significant(parts[name]['joules'])} J" for name in names]
        whole = f"{significant(row['cpu_seconds'])} s, {significant(row['joules'])} J"
        cells.append([row["phase"], row["label"], whole, *shown, row["method"]])
    return [
        Text(
            "The host sees the virtual machine as one process, whose energy is its CPU time times what a CPU-second costs. The "
            "kubelet in it counts the CPU time of pods and of the guest: every pod gets the part of that energy that its CPU time "
            "is of the machine's. The residual is in two columns: guest (kernel, kubelet and container runtime in it) and overhead "
            "(what the process used beyond the guest). All columns add up to the machine. The kubelet reads its counters every 10 "
            "to 15 s: in short phases parts are off, and the overhead can be negative."
        ),
        Table("CPU time and energy of the virtual machine", ["phase", "side", "machine", *names, "joules by"], cells),
    ]


def _savings(report: dict[str, Any]) -> list[Block]:
    item = report["savings"]
    rows = [
        [benefit["what"], benefit["per"], benefit["basis"], f"{benefit['pods']:g}", f"{bounded(multiplied(benefit['joules'], 0.001))} kJ"]
        for benefit in item["benefits"]
    ]
    picture = pictures.break_even(report)
    return [
        Text(
            f"{_basis(report)} The bounds of both sides are in every figure. A dash: no number of them is enough, because one of them may "
            "save nothing."
        ),
        Table("Energy saved", ["what Flux saves", "per", "power of a pod is", "pods", "energy"], rows),
        *([picture] if picture else []),
        _assumed(report, ("watts_per_pod", "unnoticed_hours", "asleep_share")),
    ]


def _basis(report: dict[str, Any]) -> str:
    """Which figure of a pod's power the savings rest on: what was measured, what is stated, or some of either."""
    bases = {row["name"]: row["basis"] for row in report["savings"]["benefits"]}
    words = {"drifted": "drifted pods", "orphans": "orphaned pods", "asleep": "pods at rest"}
    stated = [words[name] for name, basis in bases.items() if basis == "stated"]
    known = [words[name] for name, basis in bases.items() if basis == "measured"]
    change = "change them with kjoule_watts_per_pod"
    if not known:
        where = "On kwok no containers run, so" if report["figure"] == CONTROL_PLANE else "Here"
        return (
            f"{where} what an orphaned or drifted pod burns was not measured. It is what the run counted, times watts per pod that are "
            f"stated below; {change}."
        )
    text = (
        f"What {', '.join(known)} burn was measured (section What pods used) and stands in the place of the stated watts per pod. It is "
        "the energy of their CPU time alone; the stated watts hold a part of the idle power as well, which pods keep a server from saving."
    )
    if any(report["pods"][name]["method"] != "share" for name, basis in bases.items() if basis == "measured"):
        text += (
            " Where the cost of Flux and what pods burn are estimated by the same joules per CPU-second, the break-even is a quotient of "
            "CPU times, and the bounds of that coefficient are not in it."
        )
    if stated:
        text += f" For {', '.join(stated)}, of which none was seen, it is the watts that are stated below; {change}."
    return text


def _carbon(report: dict[str, Any]) -> list[Block]:
    rows = [
        [
            f"{row['unit']}, {row['side']}",
            row["kind"],
            bounded(multiplied(row["energy_kwh"], 1000)),
            *(bounded(row[key]) for key in ("operational_g", "embodied_g", "sci_g")),
        ]
        for row in report["carbon"]
    ]
    head = ["functional unit, side", "energy is", "E, Wh", "E x I, g CO2e", "M, g CO2e", "SCI = E x I + M, g CO2e"]
    if report["assumptions"]["grid"]["marginal"] is not None:
        head.append("E x marginal I, g CO2e")
        rows = [[*cells, bounded(row["marginal_g"])] for cells, row in zip(rows, report["carbon"], strict=True)]
    return [
        Text(
            "Software Carbon Intensity per functional unit. E: energy, with PUE. I: carbon intensity of the grid. M: the share of making "
            "the machine, by the CPU time that was used. Carbon is computed from the energy above and adds its own uncertainty: read the "
            "energy first."
        ),
        Table("Carbon", head, rows),
        _assumed(report, ("grid", "pue", "embodied_kg", "lifetime_years")),
    ]


def _checks(report: dict[str, Any]) -> list[Block]:
    """Checks that warned or failed, each with its worst result; the others by name."""
    by_level: dict[str, list[dict[str, Any]]] = {level: [] for level in checks.LEVELS}
    for row in report["checks"]:
        by_level[row["worst"]["level"]].append(row)
    rows = []
    for row in by_level["fail"] + by_level["warn"]:
        worst, periods = row["worst"], row["periods"]
        counted = f"{periods['fail'] + periods['warn']} of {sum(periods.values())}"
        limit = "-" if worst["threshold"] is None else f"{worst['threshold']:g} {worst['unit']}"
        rows.append([row["name"], worst["level"], counted, worst["text"], limit, worst["advice"]])
    head = ["check", "level", "periods", "worst", "threshold", "what to do"]
    blocks: list[Block] = [Table("Checks that warned or failed", head, rows) if rows else Text("Every check was ok.")]
    for level, title in (("ok", "Ok"), ("unknown", "Not known on this host")):
        if by_level[level]:
            blocks.append(Text(f"{title}: {', '.join(row['name'] for row in by_level[level])}."))
    return blocks


def _exclusions(report: dict[str, Any]) -> list[Block]:
    if not report["exclusions"]:
        return [Text("Nothing.")]
    rows = [[item["period_id"], item["label"], item["why"], "; ".join(item["reasons"]) or "-"] for item in report["exclusions"]]
    return [Table("Periods left out", ["period", "side", "why", "reasons"], rows)]


def _method(report: dict[str, Any]) -> list[Block]:
    settings = report["settings"]
    margin = settings["margin_cpu"]
    equivalence = (
        "none, for the plan has no margin"
        if margin is None
        else f"two one-sided t tests with a margin of {margin * 1000:g} mCPU (rest and idle), fixed in the plan"
    )
    return [
        Items(
            [
                "The unit of analysis is one phase of one period; samples within a window are not replicates.",
                "Randomised complete blocks: each holds one period of either side in a fresh lab, in an order drawn from the recorded "
                "seed.",
                f"Test: exact paired sign-flip permutation, two-sided, alpha {settings['alpha']:g}. Interval: t. "
                f"Equivalence: {equivalence}.",
                "One primary metric; the p of the others is adjusted by Holm. With few blocks it cannot reach alpha, whatever the data: "
                "then there is no verdict, read the interval.",
                "Different: p below alpha and an interval clear of 0. Equivalent: the interval lies inside the margin. Otherwise: cannot "
                "tell.",
                "No value is left out for being large or small. An invalid period leaves out its whole block; different objects on the "
                "two sides are a warning, which stands first.",
                "A delivery is seen to have ended through a watch on the API. What the watch costs the API server is part of the cluster "
                "side, in both arms.",
                "Bounds of an estimate join both uncertainties: the coefficient's bounds at the ends of the interval of the CPU time.",
            ]
        )
    ]


def _provenance(report: dict[str, Any]) -> list[Block]:
    item = report["provenance"]
    host = item["host"]
    rows: list[list[Any]] = [["run", report["run_id"]]]
    rows += [[f"plan {key}", value] for key, value in item["plan"].items() if value not in (None, "")]
    rows += [[f"journal {key}", value] for key, value in item["journal"].items() if value not in (None, "", False)]
    rows += [[f"host {key}", host[key]] for key in sorted(host) if host[key] not in (None, "")]
    source = item["source"]
    rows += [[f"source {key}", source[key]] for key in ("name", "kind", "scope") if source.get(key)]
    blocks: list[Block] = [Table("Provenance", ["what", "value"], rows)]
    if item["binaries"]:
        table = [[row["name"], row["version"] or "-", row["sha256"] or "-", row["origin"] or "-"] for row in item["binaries"]]
        blocks.append(Table("Binaries", ["binary", "version", "sha256", "origin"], table))
    return blocks
