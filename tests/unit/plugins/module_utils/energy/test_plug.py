# SPDX-License-Identifier: GPL-3.0-or-later
"""What a smart plug shows arrives in watts and joules, and what is no reading arrives as a reason."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import plug
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.meters import Shelly, Tasmota

MAKERS = {"shelly": (Shelly, plug.make_shelly), "tasmota": (Tasmota, plug.make_tasmota)}


@pytest.fixture(params=sorted(MAKERS))
def kind(request):
    return MAKERS[request.param]


def double_of(kind, **options):
    return kind[0](lambda: 42.0, lambda: 7_200_000.0, lambda: 1_800_000_000.0, **options)


def secret(tmp_path, text="pässword"):
    path = tmp_path / "secret"
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def test_power_arrives_in_watts_and_energy_in_joules(kind):
    with double_of(kind) as double:
        power = kind[1]({"url": double.url})
        energy = kind[1]({"url": double.url, "quantity": "energy"})
        assert (power.kind, power.channels[0].unit, power.read().values) == ("gauge", "W", (42.0,))
        assert (energy.kind, energy.channels[0].unit) == ("counter", "J")
        assert energy.read().values[0] == pytest.approx(7_200_000.0)  # 2 kWh: a watt-hour is 3600 J, and there is no watt per hour
        power.close()
        energy.close()


def test_resolution_and_update_say_why_power_is_the_default(kind):
    with double_of(kind) as double:
        power = kind[1]({"url": double.url})
        energy = kind[1]({"url": double.url, "quantity": "energy"})
        assert power.update_seconds == 1.0
        assert energy.update_seconds == 60.0
        assert energy.resolution == {"shelly": 3.6, "tasmota": 3600.0}[energy.name]
        assert power.resolution == {"shelly": 0.1, "tasmota": 1.0}[power.name]
        assert power.scope == energy.scope == f"{power.name}:plug"


def test_a_password_is_given_as_the_plug_wants_it_and_is_in_no_url(kind, tmp_path):
    with double_of(kind, password="pässword") as double:
        source = kind[1]({"url": double.url, "password_file": secret(tmp_path)})
        for _ in range(3):
            assert source.read().values == (42.0,)
        assert all("ssword" not in path for _method, path, _headers in double.requests)
        assert "ssword" not in repr(source.describe())


def test_a_wrong_or_missing_password_is_said(kind, tmp_path):
    with double_of(kind, password="pässword") as double:
        with pytest.raises(KjouleError, match=r"does not let us in.*no password was given"):
            kind[1]({"url": double.url})
        with pytest.raises(KjouleError, match="does not let us in"):
            kind[1]({"url": double.url, "password_file": secret(tmp_path, "wrong")})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("timeout", "does not answer"),
        ("401", "does not let us in"),
        ("html", "did not answer with JSON"),
        ("nan", "answered with NaN"),
        ("negative", "is no reading: expected a number of at least 0, saw -3"),
        ("text", "is no reading.*42 W"),
        ("no-meter", "measures no power"),
    ],
)
@pytest.mark.parametrize("quantity", ["power", "energy"])
def test_a_bad_answer_is_a_failed_reading_with_its_reason(kind, fault, said, quantity):
    with double_of(kind) as double:
        source = kind[1]({"url": double.url, "quantity": quantity, "timeout_seconds": 1.0 if fault == "timeout" else 10.0})
        double.fault = fault
        with pytest.raises(KjouleError, match=said):
            source.read()
        double.fault = None
        assert source.read().values[0] > 0
        source.close()


def test_a_plug_that_is_off_is_not_the_plug_of_a_running_host():
    with double_of(MAKERS["shelly"]) as double:
        double.fault = "off"
        with pytest.raises(KjouleError, match="switched off"):
            plug.make_shelly({"url": double.url})


def test_a_plug_whose_own_time_stands_still_is_stale(kind, monkeypatch):
    with double_of(kind) as double:
        double.fault = "stale"
        now = [0.0]
        monkeypatch.setattr(plug, "StaleWatch", lambda patience: plug_watch(patience, now))
        source = kind[1]({"url": double.url})
        now[0] = 200.0
        with pytest.raises(KjouleError, match="stale"):
            source.read()


def plug_watch(patience, now):
    from ansible_collections.kjoule.bench.plugins.module_utils.energy.polled import StaleWatch

    return StaleWatch(patience, lambda: now[0])


def test_the_clock_of_a_plug_changes_no_figure(kind):
    years_off = kind[0](lambda: 42.0, lambda: 0.0, lambda: 86400.0 * 365 * 3)
    with years_off as double:
        assert kind[1]({"url": double.url}).read().values == (42.0,)


@pytest.mark.parametrize(
    ("maker", "options", "said"),
    [
        (plug.make_shelly, {"component": "em"}, "option component"),
        (plug.make_shelly, {"id": "one"}, "option id"),
        (plug.make_shelly, {"quantity": "volts"}, "option quantity"),
        (plug.make_tasmota, {"channel": -1}, "option channel"),
        (plug.make_tasmota, {"timeout_seconds": 0}, "option timeout_seconds"),
    ],
)
def test_a_wrong_option_is_named(maker, options, said):
    with pytest.raises(KjouleError, match=said):
        maker({"url": "http://127.0.0.1:9", **options})


def test_without_an_address_there_is_no_plug(kind):
    with pytest.raises(KjouleError, match="option url"):
        kind[1]({})


def test_a_power_strip_has_channels():
    status = {"StatusSNS": {"ENERGY": {"Power": [10, 20], "Total": 0.5}}}
    assert plug.tasmota_answer(status, "power", 1, "it").values == (20.0,)
    with pytest.raises(KjouleError, match="has no channel 2"):
        plug.tasmota_answer(status, "power", 2, "it")
    with pytest.raises(KjouleError, match="has one channel"):
        plug.tasmota_answer(status, "energy", 1, "it")
