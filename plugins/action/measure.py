# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of ``kjoule.bench.measure``: one period after the other, each record copied as soon as it is there."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.controller import controller_identity
from ansible_collections.kjoule.bench.plugins.plugin_utils import journal
from ansible_collections.kjoule.bench.plugins.plugin_utils.detectable import expected_power
from ansible_collections.kjoule.bench.plugins.plugin_utils.metrics import period_metrics, primary_metric
from ansible_collections.kjoule.bench.plugins.plugin_utils.plain import to_plain
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import cell_of, plan_of_cell
from ansible_collections.kjoule.bench.plugins.plugin_utils.remote_energy import Collector
from ansible_collections.kjoule.bench.plugins.plugin_utils.runs import run_files
from ansible_collections.kjoule.bench.plugins.plugin_utils.schedule import (
    estimate_seconds,
    period_seconds,
    progress,
    remaining,
    selected_attempts,
    stopped_by,
)
from ansible_collections.kjoule.bench.plugins.plugin_utils.selection import select
from ansible_collections.kjoule.bench.plugins.plugin_utils.words import significant

display = Display()

#: How long a host may be out of reach before its run is given up. What it measures meanwhile is on it, and picked up by the next run.
RECONNECT_SECONDS = 1800.0
RETRY_SECONDS = 10.0


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


class Pace:
    """How long what is left will take: the plan's own estimate, corrected by what the periods so far have taken."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._expected = 0.0
        self._taken = 0.0

    def add(self, item: dict[str, Any], seconds: float) -> None:
        self._expected += self._expected_of(item)
        self._taken += seconds

    def left(self, items: list[dict[str, Any]]) -> float:
        factor = self._taken / self._expected if self._expected > 0 else 1.0
        return factor * sum(self._expected_of(item) for item in items)

    def _expected_of(self, item: dict[str, Any]) -> float:
        return period_seconds(plan_of_cell(self._plan, item.get("cell", 0))["settings"], item["arm"])


def expectation(plan: dict[str, Any]) -> str | None:
    """What the run can show at best, by a calibration of the host; None without one, or where nothing is to be inferred."""
    calibration = plan.get("calibration")
    if calibration is None or not plan["settings"]["inference"]:
        return None
    expected = expected_power(calibration, plan["settings"])
    if expected["detectable"] is None:
        return None
    scale, unit = (1000, "mCPU") if calibration["unit"] == "CPU" else (1, calibration["unit"])
    return (
        f"by calibration {calibration['run_id']}, an effect of {significant(scale * expected['detectable'])} {unit} is found with power 0.8"
    )


def so_far(plan: dict[str, Any], records: list[dict[str, Any]]) -> str | None:
    """The mean effect of the blocks so far; no p, no interval: whoever watches shall not be led to stop. None without a whole block."""
    block = max(selected_attempts(plan, records), default=0)
    own = plan_of_cell(plan, cell_of(plan, block))
    name = primary_metric(own)
    if not block or name is None:
        return None
    control, treatment = own["settings"]["labels"]
    found = [
        (sides[control], sides[treatment])
        for sides in ({label: period_metrics(record)[name] for label, record in chosen.items()} for chosen in select(own, records).values())
    ]
    differences = [second - first for first, second in found if first is not None and second is not None]
    if not differences:
        return None
    mean = 1000 * math.fsum(differences) / len(differences)
    blocks = "1 block" if len(differences) == 1 else f"{len(differences)} blocks"
    return f"{treatment} minus {control}, {name}, so far: {mean:+.1f} mCPU (mean of {blocks})"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        self._controller = os.getppid()
        try:
            return {**result, **self._run(to_plain(self._task.args, "arguments"))}
        except (KjouleError, OSError) as error:
            raise AnsibleActionFail(str(error)) from error

    def _run(self, args: dict[str, Any]) -> dict[str, Any]:
        plan, binaries = args.get("plan"), args.get("binaries")
        if not isinstance(plan, dict) or not isinstance(binaries, dict):
            raise KjouleError(
                "measure", expected="plan and binaries", seen="one of them missing", next_step="see the documentation of the module"
            )
        copy = Path(
            run_files(str(Path(args.get("reports_dir") or "reports").expanduser().absolute()), plan["run_id"], plan["host"])["journal"]
        )
        common = {"plan": plan, "binaries": binaries, "controller": controller_identity(os.getppid())}
        if args.get("state_dir"):
            common["state_dir"] = args["state_dir"]
        records = self._catch_up(copy, plan, common)
        if self._task.check_mode:
            return {"changed": bool(remaining(plan, records)), "measured": 0, "progress": progress(plan, records)}
        say = functools.partial(self._say, plan["host"])
        self._energy = Collector(plan["settings"].get("prometheus") or {}, functools.partial(journal.append_record, copy), say)
        try:
            if remaining(plan, records):
                self._energy.check()
            self._collect(copy, plan, records)
            measured = self._periods(copy, plan, common, records)
        finally:
            self._energy.close()
            if os.getppid() == common["controller"]["pid"]:
                # A host that cannot be reached keeps the claim until it runs out; that hides no reason for which the run ends.
                with contextlib.suppress(AnsibleConnectionFailure):
                    self._call({**common, "state": "released"})
        return {"changed": measured > 0, "measured": measured, "progress": progress(plan, records)}

    def _catch_up(self, copy: Path, plan: dict[str, Any], common: dict[str, Any]) -> list[dict[str, Any]]:
        """Bring the controller's copy up to what the host has recorded; returns the records of both."""
        if self._remote and not self._task.check_mode:
            self._pick_up(plan, common)
        answer = self._call({**common, "state": "read"})
        if answer.get("failed") or answer.get("unreachable"):
            raise KjouleError(f"the journal on {plan['host']} cannot be read: {answer.get('msg')}")
        mine = journal.read(copy, plan)
        missing = journal.merge(mine, journal.parse(str(answer["journal"]), f"journal on {plan['host']}", plan))
        if self._task.check_mode:
            return mine.periods + [record for record in missing if record["kind"] == "period"]
        for record in missing:
            journal.append_record(copy, record)
        return journal.read(copy, plan).periods

    def _periods(self, copy: Path, plan: dict[str, Any], common: dict[str, Any], records: list[dict[str, Any]]) -> int:
        pace, measured = Pace(plan), 0
        host, controller = plan["host"], common["controller"]["pid"]
        if records and remaining(plan, records):
            self._say(host, f"run {plan['run_id']} goes on: {len(records)} periods are recorded")
        while items := remaining(plan, records):
            total = len(records) + len(items)
            if not records:
                self._say(host, f"run {plan['run_id']}: {total} periods, about {duration(estimate_seconds(plan))}")
                if said := expectation(plan):
                    self._say(host, said)
            for index, item in enumerate(items):
                if item["position"] == 1 and (rule := stopped_by(plan, records)):
                    self._say(host, f"stops here, as the plan says: {rule}")
                    return measured
                if os.getppid() != controller:
                    raise KjouleError(
                        "ansible-playbook ended", next_step="run the same command again: it goes on with the first unfinished block"
                    )
                again = "" if item["attempt"] == 1 else ", again"
                where = f"period {len(records) + 1} of {total} (block {item['block']}, {item['label']}{again})"
                self._say(host, f"{where}: running, about {duration(pace.left(items[index:]))} left")
                begin = time.monotonic()
                asked = {**common, "plan": plan_of_cell(plan, item["cell"]), "item": item}
                answer = self._measure_there(host, asked) if self._remote else self._call(asked)
                if answer.get("failed") or answer.get("unreachable") or "record" not in answer:
                    raise KjouleError(
                        f"{where} could not be measured: {answer.get('msg') or 'no record came back'}",
                        next_step=f"{len(records)} recorded periods are kept; mend the cause and run the same command again",
                    )
                received = time.time()
                self._keep(copy, answer, records)
                self._collect(copy, plan, records, received)
                record = records[-1]
                pace.add(item, time.monotonic() - begin)
                measured += 1
                verdict = "valid" if record["valid"] else "INVALID: " + "; ".join(record["reasons"])
                self._say(host, f"{where}: {duration(record['seconds'])}, {verdict}")
                if item["position"] == len(plan["settings"]["labels"]) and (said := so_far(plan, records)):
                    self._say(host, said)
        return measured

    def _collect(self, copy: Path, plan: dict[str, Any], records: list[dict[str, Any]], received_unix: float | None = None) -> None:
        """Energy that is read on the controller, of every period that lacks it."""
        self._energy.collect(records, journal.read(copy, plan).energy, received_unix)

    @property
    def _remote(self) -> bool:
        """Whether the host is reached over a connection that can be lost without this process ending."""
        return getattr(self._connection, "transport", "local") != "local"

    def _pick_up(self, plan: dict[str, Any], common: dict[str, Any]) -> None:
        """Wait for a period that was being measured when the connection, or the controller, was lost; the journal has its record then."""
        answer = self._persist(plan["host"], {**common, "state": "waited", "patience_seconds": 0})
        if answer.get("running"):
            self._say(plan["host"], f"period {answer['period_id']} goes on there from before: waiting for it")
            self._wait(plan["host"], common)

    def _measure_there(self, host: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin the period on the host, detached from the connection, and wait for it, over another connection if the first is lost."""
        answer = self._persist(host, {**asked, "state": "started"})
        return answer if answer.get("failed") else self._wait(host, asked)

    def _wait(self, host: str, asked: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"running": True}
        while answer.get("running"):
            answer = self._persist(host, {**asked, "state": "waited"})
        return {"failed": True, "msg": answer["error"]} if answer.get("error") else answer

    def _persist(self, host: str, args: dict[str, Any]) -> dict[str, Any]:
        """One call that is repeated while the host cannot be reached. Both states that it is used for may be asked for twice."""
        since = time.monotonic()
        lost = False
        while True:
            try:
                answer = self._call(args)
                if not answer.get("unreachable"):
                    if lost:
                        self._say(host, "the connection is back")
                    return answer
                reason = str(answer.get("msg"))
            except AnsibleConnectionFailure as error:
                reason = str(error)
            if time.monotonic() - since > RECONNECT_SECONDS or os.getppid() != self._controller:
                raise KjouleError(
                    f"{host} has been out of reach for {duration(time.monotonic() - since)}",
                    seen=reason.strip(),
                    next_step="its period goes on; run the same command again when it can be reached: that picks the period up",
                )
            if not lost:
                self._say(host, "the connection is lost; the period goes on there, trying to reach it again")
            lost = True
            time.sleep(RETRY_SECONDS)

    def _keep(self, copy: Path, answer: dict[str, Any], records: list[dict[str, Any]]) -> None:
        record = to_plain(answer["record"], "record")
        if not copy.exists() or copy.stat().st_size == 0:
            journal.append_record(copy, to_plain(answer["header"], "header"))
        journal.append_record(copy, record)
        records.append(record)

    def _call(self, args: dict[str, Any]) -> dict[str, Any]:
        if args.get("state") not in (None, "started"):
            args = {key: value for key, value in args.items() if key != "binaries"}
        answer: dict[str, Any] = self._execute_module(module_name="kjoule.bench.period", module_args=args, task_vars=self._vars)
        return answer

    @staticmethod
    def _say(host: str, text: str) -> None:
        display.display(f"kjoule  {host}  {text}")
