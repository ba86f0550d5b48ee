# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of minikube: in an environment of its own, and what its exit status and its events say in words.

minikube tells what went wrong by the CloudEvents of ``start -o json`` and by exit statuses in classes (pkg/minikube/reason/exitcodes.go).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess

from ..child import run_child
from ..errors import KjouleError
from .process import cannot_start

#: The exit status of everything that is asked of a profile that is not there.
NO_PROFILE = 85
_ERROR_EVENT = "io.k8s.sigs.minikube.error"
#: Exit statuses by tens: what went wrong, and what to do.
_CLASSES = {
    1: ("minikube could not do it", "read its message"),
    2: ("this machine is too small for it", "give the profile less (minikube_lab_cpus, minikube_lab_memory_mb), or take a larger host"),
    3: ("the machine of the profile failed", "read its message; `minikube logs` tells more"),
    4: (
        "a file or an image is not to be had",
        "name it in minikube_lab_files or minikube_lab_images, or open the way to it",
    ),
    5: ("the driver failed", "correct what it names; for kvm2 the role kvm prepares a host"),
    6: ("what the driver needs is not there or does not run", "install or start what it names; for kvm2 the role kvm does"),
    7: ("the network of this host is in the way", "correct what it names"),
    8: ("the guest failed", "read its message; `minikube logs` tells more"),
    9: ("the container runtime failed", "look at the runtime's own log"),
    10: ("the control plane did not come up", "read its message; `minikube logs` tells more"),
}


class MinikubeCommand:
    """minikube for one profile. ``home`` (absolute) holds everything that it keeps, and the kubeconfig."""

    def __init__(self, command: str, home: str, profile: str) -> None:
        self.command, self.home, self.profile = command, home, profile
        self.kubeconfig = os.path.join(home, "kubeconfig")

    def environment(self) -> dict[str, str]:
        """What minikube runs with: its own home, kubeconfig and cache of kubectl, no colours, and nobody is asked for newer versions."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MINIKUBE_") and name != "KUBECONFIG"}
        return {
            **kept,
            "HOME": os.environ.get("HOME") or self.home,
            "MINIKUBE_HOME": self.home,
            "KUBECONFIG": self.kubeconfig,
            "KUBECACHEDIR": os.path.join(self.home, "kubectl-cache"),
            "MINIKUBE_IN_STYLE": "false",
            "MINIKUBE_WANTUPDATENOTIFICATION": "false",
            "MINIKUBE_WANTNONEDRIVERWARNING": "false",
            "CHANGE_MINIKUBE_NONE_USER": "false",
        }

    def run(self, arguments: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """minikube with these arguments, whatever its exit status; ``timeout`` in seconds. Raises KjouleError as ``call``.

        It logs each command into a file of its own in the folder for temporary files, where nobody removes it. Of a start that log is
        worth keeping, and minikube keeps it in its home. The folder itself stays the user's: its locks keep runs from each other in it.
        """
        log = [] if arguments[0] == "start" else ["--log_file=/dev/null"]
        return self.call([self.command, *arguments, "-p", self.profile, *log], timeout=timeout, check=False)

    def call(self, argv: list[str], timeout: float = 300.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Any command in this environment. Raises KjouleError if it cannot be started, does not end, or (``check``) fails."""
        name = os.path.basename(argv[0])
        try:
            child = run_child(argv, environment=self.environment(), timeout_seconds=timeout)
        except OSError as error:
            raise cannot_start(name, argv[0], error) from error
        if not child.in_time:
            raise KjouleError(
                f"{name} {argv[1]} did not end", expected=f"an end within {timeout:g} s", next_step="give it more (minikube_lab_timeout)"
            )
        output, errors = (text.decode("utf-8", "replace") for text in (child.stdout, child.stderr))
        done = subprocess.CompletedProcess(argv, child.returncode, output, errors)
        if check and done.returncode != 0:
            raise KjouleError(f"{name} {argv[1]} failed with exit status {done.returncode}", seen=errors.strip()[-800:] or "no output")
        return done

    def failed(self, what: str, done: subprocess.CompletedProcess[str], expected: str | None = None) -> KjouleError:
        """What is to be raised for a call of minikube that failed: its own message and advice where it gave some."""
        title, next_step = _CLASSES.get(done.returncode // 10, _CLASSES[1])
        message, advice = error_event(done.stdout)
        return KjouleError(
            f"minikube {what} of the profile {self.profile}, exit status {done.returncode}: {title}",
            expected=expected,
            seen=(message or done.stderr.strip()[-800:] or done.stdout.strip()[-800:] or "no output"),
            next_step=advice or next_step,
        )


def error_event(output: str) -> tuple[str, str]:
    """Message and advice of the last error among the CloudEvents of ``start -o json``; empty texts when there is none."""
    found = ("", "")
    for line in output.splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            event = json.loads(line)
            if event.get("type") == _ERROR_EVENT:
                data = event.get("data") or {}
                found = (str(data.get("message") or "").strip()[:1500], str(data.get("advice") or "").strip()[:500])
    return found
