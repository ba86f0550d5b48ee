# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the cache: each verified against what was recorded of it, each write by ``place``.

A write is a temporary file beside its destination, checked, recorded in the lock file, flushed and renamed.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import KjouleError
from .fetch import describe_content
from .files import check_space, flush_folder, hash_file, reading, remove_stale
from .lock import LockFile, entry, stat_of, writing
from .settings import Settings
from .table import Artifact


@dataclass
class Result:
    """Where an artifact is. In check mode ``sha256`` is None for one that would still have to be got."""

    path: str
    version: str
    sha256: str | None
    origin: str
    source: str
    changed: bool = False

    def public(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "changed"}


class Cache:
    """Where artifacts are, and the record of each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.folder
        with reading(self.folder):
            self.lock = LockFile(self.folder)

    def path_of(self, artifact: Artifact) -> str:
        return os.path.join(self.folder, "artifacts", artifact.slot, artifact.file)

    # -- what is there ------------------------------------------------------------------------------------------------------------

    def find(self, artifact: Artifact) -> dict[str, Any] | None:
        """The record of the cached file (``sha256``, ``origin``, ``source``, ``recipe``), None when there is no file.

        Raises KjouleError when the file is not the recorded one.
        """
        path = self.path_of(artifact)
        with reading(self.folder):
            if not os.path.lexists(path):
                return None
            found = stat_of(path) if os.path.isfile(path) else {}
        record = self.lock.files.get(path)
        if record is None:
            record = {"stat": {}, "origin": "unknown", "source": "", "sha256": ""}
        if self.settings.verify_full or not found or found != record["stat"]:
            sha256 = hash_file(path) if found else ""
            if sha256 != record["sha256"]:
                # A run that was killed between recording and renaming leaves the record of one good file beside another good file.
                known = self._recorded(artifact, sha256)
                if known is None:
                    raise self._damaged(artifact, path, str(record["sha256"]), sha256, found.get("size", 0))
                record = {**known, "sha256": sha256}
            self.remember({}, {path: {**record, "stat": found}})
        return record

    def _recorded(self, artifact: Artifact, sha256: str) -> dict[str, Any] | None:
        """The lock entry of this artifact that has this checksum."""
        for key, value in self.lock.entries.items():
            if value.get("name") == artifact.slot and value.get("kind") == artifact.kind and value["sha256"] == sha256:
                return {"origin": value["origin"], "source": value["source"], "recipe": value.get("recipe"), "entry": key}
        return None

    def _damaged(self, artifact: Artifact, path: str, expected: str, seen: str, size: int) -> KjouleError:
        return KjouleError(
            f"{artifact.name} {artifact.version} is damaged: {path}",
            expected=f"sha256 {expected}" if expected else f"a file recorded in {self.lock.path}",
            seen=(f"sha256 {seen}" + (f" ({size} bytes)" if size else " (an empty file)")) if seen else "something that is not a file",
            next_step=f"find out who changed it, then remove it (rm -r {os.path.dirname(path)}) and run again: it is got anew",
        )

    def differs(self, artifact: Artifact, origin: str, key: str, expected: str, seen: str) -> KjouleError:
        return KjouleError(
            f"{artifact.name} {artifact.version} ({origin}) is not the one used before",
            expected=f"sha256 {expected}, recorded at first use",
            seen=f"sha256 {seen}",
            next_step=f"find out why it changed; to accept the new one, remove the entry {key!r} from {self.lock.path}",
        )

    # -- what is put there --------------------------------------------------------------------------------------------------------

    def remember(self, entries: dict[str, Any], files: dict[str, Any]) -> None:
        """Saves the next run a hash; a cache that may only be read stays usable."""
        if self.settings.check_mode:
            return
        with contextlib.suppress(KjouleError):
            self.lock.update(entries, files)

    @staticmethod
    def entry(artifact: Artifact, sha256: str, source: str, origin: str, kind: str) -> dict[str, Any]:
        return {**entry(sha256, source), "name": artifact.slot, "kind": kind, "origin": origin}

    def check_space(self, free_gb: float, purpose: str) -> None:
        check_space(self.folder, free_gb, purpose)

    @contextlib.contextmanager
    def temporary(self, artifact: Artifact) -> Iterator[str]:
        """A file beside the destination, gone afterwards whatever happens; what a killed run left there goes first."""
        folder = os.path.dirname(self.path_of(artifact))
        with writing(self.folder):
            os.makedirs(folder, exist_ok=True)
            handle, part = tempfile.mkstemp(prefix=f".{artifact.file}.", suffix=f".{os.getpid()}.part", dir=folder)
            os.close(handle)
        for name in os.listdir(folder):
            if name.endswith(".part") and not name.endswith(f".{os.getpid()}.part"):
                remove_stale(folder, name)
        try:
            yield part
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)
            # An empty folder of a get that failed says nothing.
            with contextlib.suppress(OSError):
                os.rmdir(folder)

    def place(
        self, artifact: Artifact, part: str, sha256: str, origin: str, source: str, recorded: dict[str, Any], recipe: str | None = None
    ) -> Result:
        """Checks what the temporary file is, records it and renames it to its place."""
        os.chmod(part, 0o755 if artifact.kind == "binary" else 0o644)
        check_content(artifact, part)
        path = self.path_of(artifact)
        key = next(reversed(recorded))
        kept = {name: value for name, value in recorded.items() if name not in self.lock.entries}
        record = {"stat": stat_of(part), "sha256": sha256, "origin": origin, "source": source, "recipe": recipe, "entry": key}
        # First the record, then the file: one without the other is then a missing file, which is simply got again.
        self.lock.update(kept, {path: record})
        with writing(self.folder):
            os.replace(part, path)
            flush_folder(os.path.dirname(path))
        return Result(path, artifact.version, sha256, origin, source, changed=True)


def check_content(artifact: Artifact, path: str) -> None:
    """That a binary says it is the pinned version; that a file of manifests holds what it is called after."""
    if artifact.kind in ("crds", "manifests"):
        kind = "CustomResourceDefinition" if artifact.kind == "crds" else "Deployment"
        with reading(path), open(path, "rb") as handle:
            text = handle.read()
        if not re.search(rb"(?m)^kind: " + kind.encode(), text):
            raise KjouleError(
                f"{artifact.name} {artifact.version} holds no {kind}",
                seen=describe_content(text[:200], len(text)),
                next_step="correct the file or its table entry",
            )
        return
    if not artifact.version_args or not artifact.version_text:
        return
    try:
        # In a home that goes again: minikube makes folders there and logs among the temporary files, whatever it is asked.
        with tempfile.TemporaryDirectory(prefix="kjoule-") as home:
            own = {name: value for name, value in os.environ.items() if name != "MINIKUBE_HOME"}
            done = subprocess.run(
                [path, *artifact.version_args],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**own, "HOME": home, "TMPDIR": home},
                timeout=60,
                check=False,
            )
        output = done.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        output = f"nothing: {error}"
    if not says_version(output, artifact.version_text):
        raise KjouleError(
            f"{artifact.name} is not version {artifact.version}",
            expected=f"{artifact.version_text!r} from {artifact.file} {' '.join(artifact.version_args)}",
            seen=repr(output[:160]),
            next_step="give the file of that version, or change the version in the table (artifacts_extra)",
        )


def says_version(output: str, text: str) -> bool:
    """Whether ``text`` stands in ``output`` as a whole version: v1.2.3 is neither v1.2.30 nor v1.2.3-rc.1."""
    return re.search(r"(?<![0-9A-Za-z.])" + re.escape(text) + r"(?![0-9A-Za-z-]|\.[0-9])", output) is not None
