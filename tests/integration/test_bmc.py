# SPDX-License-Identifier: GPL-3.0-or-later
"""The real ipmitool reads a simulated BMC over the wire. The BMC is a double (harness/ipmi_bmc.py), the client and the protocol are not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import registry
from ansible_collections.kjoule.bench.plugins.module_utils.energy.windows import Recorder
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness import ipmi_bmc

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        shutil.which("ipmitool") is None, reason="not run: ipmitool is not installed (Debian, Ubuntu: apt-get install ipmitool)"
    ),
]


class State:
    """What the BMC shows now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(watts=213)

    def set(self, **values) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(values))
        part.replace(self.path)


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "state.json")


@pytest.fixture
def options(state, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(ipmi_bmc.PASSWORD + "\n")
    secret.chmod(0o600)
    with subprocess.Popen([sys.executable, ipmi_bmc.__file__, str(state.path)], stdout=subprocess.PIPE, text=True) as bmc:
        try:
            port = int(bmc.stdout.readline())
            yield {"host": "127.0.0.1", "port": port, "username": ipmi_bmc.USERNAME, "password_file": str(secret), "timeout_seconds": 8}
        finally:
            bmc.terminate()


def test_the_power_of_the_bmc_arrives(options, state):
    source = registry.make_source("ipmi", options)
    assert source.read().values == (213.0,)
    state.set(watts=65000)
    assert source.read().values == (65000.0,)
    assert (source.scope, source.kind, source.channels[0].unit) == ("ipmi:system", "gauge", "W")


def test_a_window_over_the_wire_brings_back_the_joules(options, state):
    """213 W for about 3 s; a BMC whose clock is years off changes no figure."""
    state.set(watts=213, timestamp=86400 * 365)
    source = registry.make_source("ipmi", {**options, "update_seconds": 5})
    recorder = Recorder(source, 0.5)
    recorder.start()
    begin = recorder.edge()
    threading.Event().wait(3)
    record = recorder.window(begin, recorder.edge())
    recorder.stop()
    assert record["valid"], record["reasons"]
    assert record["joules"] == pytest.approx(213 * record["seconds"], abs=record["uncertainty_joules"])


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"watts": 213, "active": False}, "does not measure power now"),
        ({"watts": 213, "completion": 0xC1}, "gives no DCMI power reading"),
    ],
)
def test_a_bmc_that_gives_no_power_is_a_failed_reading(options, state, now, said):
    source = registry.make_source("ipmi", options)
    state.set(**now)
    with pytest.raises(KjouleError, match=said):
        source.read()
    state.set(watts=100)
    assert source.read().values == (100.0,)


def test_a_wrong_password_and_nobody_there_are_said(options, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("guess\n")
    wrong.chmod(0o600)
    with pytest.raises(KjouleError, match=r"does not let us in, or is not there|does not answer") as error:
        registry.make_source("ipmi", {**options, "password_file": str(wrong), "timeout_seconds": 4})
    assert "guess" not in str(error.value)
    with pytest.raises(KjouleError, match=r"does not answer|is not there"):
        registry.make_source("ipmi", {**options, "port": 9, "timeout_seconds": 2})
