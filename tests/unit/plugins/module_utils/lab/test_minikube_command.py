# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of minikube. The command is a double here (tests/harness/minikube_double.py)."""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_command import MinikubeCommand, error_event
from harness.minikube_double import Double


@pytest.fixture
def double(tmp_path):
    return Double(tmp_path)


def command(double: Double, name: str = "minikube") -> MinikubeCommand:
    return MinikubeCommand(str(double.folder / name), str(double.home), "lab")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (40, "a file or an image is not to be had.*saw no route.*Next: use a mirror"),
        (51, "the driver failed"),
        (69, "does not run"),
        (23, "too small"),
        (80, "the guest failed"),
        (100, "control plane"),
        (2, "could not do it"),
    ],
)
def test_an_exit_status_is_told_in_words_with_minikubes_own_message(double, status, words):
    double.fail(status, "no route", "use a mirror" if status == 40 else "")
    minikube = command(double)
    told = str(minikube.failed("start", minikube.run(["start"], timeout=60)))
    assert re.search(rf"minikube start of the profile lab, exit status {status}: .*{words}", told), told


def test_a_command_that_is_not_there_is_named(double):
    with pytest.raises(KjouleError, match="nowhere"):
        command(double, "nowhere").run(["status"], timeout=60)


def test_one_that_does_not_end_is_ended_and_told(double):
    script = double.folder / "slow"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    with pytest.raises(KjouleError, match=r"slow status did not end: expected an end within 0\.1 s.*minikube_lab_timeout"):
        command(double, "slow").run(["status"], timeout=0.1)


def test_another_command_that_fails_is_told_with_its_last_words(double):
    with pytest.raises(KjouleError, match="sh -c failed with exit status 3: saw no such image"):
        command(double).call(["/bin/sh", "-c", "echo no such image >&2; exit 3"])


def test_nothing_of_the_users_minikube_is_seen(double, monkeypatch):
    monkeypatch.setenv("MINIKUBE_PROFILE", "theirs")
    monkeypatch.setenv("KUBECONFIG", "/theirs")
    environment = command(double).environment()
    assert "MINIKUBE_PROFILE" not in environment
    assert environment["KUBECONFIG"] == str(double.home / "kubeconfig")
    assert environment["MINIKUBE_HOME"] == str(double.home)
    assert environment["KUBECACHEDIR"].startswith(str(double.home))


def test_no_log_is_left_among_the_temporary_files(double, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    for arguments in (["profile", "list"], ["status"], ["image", "ls"]):
        command(double).run(arguments, timeout=60)
    assert [call.split()[0] for call in double.calls] == ["profile", "status", "image"]
    assert list(folder.iterdir()) == []


def test_the_last_error_among_the_events_counts_and_other_lines_do_not():
    error = {"type": "io.k8s.sigs.minikube.error", "data": {"message": "second", "advice": "do"}}
    assert error_event("\n".join(["* text", "17", json.dumps({**error, "data": {"message": "first"}}), json.dumps(error)])) == (
        "second",
        "do",
    )
    assert error_event("nothing") == ("", "")
