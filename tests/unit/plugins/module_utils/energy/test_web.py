# SPDX-License-Identifier: GPL-3.0-or-later
"""A meter that is reached over HTTP gives its answer, or a reason that a person can act on; a password goes to nobody else."""

from __future__ import annotations

import math

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.energy.web import WebClient, digest, finite, parse_json, read_secret
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from harness.meters import Answer, Double, certificate


class Echo(Double):
    def answer(self, method, path, headers, body):
        return Answer({"path": path})


@pytest.fixture
def server():
    with Echo() as double:
        yield double


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


def client(url, **options):
    return WebClient(url, "the meter", **{"timeout_seconds": 1.0, **options})


def test_an_answer_comes_back_and_the_connection_is_used_again(server):
    with_path = client(server.url + "/base/")
    assert with_path.get_json("/status") == {"path": "/base/status"}
    connection = with_path._connection
    assert with_path.get_json("/again") == {"path": "/base/again"}
    assert with_path._connection is connection
    with_path.close()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("timeout", "does not answer"),
        ("401", "does not let us in"),
        ("500", "refuses /"),
        ("redirect", "sends us elsewhere"),
        ("html", "did not answer with JSON"),
        ("empty", "did not answer with JSON"),
    ],
)
def test_a_bad_answer_is_an_error_that_names_the_meter(server, fault, said):
    server.fault = fault
    meter = client(server.url)
    with pytest.raises(KjouleError, match=said) as error:
        meter.get_json("/")
    meter.close()
    assert server.url in str(error.value)


def test_nobody_there_is_an_error():
    with pytest.raises(KjouleError, match="cannot be reached"):
        client("http://127.0.0.1:9").get("/")


def test_a_connection_that_the_server_closed_between_two_readings_is_opened_again(server):
    meter = client(server.url)
    meter.get("/")
    meter._connection.sock.shutdown(2)
    assert meter.get_json("/x") == {"path": "/x"}
    meter.close()


@pytest.mark.parametrize("url", ["", "meter", "ftp://meter", "http://", "http://meter:port", "http://meter/?a=b"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(KjouleError, match="the address of"):
        client(url)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(KjouleError, match="password_file") as error:
        client("http://user:hunter2@meter")
    assert "hunter2" not in str(error.value)


class TestTls:
    def test_a_certificate_that_nobody_signed_is_refused(self, pem):
        with Echo(pem[0]) as server, pytest.raises(KjouleError, match=r"certificate .* cannot be verified.*fingerprint"):
            client(server.url).get("/")

    def test_a_ca_file_or_the_fingerprint_makes_it_trusted(self, pem):
        path, fingerprint = pem
        colons = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
        with Echo(path) as server:
            for options in ({"ca_file": str(path)}, {"fingerprint": fingerprint}, {"fingerprint": colons}):
                meter = client(server.url, **options)
                assert meter.get_json("/") == {"path": "/"}
                meter.close()

    def test_another_certificate_than_the_pinned_one_gets_no_request(self, pem):
        with Echo(pem[0]) as server:
            with pytest.raises(KjouleError, match="shows another certificate"):
                client(server.url, fingerprint="ab" * 32, username="u", password="secret").get("/")
            assert server.requests == []

    def test_what_cannot_hold_is_refused(self, pem):
        with pytest.raises(KjouleError, match="is not https"):
            client("http://meter", fingerprint=pem[1])
        with pytest.raises(KjouleError, match="64 hexadecimal digits"):
            client("https://meter", fingerprint="abc")
        with pytest.raises(KjouleError, match="CA file"):
            client("https://meter", ca_file="/nonexistent.pem")


class TestSecretFile:
    def test_gives_its_first_line(self, tmp_path):
        path = tmp_path / "password"
        path.write_text("hunter2\nmore\n")
        path.chmod(0o600)
        assert read_secret(str(path)) == "hunter2"

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_that_others_may_read_is_refused(self, tmp_path, mode):
        path = tmp_path / "password"
        path.write_text("hunter2\n")
        path.chmod(mode)
        with pytest.raises(KjouleError, match="chmod 600") as error:
            read_secret(str(path))
        assert "hunter2" not in str(error.value)

    def test_that_is_missing_or_empty_is_refused(self, tmp_path):
        with pytest.raises(KjouleError, match="cannot be read"):
            read_secret(str(tmp_path / "none"))
        path = tmp_path / "empty"
        path.touch(mode=0o600)
        with pytest.raises(KjouleError, match="is empty"):
            read_secret(str(path))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_digest_is_that_of_the_examples_of_rfc_7616(algorithm):
    """Section 3.9.1: Mufasa, 'Circle of Life', GET /dir/index.html."""
    challenge = {
        "realm": "http-auth@example.org",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
        "algorithm": algorithm,
    }
    header = digest(challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", 1, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    expected = {"MD5": "8ca523f5e9506fed4657c9700eebdbec", "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"}
    assert f'response="{expected[algorithm]}"' in header


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, "42", None, True, [1]])
def test_what_is_no_figure_is_no_reading(value):
    with pytest.raises(KjouleError, match="apower is no reading"):
        finite(value, "apower")


def test_a_figure_of_nought_is_a_reading():
    assert finite(0, "apower") == 0.0


def test_json_with_nan_is_refused():
    with pytest.raises(KjouleError, match="answered with NaN"):
        parse_json(b'{"apower": NaN}', "the meter")
