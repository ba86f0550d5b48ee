# SPDX-License-Identifier: GPL-3.0-or-later
"""A Redfish service gives the power or the energy of one chassis, in either schema, and never in the clear or unverified."""

from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy import redfish
from ansible_collections.kjoule.bench.plugins.module_utils.energy.source import Reading
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.meters import Redfish, certificate


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def options(pem, tmp_path):
    path = tmp_path / "secret"
    path.write_text("secret\n")
    path.chmod(0o600)
    return {"username": "kjoule", "password_file": str(path), "fingerprint": pem[1], "timeout_seconds": 2.0}


def bmc(pem, schema):
    return Redfish(pem[0], lambda: 344.0, lambda: 5_000_000.0, schema)


def test_the_old_schema_gives_power(pem, options):
    with bmc(pem, "old") as double:
        source = redfish.make({**options, "url": double.url})
        assert (source.kind, source.scope, source.read().values) == ("gauge", "redfish:chassis", (344.0,))
        assert source.describe()["property"] == "PowerControl.0.PowerConsumedWatts"
        source.close()


def test_the_new_schema_gives_the_energy_counter_and_power_on_request(pem, options):
    with bmc(pem, "new") as double:
        counter = redfish.make({**options, "url": double.url})
        gauge = redfish.make({**options, "url": double.url, "quantity": "power"})
        assert (counter.kind, counter.read().values) == ("counter", (5_000_000.0,))
        assert counter.describe()["property"] == "EnergyJoules.LifetimeReading"
        assert (gauge.kind, gauge.read().values) == ("gauge", (344.0,))
        counter.close()
        gauge.close()


def test_a_kilowatt_hour_is_3_6_million_joules():
    place = redfish.Place("/x", ("EnergykWh", "Reading"), "counter", 3.6e6, (), "1U")
    assert redfish.answer({"EnergykWh": {"Reading": 1.5}}, place, "it").values == (5_400_000.0,)


def test_a_counter_that_can_be_reset_tells_when_it_was(pem, options):
    with bmc(pem, "new") as double:
        double.lifetime = False
        source = redfish.make({**options, "url": double.url})
        before = source.read()
        double.fault = "reset"
        after = source.read()
        assert isinstance(after, Reading)
        assert before.epoch != after.epoch
        source.close()


def test_a_session_is_opened_once_renewed_when_it_ends_and_closed(pem, options):
    with bmc(pem, "old") as double:
        source = redfish.make({**options, "url": double.url})
        for _ in range(3):
            source.read()
        assert double.opened == 1
        double.fault = "logged-out"
        assert source.read().values == (344.0,)
        assert double.opened == 2
        source.close()
        assert double.sessions == set()


def test_basic_authentication_opens_no_session(pem, options):
    with bmc(pem, "old") as double:
        source = redfish.make({**options, "url": double.url, "auth": "basic"})
        assert source.read().values == (344.0,)
        assert double.opened == 0
        source.close()


@pytest.mark.parametrize("auth", ["session", "basic"])
def test_a_wrong_password_is_said_and_not_shown(pem, options, auth, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("hunter2\n")
    wrong.chmod(0o600)
    with bmc(pem, "old") as double, pytest.raises(KjouleError, match="does not let us in") as error:
        redfish.make({**options, "url": double.url, "auth": auth, "password_file": str(wrong)})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("timeout", "does not answer"),
        ("401", "does not let us in"),
        ("500", "refuses"),
        ("html", "did not answer with JSON"),
        ("nan", "answered with NaN"),
        ("negative", "is no reading.*-5"),
        ("text", "is no reading.*344 W"),
        ("null", "is no reading.*None"),
    ],
)
@pytest.mark.parametrize("schema", ["old", "new"])
def test_a_bad_answer_is_a_failed_reading_with_its_reason(pem, options, schema, fault, said):
    with bmc(pem, schema) as double:
        source = redfish.make({**options, "url": double.url})
        double.fault = fault
        with pytest.raises(KjouleError, match=said):
            source.read()
        double.fault = None
        source.read()
        source.close()


def test_no_password_goes_over_plain_http_or_to_a_certificate_that_nobody_vouches_for(pem, options):
    with bmc(pem, "old") as double:
        with pytest.raises(KjouleError, match="cannot be verified"):
            redfish.make({**options, "url": double.url, "fingerprint": ""})
        with pytest.raises(KjouleError, match="in the clear"):
            redfish.make({**options, "url": double.url.replace("https", "http"), "fingerprint": ""})
        assert double.requests == []


def test_several_chassis_are_not_added_up(pem, options):
    with bmc(pem, "new") as double:
        double.fault = "two-chassis"
        with pytest.raises(KjouleError, match=r"several chassis with power.*1U, Enclosure"):
            redfish.make({**options, "url": double.url})
        source = redfish.make({**options, "url": double.url, "chassis": "1U"})
        assert source.channels[0].name == "1U"
        source.close()
        with pytest.raises(KjouleError, match="no chassis '2U'"):
            redfish.make({**options, "url": double.url, "chassis": "2U"})


def test_overlapping_parts_are_not_added_up(pem, options):
    with bmc(pem, "old") as double:
        double.fault = "parts"
        with pytest.raises(KjouleError, match=r"several parts.*power_control"):
            redfish.make({**options, "url": double.url})
        source = redfish.make({**options, "url": double.url, "power_control": "Server Power Control"})
        assert source.read().values == (344.0,)
        source.close()


def test_energy_that_is_not_offered_is_said(pem, options):
    with bmc(pem, "old") as double, pytest.raises(KjouleError, match=r"shows no energy.*1U: Power with PowerConsumedWatts"):
        redfish.make({**options, "url": double.url, "quantity": "energy"})


@pytest.mark.parametrize("missing", ["url", "username", "password_file"])
def test_what_is_needed_is_named(options, missing):
    given = {**options, "url": "https://127.0.0.1:9"}
    with pytest.raises(KjouleError, match=f"option {missing}"):
        redfish.make({key: value for key, value in given.items() if key != missing})
