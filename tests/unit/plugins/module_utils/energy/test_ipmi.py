# SPDX-License-Identifier: GPL-3.0-or-later
"""What ipmitool prints is read as watts, and what is no power reading is called so. Over the wire: tests/integration/test_bmc.py."""

from __future__ import annotations

import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import ipmi
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify

#: As ipmitool 1.8.19 prints it.
TEXT = """
    Instantaneous power reading:                   213 Watts
    Minimum during sampling period:                 18 Watts
    Maximum during sampling period:                401 Watts
    Average power reading over sample period:      198 Watts
    IPMI timestamp:                           11/25/26 02:35:26 UTC    Sampling period:                          00000001 Seconds.
    Power reading state is:                   activated


"""


def test_the_instantaneous_reading_counts_and_the_time_of_the_bmc_comes_with_it():
    answer = ipmi.parse_power_reading(TEXT, "it")
    assert answer.values == (213.0,)
    assert answer.meter_ns == 1795574126 * 10**9


def test_the_time_as_older_versions_print_it_is_the_same_time():
    older = TEXT.replace("11/25/26 02:35:26 UTC", "Wed Nov 25 02:35:26 2026")
    assert ipmi.parse_power_reading(older, "it").meter_ns == 1795574126 * 10**9


def test_a_bmc_without_a_clock_gives_power_all_the_same():
    assert ipmi.parse_power_reading(TEXT.replace("11/25/26 02:35:26 UTC", "Unspecified"), "it").meter_ns is None
    assert ipmi.parse_power_reading(TEXT.replace("11/25/26 02:35:26", "01/01/70 00:00:00"), "it").meter_ns is None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("activated", "deactivated", "does not measure power now.*deactivated"),
        ("213 Watts", "nan Watts", "gives no power"),
        ("213 Watts", "-213 Watts", "is no reading"),
        ("213 Watts", "213000 mW", "expected an instantaneous power reading in Watts"),
        (TEXT, "<html>", "gives no power"),
        (TEXT, "", "gives no power"),
    ],
)
def test_what_is_no_power_reading_is_called_so(before, after, said):
    with pytest.raises(KjouleError, match=said):
        ipmi.parse_power_reading(TEXT.replace(before, after), "it")


@pytest.fixture
def fake_ipmitool(tmp_path):
    """A program in the place of ipmitool that writes down how it was called and does as told."""

    def make(script):
        path = tmp_path / "ipmitool"
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/called\nenv > {tmp_path}/environment\n{script}\n')
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return str(path)


def lan(program, secret, **more):
    return ipmi.make(
        {
            "ipmitool": program,
            "host": "127.0.0.1",
            "port": 16230,
            "username": "kjoule",
            "password_file": secret,
            "timeout_seconds": 2,
            **more,
        }
    )


def test_the_password_is_neither_an_argument_nor_in_the_environment(fake_ipmitool, secret, tmp_path):
    source = lan(fake_ipmitool(f"cat <<'EOF'\n{TEXT}\nEOF"), secret, cipher_suite=17)
    assert source.read().values == (213.0,)
    assert (source.kind, source.scope) == ("gauge", "ipmi:system")
    called = (tmp_path / "called").read_text().splitlines()[0]
    assert called == f"-I lanplus -H 127.0.0.1 -U kjoule -f {secret} -L USER -N 1 -R 2 -p 16230 -C 17 dcmi power reading"
    assert "hunter2" not in called + (tmp_path / "environment").read_text() + repr(source.describe())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error: Unable to establish IPMI v2 / RMCP+ session' >&2; exit 1", "does not let us in, or is not there.*password_file"),
        ("echo 'DCMI request failed because: Invalid command' >&2; exit 1", "gives no DCMI power reading.*redfish"),
        ("exit 0", "gives no DCMI power reading"),
        ("exec sleep 60", "does not answer: saw nothing within 0.3 s"),
    ],
)
def test_what_ipmitool_cannot_do_is_said_with_the_next_step(fake_ipmitool, secret, script, said):
    with pytest.raises(KjouleError, match=said):
        lan(fake_ipmitool(script), secret, timeout_seconds=0.3 if "sleep" in script else 10.0)


def test_without_ipmitool_or_a_device_it_is_said_what_would_help(monkeypatch, fake_ipmitool, tmp_path):
    with pytest.raises(KjouleError, match="install the package ipmitool"):
        ipmi.make({"ipmitool": str(tmp_path / "none")})
    monkeypatch.setattr(ipmi, "DEVICES", (str(tmp_path / "ipmi0"),))
    with pytest.raises(KjouleError, match="modprobe ipmi_si ipmi_devintf"):
        ipmi.make({"ipmitool": fake_ipmitool("exit 0")})


def test_this_host_is_asked_through_its_device(monkeypatch, fake_ipmitool, tmp_path):
    device = tmp_path / "ipmi0"
    device.touch()
    monkeypatch.setattr(ipmi, "DEVICES", (str(device),))
    source = ipmi.make({"ipmitool": fake_ipmitool(f"cat <<'EOF'\n{TEXT}\nEOF")})
    assert source.read().values == (213.0,)
    assert (tmp_path / "called").read_text().splitlines()[0] == "-I open dcmi power reading"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interface": "lan"}, "option interface"),
        ({"host": "-rf"}, "option host"),
        ({"port": "x"}, "option port"),
        ({"privilege": "root"}, "option privilege"),
        ({"username": ""}, "option username"),
        ({"password_file": "/nonexistent"}, "cannot be read"),
    ],
)
def test_a_wrong_option_is_named(fake_ipmitool, secret, options, said):
    with pytest.raises(KjouleError, match=said):
        lan(fake_ipmitool("exit 0"), secret, **options)


def test_the_cpu_time_of_ipmitool_is_that_of_the_measuring(fake_ipmitool, secret):
    """Also of the run that failed. The shell's loop takes a tenth of a second at least on any machine of today."""
    burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
    source = lan(fake_ipmitool(f"{burn}; cat <<'EOF'\n{TEXT}\nEOF"), secret, timeout_seconds=30)
    once = source.children_seconds
    assert once > 0.01
    source.read()
    assert source.children_seconds > 1.5 * once
    clock = ProcessClock("kjoule", identify(os.getpid()), children_seconds=lambda: source.children_seconds)
    alone = ProcessClock("kjoule", identify(os.getpid()))
    assert clock.read_ns() - alone.read_ns() == pytest.approx(source.children_seconds * 1e9, abs=5e6)
