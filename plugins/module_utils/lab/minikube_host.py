# SPDX-License-Identifier: GPL-3.0-or-later
"""What minikube with the driver none changes on the host outside of its home, remembered and put back.

It writes kubelet's unit, networks of pods, settings of the container runtime, names into /etc/hosts and its authority among those that the
host trusts (pkg/minikube/bootstrapper, cni, cruntime, node), and its ``delete`` leaves them there: it removes /var/lib/minikube, its
manifests and /var/tmp/minikube only (``cleanupPaths`` in pkg/drivers/none). The lists below are what was seen on a node.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import shutil
import stat
from typing import Any

from .directory import write_private

#: Relative to the root. Symbolic links are kept as links.
PATTERNS = (
    "lib/systemd/system/kubelet.service",
    "etc/systemd/system/kubelet.service.d/*",
    "etc/systemd/system/*.wants/kubelet.service",
    "etc/systemd/system/cri-docker.service.d/*",
    "etc/cni/net.d/*",
    "etc/containerd/config.toml",
    "etc/containerd/*/*.toml",
    "etc/crio/*/*.conf",
    "etc/docker/daemon.json",
    "etc/crictl.yaml",
    "etc/hosts",
    "usr/share/ca-certificates/minikubeCA.pem",
    "etc/ssl/certs/minikubeCA.pem",
    "etc/ssl/certs/*.[0-9]",
)
#: Of the links that name a certificate by its hash only those to this one count; the others are the host's own affair.
_HASHED, _AUTHORITY = "etc/ssl/certs/", "minikubeCA.pem"

_HOME = os.path.relpath(os.path.expanduser("~root"), "/")
#: Folders that minikube, or what it calls by sudo, makes and fills with what can be made again. They go where they were not there before.
CACHES = (f"{_HOME}/.kube/cache", "var/lib/cni/networks/bridge", "var/lib/cni/results", "var/tmp/minikube")
#: Folders that it makes. They go where they were not there before and hold nothing.
EMPTY = (f"{_HOME}/.kube", f"{_HOME}/.minikube", "var/lib/cni", "usr/libexec/kubernetes", "etc/kubernetes")

Files = dict[str, dict[str, Any]]


class HostFiles:
    """``record`` is where it is remembered (mode 0600, for what is kept may be secret); ``root`` is the host's."""

    def __init__(self, record: str, root: str = "/") -> None:
        self.record, self.root = record, root

    def remember(self) -> None:
        """What is there before minikube starts for the first time. What is remembered already stays."""
        if not os.path.exists(self.record):
            self._write({"before": self._seen(), "folders": sorted(self._folders()), "after": None, "standing": None})

    def settle(self) -> None:
        """What is there after minikube has started, or has failed to."""
        if os.path.exists(self.record):
            self._write({**self._read(), "after": self._seen(), "standing": None})

    def before_delete(self) -> None:
        """What is there when minikube has not yet deleted anything. If that breaks off, this stays until the next try."""
        if os.path.exists(self.record) and self._read()["standing"] is None:
            self._write({**self._read(), "standing": self._seen()})

    def _seen(self) -> Files:
        """Every file of PATTERNS by its path relative to the root: its mode, owner, group and content, or where it leads."""
        found: Files = {}
        for pattern in PATTERNS:
            for path in glob.glob(os.path.join(glob.escape(self.root), pattern)):
                entry = _entry(path)
                hashed = pattern.startswith(_HASHED) and not path.endswith(_AUTHORITY)
                if entry is not None and (not hashed or str(entry.get("link", "")).endswith(_AUTHORITY)):
                    found[os.path.relpath(path, self.root)] = entry
        return found

    def _folders(self) -> set[str]:
        """The folders of PATTERNS that are there, and those above them, and which of CACHES and EMPTY are, relative to the root."""
        found = {path for path in (*CACHES, *EMPTY) if os.path.isdir(os.path.join(self.root, path))}
        for pattern in {os.path.dirname(pattern) for pattern in PATTERNS}:
            for path in glob.glob(os.path.join(glob.escape(self.root), pattern)):
                parts = os.path.relpath(path, self.root).split(os.sep)
                found |= {os.path.join(*parts[: end + 1]) for end in range(len(parts))}
        return found

    def put_back(self) -> tuple[list[str], list[str]]:
        """Make every file what it was before, and forget.

        What somebody changed after minikube's last start stays as they left it. Returns the paths that were changed here, and those that
        stayed for that reason.
        """
        if not os.path.exists(self.record):
            return [], []
        record = self._read()
        before: Files = record["before"]
        standing: Files = self._seen() if record["standing"] is None else record["standing"]
        after: Files = standing if record["after"] is None else record["after"]
        changed, kept = [], []
        for path in sorted({*before, *after, *standing}):
            edited = standing.get(path) != after.get(path)
            goal = standing.get(path) if edited else before.get(path)
            if edited:
                kept.append(os.path.join(self.root, path))
            if _entry(os.path.join(self.root, path)) != goal:
                self._make(path, goal)
                changed.append(os.path.join(self.root, path))
        self._put_folders_back(set(record["folders"]))
        os.unlink(self.record)
        return changed, kept

    def _put_folders_back(self, before: set[str]) -> None:
        for folder in before - self._folders() - set(CACHES) - set(EMPTY):
            os.makedirs(os.path.join(self.root, folder), mode=0o755, exist_ok=True)
        for folder in CACHES:
            if folder not in before and os.path.isdir(os.path.join(self.root, folder)):
                shutil.rmtree(os.path.join(self.root, folder))
        for folder in sorted(self._folders() - before, reverse=True):
            for path, _folders, _files in os.walk(os.path.join(self.root, folder), topdown=False):
                if not os.listdir(path):
                    os.rmdir(path)

    @staticmethod
    def readers(changed: list[str]) -> tuple[bool, list[str]]:
        """Where the host has systemd: whether systemd is to read its units again, and which services, if they run, their settings."""
        if not os.path.isdir("/run/systemd/system"):
            return False, []
        services = {"containerd": ("/etc/containerd/", "/etc/cni/"), "crio": ("/etc/crio/", "/etc/cni/"), "docker": ("/etc/docker/",)}
        concerned = [name for name, folders in services.items() if any(folder in path for folder in folders for path in changed)]
        return any("/systemd/system/" in path for path in changed), concerned

    def _make(self, path: str, entry: dict[str, Any] | None) -> None:
        path = os.path.join(self.root, path)
        if entry is None:
            os.unlink(path)
            return
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        temporary = f"{path}.kjoule"
        if "link" in entry:
            os.symlink(entry["link"], temporary)
        else:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(base64.b64decode(entry["content"]))
                os.fchown(stream.fileno(), entry["uid"], entry["gid"])
                os.fchmod(stream.fileno(), entry["mode"])
        os.replace(temporary, path)

    def _read(self) -> dict[str, Any]:
        with open(self.record, encoding="utf-8") as stream:
            return dict(json.load(stream))

    def _write(self, content: dict[str, Any]) -> None:
        write_private(self.record, json.dumps(content, sort_keys=True))


def _entry(path: str) -> dict[str, Any] | None:
    """What is at ``path``; None where there is neither a file nor a link."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return {"link": os.readlink(path)}
        if not stat.S_ISREG(found.st_mode):
            return None
        with open(path, "rb") as stream:
            content = base64.b64encode(stream.read()).decode("ascii")
    except FileNotFoundError:
        return None
    return {"mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid, "content": content}
