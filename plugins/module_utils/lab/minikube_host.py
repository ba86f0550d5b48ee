# SPDX-License-Identifier: GPL-3.0-or-later
"""What minikube with the driver none changes on the host outside of its home, remembered and put back.

It writes kubelet's unit, networks of pods, settings of the container runtime, names into /etc/hosts and its authority among those that the
host trusts (pkg/minikube/bootstrapper, cni, cruntime, node), and its ``delete`` leaves them there: it removes /var/lib/minikube, its
manifests and /var/tmp/minikube only (``cleanupPaths`` in pkg/drivers/none). The lists below are what was seen on a node.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Any

from ..errors import KjouleError
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
    "usr/share/ca-certificates/minikubeCA.pem",
    "etc/ssl/certs/minikubeCA.pem",
    "etc/ssl/certs/*.[0-9]",
)
#: Of the links that name a certificate by its hash only those to this one count; the others are the host's own affair.
_HASHED, _AUTHORITY = "etc/ssl/certs/", "minikubeCA.pem"

#: Of this file only the lines that name something of minikube are put back: others write into it at any time.
_HOSTS, _NAMES = "etc/hosts", ".minikube.internal"

_HOME = os.path.relpath(os.path.expanduser("~root"), "/")
#: Folders that minikube, or what it calls by sudo, makes and fills with what can be made again. They go where they were not there before.
CACHES = (f"{_HOME}/.kube/cache", "var/lib/cni/networks/bridge", "var/lib/cni/results", "var/tmp/minikube")
#: Folders that it makes. They go where they were not there before and hold nothing.
EMPTY = (f"{_HOME}/.kube", f"{_HOME}/.minikube", "var/lib/cni", "var/lib/kubelet", "usr/libexec/kubernetes", "etc/kubernetes")

#: What a file is called while it is put back.
_TEMPORARY = ".kjoule"

Files = dict[str, dict[str, Any]]


class HostFiles:
    """``record`` is where it is remembered (mode 0600, for what is kept may be secret); ``root`` is the host's."""

    def __init__(self, record: str, root: str = "/") -> None:
        self.record, self.root = record, root

    # --- remembering

    def before_start(self, first: bool) -> None:
        """Remember what is there before minikube starts for the ``first`` time; before another time, what somebody has changed since.

        Raises KjouleError where this user may not read it: the driver none is for root.
        """
        try:
            seen = self._seen()
        except PermissionError as error:
            raise KjouleError(
                "minikube with the driver none changes files of the host",
                expected="root",
                seen=f"{error.filename}: {error.strerror}",
                next_step="run it as root (become: true)",
            ) from error
        if os.path.exists(self.record):
            record = self._read()
            if record["standing"] is None:  # else a delete broke off, and what differs since was done here
                self._write({**record, "edited": _edited(record, seen)})
        elif first:
            before = {"before": seen, "folders": sorted(self._folders()), "names": self._names()}
            self._write({**before, "after": None, "edited": [], "standing": None, "standing_folders": [], "changed": []})

    def settle(self) -> None:
        """What is there after minikube has started, or has failed to."""
        if os.path.exists(self.record):
            self._write({**self._read(), "after": self._seen(), "standing": None})

    def before_delete(self) -> None:
        """What is there when minikube has not yet deleted anything. If that breaks off, this stays until the next try."""
        if os.path.exists(self.record):
            record = self._read()
            if record["standing"] is None:
                seen = self._seen()
                self._write({**record, "standing": seen, "standing_folders": sorted(self._folders()), "edited": _edited(record, seen)})

    def _seen(self) -> Files:
        """Every file of PATTERNS by its path relative to the root: its mode, owner, group and content, or where it leads."""
        found: Files = {}
        for pattern in PATTERNS:
            for path in glob.glob(os.path.join(glob.escape(self.root), pattern)):
                entry = None if path.endswith(_TEMPORARY) else _entry(path)
                hashed = pattern.startswith(_HASHED) and not path.endswith(_AUTHORITY)
                if entry is not None and (not hashed or str(entry.get("link", "")).endswith(_AUTHORITY)):
                    found[os.path.relpath(path, self.root)] = entry
        return found

    def _folders(self) -> set[str]:
        """The folders of PATTERNS that are there, and those above them, and which of CACHES and EMPTY are, relative to the root."""
        found = {path for path in (*CACHES, *EMPTY) if os.path.isdir(os.path.join(self.root, path))}
        for pattern in {os.path.dirname(pattern) for pattern in PATTERNS}:
            for path in filter(os.path.isdir, glob.glob(os.path.join(glob.escape(self.root), pattern))):
                parts = os.path.relpath(path, self.root).split(os.sep)
                found |= {os.path.join(*parts[: end + 1]) for end in range(len(parts))}
        return found

    def _names(self) -> list[str]:
        """The lines of the host's table of names that name something of minikube."""
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(self.root, _HOSTS), encoding="utf-8", errors="surrogateescape") as stream,
        ):
            return [line for line in stream if _NAMES in line]
        return []

    # --- putting back

    def put_back(self) -> tuple[list[str], list[str]]:
        """Make everything what it was before. Returns the paths that were changed, also by an earlier try, and those of which not.

        What somebody changed after minikube had written it stays as they left it. Raises KjouleError for what cannot be changed, after
        everything else was, and knows it the next time. What is remembered stays until ``forget``.
        """
        if not os.path.exists(self.record):
            return [], []
        self.before_delete()
        record = self._read()
        before: Files = record["before"]
        standing: Files = record["standing"]
        failed: list[str] = []
        changed = set(record["changed"])
        for path in sorted({*before, *standing}):
            goal = (standing if path in record["edited"] else before).get(path)
            with _collected(failed, path):
                if _entry(os.path.join(self.root, path)) != goal:
                    self._make(path, goal)
                    changed.add(os.path.join(self.root, path))
        with _collected(failed, _HOSTS):
            self._drop_names(record["names"])
        self._put_folders_back(set(record["folders"]), set(record["standing_folders"]), failed)
        self._write({**record, "changed": sorted(changed)})
        if failed:
            raise KjouleError(
                "the cluster is gone, but not all that minikube changed on this host could be put back",
                expected=f"every file as it was before the first start, as {self.record} has it",
                seen="; ".join(failed),
                next_step="mend what stands in the way, then ask for the state absent again",
            )
        return sorted(changed), [os.path.join(self.root, path) for path in record["edited"]]

    def forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.record)

    def _drop_names(self, before: list[str]) -> None:
        """In place, for the file may be mounted, and others have it open."""
        path = os.path.join(self.root, _HOSTS)
        if set(self._names()) <= set(before):
            return
        with open(path, "r+", encoding="utf-8", errors="surrogateescape") as stream:
            kept = [line for line in stream if _NAMES not in line or line in before]
            stream.seek(0)
            stream.write("".join(kept))
            stream.truncate()

    def _put_folders_back(self, before: set[str], standing: set[str], failed: list[str]) -> None:
        for folder in sorted((before & standing) - self._folders() - set(CACHES) - set(EMPTY)):
            with _collected(failed, folder):
                os.makedirs(os.path.join(self.root, folder), mode=0o755)
        for folder in CACHES:
            path = os.path.join(self.root, folder)
            with _collected(failed, folder):
                if folder not in before and os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
        for folder in sorted(self._folders() - before, reverse=True):
            for path, _folders, _files in os.walk(os.path.join(self.root, folder), topdown=False):
                with _collected(failed, folder):
                    if not os.path.islink(path) and not os.listdir(path):
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
        temporary = path + _TEMPORARY
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
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


def _edited(record: dict[str, Any], seen: Files) -> list[str]:
    """The paths that somebody changed after minikube had written them: those known already, and those that are ``seen`` to differ now."""
    after: Files = seen if record["after"] is None else record["after"]
    return sorted({*record["edited"], *(path for path in {*seen, *after} if seen.get(path) != after.get(path))})


@contextlib.contextmanager
def _collected(failed: list[str], path: str) -> Iterator[None]:
    """What cannot be done at one path is told in the end, and holds up nothing else."""
    try:
        yield
    except OSError as error:
        failed.append(f"/{path}: {error.strerror or error}")
