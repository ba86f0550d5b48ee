# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of artifacts: one versioned, verified, read-only copy of each, shared by every clone on the host.

Every write goes through ``_place``: a temporary file beside its destination, verified, recorded in the lock file, flushed and
renamed. A checksum that differs is never a reason to try another origin.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import KjouleError
from . import build as gobuild
from .fetch import Fetcher, Unavailable, describe_content, extract
from .lock import LockFile, entry, exclusive, stat_of, writing
from .table import ORIGINS, Artifact, Recipe, rewrite

_FETCHED = ("download", "mirror")
_DOWNLOAD_FREE_GB = 0.5
_WARM_BUILD_GB = 1.0
# Environment that changes what the Go compiler makes of the same source.
_GO_VARIANTS = ("GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140")


def default_cache_dir() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "kjoule")


@dataclass
class Settings:
    """What a call may decide; the defaults are a host on the internet."""

    origin: str = "auto"
    cache_dir: str = ""
    tools_dirs: dict[str, str] = field(default_factory=dict)
    recipe_hashes: dict[str, str] = field(default_factory=dict)
    mirrors: dict[str, str] = field(default_factory=dict)
    #: What the controller has, by name: ``path`` there (its folder names the platform), ``sha256``, ``source``.
    offers: dict[str, dict[str, str | None]] = field(default_factory=dict)
    verify_full: bool = False
    check_mode: bool = False
    connect_timeout: float = 5.0
    unreachable: dict[str, str] = field(default_factory=dict)
    go: str | None = None
    go_pip_version: str = "1.26.6"
    go_pip_sha256: str | None = None


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


class Store:
    """Gets artifacts into the cache and vouches for those that are there."""

    def __init__(self, settings: Settings) -> None:
        if settings.origin not in ORIGINS:
            raise KjouleError(
                f"origin {settings.origin!r} is not known", expected="one of " + ", ".join(ORIGINS), next_step="correct artifacts_origin"
            )
        self.settings = settings
        self.cache_dir = os.path.abspath(os.path.expanduser(settings.cache_dir or default_cache_dir()))
        self.fetcher = Fetcher(settings.connect_timeout, settings.unreachable)
        self.warnings: list[str] = []
        with _reading(self.cache_dir):
            self.lock = LockFile(self.cache_dir)

    # -- getting ------------------------------------------------------------------------------------------------------------------

    def get(self, artifacts: list[Artifact]) -> dict[str, Result]:
        """Every artifact by name, present and verified when this returns (in check mode: as it would be)."""
        results: dict[str, Result] = {}
        families: dict[str, list[Artifact]] = {}
        for artifact in artifacts:
            families.setdefault(artifact.family, []).append(artifact)
        for family, members in families.items():
            missing = self._collect(members, results)
            if not missing:
                continue
            if self.settings.check_mode:
                results.update({artifact.name: self._predict(artifact) for artifact in missing})
                continue
            with exclusive(self.cache_dir, family):
                self.lock.load()
                missing = self._collect(missing, results)
                results.update(self._obtain(missing))
        return {artifact.name: results[artifact.name] for artifact in artifacts}

    def _collect(self, artifacts: list[Artifact], results: dict[str, Result]) -> list[Artifact]:
        """Puts what is there into ``results``; returns the rest."""
        missing = []
        for artifact in artifacts:
            found = self._own(artifact) if self._wants_own(artifact) else self._cached(artifact)
            if found:
                results[artifact.name] = found
            else:
                missing.append(artifact)
        return missing

    def _wants_own(self, artifact: Artifact) -> bool:
        return self.settings.origin == "path" or (self.settings.origin == "auto" and bool(artifact.path))

    def _obtain(self, artifacts: list[Artifact]) -> dict[str, Result]:
        """Fetches or builds, according to the origin; the caller holds the family's lock."""
        results: dict[str, Result] = {}
        to_build: list[Artifact] = []
        reason: Unavailable | None = None
        for artifact in artifacts:
            if self.settings.origin == "controller":
                results[artifact.name] = self._take(artifact)
                continue
            if self.settings.origin == "build" or (self.settings.origin == "auto" and not self._released(artifact)):
                to_build.append(artifact)
                continue
            try:
                results[artifact.name] = self._fetch(artifact, *self._url(artifact))
            except Unavailable as error:
                if self.settings.origin != "auto" or not artifact.buildable:
                    raise
                reason = reason or error
                to_build.append(artifact)
        if reason:
            names = ", ".join(artifact.name for artifact in to_build)
            self.warnings.append(f"{names} {to_build[0].version}: built here instead of downloaded. {reason.what}, saw {reason.seen}")
        if to_build:
            results.update(self._build(to_build))
        return results

    @staticmethod
    def _released(artifact: Artifact) -> bool:
        """False where a build is the plan and not a second choice."""
        return not artifact.buildable or bool(artifact.url and (artifact.sha256 or artifact.checksum_url))

    def _predict(self, artifact: Artifact) -> Result:
        """What a run would do; asks the network whether a download is to be had, writes nothing."""
        if self.settings.origin == "controller":
            return self._would(artifact, "controller", str(self._offer(artifact)["source"]))
        if self.settings.origin == "build" or (self.settings.origin == "auto" and not self._released(artifact)):
            self._check_buildable(artifact)
            return self._would(artifact, "build", artifact.recipe.module if artifact.recipe else "")
        try:
            origin, url = self._url(artifact)
            if not artifact.sha256:
                self._checksum(artifact, origin, url)
            else:
                self.fetcher.open(url, "HEAD").close()
            return self._would(artifact, origin, url)
        except Unavailable:
            if self.settings.origin != "auto" or not artifact.buildable:
                raise
            return self._would(artifact, "build", artifact.recipe.module if artifact.recipe else "")

    def _would(self, artifact: Artifact, origin: str, source: str) -> Result:
        return Result(self.path_of(artifact), artifact.version, None, origin, source, changed=True)

    def path_of(self, artifact: Artifact) -> str:
        return os.path.join(self.cache_dir, "artifacts", artifact.slot, artifact.file)

    # -- what is there ------------------------------------------------------------------------------------------------------------

    def _cached(self, artifact: Artifact) -> Result | None:
        """The cached file, verified against the lock file; None when it is absent or came from an origin that is not wanted."""
        path = self.path_of(artifact)
        with _reading(self.cache_dir):
            if not os.path.lexists(path):
                return None
            found = stat_of(path) if os.path.isfile(path) else {}
        record = self.lock.files.get(path)
        if record is None:
            record = {"stat": {}, "origin": "unknown", "source": "", "sha256": ""}
        sha256 = str(record["sha256"])
        if self.settings.verify_full or not found or found != record["stat"]:
            sha256 = hash_file(path) if found else ""
            # A run that was killed between recording and renaming leaves the record of one good file beside another good file.
            known = self._recorded(artifact, sha256)
            if sha256 != record["sha256"] and known is None:
                raise self._damaged(artifact, path, str(record["sha256"]), sha256, found.get("size", 0))
            if sha256 != record["sha256"] and known is not None:
                record = {**known, "sha256": sha256}
            self._remember({}, {path: {**record, "stat": found}})
        if not self._acceptable(artifact, record):
            return None
        return Result(path, artifact.version, sha256, str(record["origin"]), str(record["source"]))

    def _acceptable(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        origin = record["origin"]
        if self.settings.origin == "controller":
            return bool(record["sha256"] == self._offer(artifact)["sha256"])
        if self.settings.origin in _FETCHED and origin not in _FETCHED:
            return False
        if self.settings.origin == "build" and origin != "build":
            return False
        if artifact.sha256 and origin in _FETCHED and not artifact.member and record["sha256"] != artifact.sha256:
            raise KjouleError(
                f"{artifact.name} {artifact.version}: the table's checksum is not that of the cached download",
                expected=artifact.sha256,
                seen=f"{record['sha256']} recorded at first use",
                next_step=f"find out which one is right; to get it anew: rm -r {os.path.dirname(self.path_of(artifact))}"
                f" and the entries {artifact.slot}-* from {self.lock.path}",
            )
        if origin == "build":
            wanted = self._recipe_mark(artifact)
            return wanted is None or wanted == record.get("recipe")
        return True

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

    def _own(self, artifact: Artifact) -> Result:
        """A file of the user's own, used where it lies."""
        path = artifact.path
        if not path:
            raise KjouleError(
                f"{artifact.name}: the origin path needs a path",
                seen="none in the table and none in artifacts_paths",
                next_step=f"set artifacts_paths: {{{artifact.name}: /the/file}}, or choose another artifacts_origin",
            )
        path = os.path.abspath(os.path.expanduser(path))
        if not os.path.exists(path):
            raise KjouleError(f"{artifact.name}: {path} is not there", next_step="correct artifacts_paths, or install it there")
        if not os.path.isfile(path):
            raise KjouleError(f"{artifact.name}: {path} is not a file", next_step="give the file itself in artifacts_paths")
        if artifact.kind == "binary" and not os.access(path, os.X_OK):
            raise KjouleError(f"{artifact.name}: {path} is not executable", next_step=f"chmod +x {path}")
        with _reading(path):
            found = stat_of(path)
        file_key = f"path:{artifact.slot}:{path}"
        record = self.lock.files.get(file_key)
        if record and record["stat"] == found and not self.settings.verify_full:
            return Result(path, artifact.version, str(record["sha256"]), "path", path)
        with _reading(path):
            sha256 = hash_file(path)
        self._check_content(artifact, path)
        key = f"{artifact.slot}-path-{artifact.kind}"
        locked = self.lock.entries.get(key)
        # The lock is about a file's bytes, so a file at another path is another file.
        if locked and locked["source"] == path and locked["sha256"] != sha256:
            raise self._differs(artifact, "path", key, locked["sha256"], sha256)
        fresh = {**entry(sha256, path), "name": artifact.slot, "kind": artifact.kind, "origin": "path"}
        self._remember({key: fresh}, {file_key: {"stat": found, "sha256": sha256, "origin": "path", "source": path, "entry": key}})
        return Result(path, artifact.version, sha256, "path", path)

    def _remember(self, entries: dict[str, Any], files: dict[str, Any]) -> None:
        """Saves the next run a hash; a cache that may only be read stays usable."""
        if self.settings.check_mode:
            return
        with contextlib.suppress(KjouleError):
            self.lock.update(entries, files)

    # -- fetching -----------------------------------------------------------------------------------------------------------------

    def _url(self, artifact: Artifact) -> tuple[str, str]:
        """Origin (download or mirror) and URL. Raises Unavailable when there is none."""
        if not artifact.url:
            raise Unavailable(
                f"{artifact.name} {artifact.version} is not released as a file",
                next_step="use the origin build" if artifact.buildable else "give a url in the table, or the file in artifacts_paths",
            )
        mirrored = rewrite(artifact.url, self.settings.mirrors)
        if self.settings.origin == "mirror" and mirrored is None:
            raise Unavailable(
                f"no mirror for {artifact.url}",
                expected="a prefix of it in artifacts_mirrors",
                seen=", ".join(sorted(self.settings.mirrors)) or "no prefixes",
                next_step="add the prefix to artifacts_mirrors",
            )
        if self.settings.origin == "download" or mirrored is None:
            return "download", artifact.url
        return "mirror", mirrored

    def _checksum(self, artifact: Artifact, origin: str, url: str) -> str:
        """What the released file must hash to: the table's word, else that of the release's own checksum file."""
        if artifact.sha256:
            return artifact.sha256
        if not artifact.checksum_url:
            raise Unavailable(
                f"{artifact.name} {artifact.version} is not downloaded without a checksum",
                expected=f"sha256 for {artifact.platform.arch} or checksum_url in the table",
                next_step="add one with artifacts_extra" + (", or use the origin build" if artifact.buildable else ""),
            )
        checksum_url = artifact.checksum_url
        if origin == "mirror":
            checksum_url = rewrite(checksum_url, self.settings.mirrors) or checksum_url
        return self.fetcher.read_checksum(checksum_url, url.rsplit("/", 1)[-1])

    def _fetch(self, artifact: Artifact, origin: str, url: str) -> Result:
        expected = self._checksum(artifact, origin, url)
        released_kind = "archive" if artifact.member else artifact.kind
        # Before the bytes come: a release that names another checksum than it did at first use was changed.
        self._compare_fetched(artifact, released_kind, expected)
        self._check_space(_DOWNLOAD_FREE_GB, f"downloading {artifact.name}")
        with self._temporary(artifact) as part, writing(self.cache_dir):
            with open(part, "wb") as target:
                sha256 = self.fetcher.download(url, target)
                _flush(target)
            if sha256 != expected:
                with open(part, "rb") as handle:
                    seen = describe_content(handle.read(200), os.path.getsize(part))
                raise KjouleError(
                    f"{artifact.name} {artifact.version} from {url} is not the released file",
                    expected=f"sha256 {expected}" + ("" if artifact.sha256 else f" (from {artifact.checksum_url})"),
                    seen=f"sha256 {sha256}, {seen}",
                    next_step="find out what answered (proxy, mirror, changed release); nothing was kept and no other origin was tried",
                )
            recorded = {f"{artifact.slot}-{origin}-{released_kind}": self._entry(artifact, sha256, url, origin, released_kind)}
            if not artifact.member:
                return self._place(artifact, part, sha256, origin, url, recorded)
            with self._temporary(artifact) as member_part:
                with open(member_part, "wb") as target:
                    extract(part, artifact.member, target)
                    _flush(target)
                sha256 = hash_file(member_part)
                self._compare_fetched(artifact, artifact.kind, sha256)
                recorded[f"{artifact.slot}-{origin}-{artifact.kind}"] = self._entry(artifact, sha256, url, origin, artifact.kind)
                return self._place(artifact, member_part, sha256, origin, f"{url}#{artifact.member}", recorded)

    def _compare_fetched(self, artifact: Artifact, kind: str, sha256: str) -> None:
        """A mirror's file is the release's file: either one's record binds both."""
        for origin in _FETCHED:
            key = f"{artifact.slot}-{origin}-{kind}"
            if key in self.lock.entries and self.lock.entries[key]["sha256"] != sha256:
                raise self._differs(artifact, origin, key, self.lock.entries[key]["sha256"], sha256)

    def _differs(self, artifact: Artifact, origin: str, key: str, expected: str, seen: str) -> KjouleError:
        return KjouleError(
            f"{artifact.name} {artifact.version} ({origin}) is not the one used before",
            expected=f"sha256 {expected}, recorded at first use",
            seen=f"sha256 {seen}",
            next_step=f"find out why it changed; to accept the new one, remove the entry {key!r} from {self.lock.path}",
        )

    @staticmethod
    def _entry(artifact: Artifact, sha256: str, source: str, origin: str, kind: str) -> dict[str, Any]:
        return {**entry(sha256, source), "name": artifact.slot, "kind": kind, "origin": origin}

    # -- from the controller ------------------------------------------------------------------------------------------------------

    def incoming(self, artifact: Artifact) -> str:
        """Where a file from the controller waits to be checked: in the cache, so that a rename is all it then takes."""
        return os.path.join(self.cache_dir, "incoming", artifact.name, artifact.file)

    def _offer(self, artifact: Artifact) -> dict[str, str | None]:
        """What the controller has of this artifact. Raises KjouleError when that is nothing, or for another platform."""
        offer = self.settings.offers.get(artifact.name)
        slot = os.path.basename(os.path.dirname(str(offer["path"]))) if offer else "nothing"
        if offer is None or slot != artifact.slot:
            raise KjouleError(
                f"{artifact.name} {artifact.version}: the controller has none for this host",
                expected=artifact.slot,
                seen=slot,
                next_step="choose another artifacts_origin for this host: auto, build or mirror",
            )
        return offer

    def _take(self, artifact: Artifact) -> Result:
        offer, incoming = self._offer(artifact), self.incoming(artifact)
        with self._temporary(artifact) as part, writing(self.cache_dir):
            if not os.path.isfile(incoming):
                raise KjouleError(
                    f"{artifact.name}: {incoming} is not there", next_step="copy it from the controller (the role artifacts does)"
                )
            os.replace(incoming, part)
            for folder in (os.path.dirname(incoming), os.path.join(self.cache_dir, "incoming")):
                with contextlib.suppress(OSError):  # another file waits there
                    os.rmdir(folder)
            sha256 = hash_file(part)
            if sha256 != offer["sha256"]:
                raise KjouleError(
                    f"{artifact.name} {artifact.version} is not what the controller has",
                    expected=f"sha256 {offer['sha256']}",
                    seen=f"sha256 {sha256} ({os.path.getsize(part)} bytes)",
                    next_step="run again; nothing was kept",
                )
            source = str(offer["source"])
            # The controller's own lock has judged these bytes; its next compiler makes others, and that is no false alarm here either.
            key = f"{artifact.slot}-controller-{artifact.kind}-{sha256[:12]}"
            recorded = {key: self._entry(artifact, sha256, source, "controller", artifact.kind)}
            return self._place(artifact, part, sha256, "controller", source, recorded)

    # -- building -----------------------------------------------------------------------------------------------------------------

    def _check_buildable(self, artifact: Artifact) -> None:
        if not artifact.buildable:
            raise KjouleError(
                f"{artifact.name} cannot be built",
                expected="a build recipe and a package (or manifests) in the table",
                next_step="use the origin download, or add a recipe with artifacts_extra",
            )

    def _recipe_mark(self, artifact: Artifact) -> str | None:
        """A short hash of all that a build's result depends on, the compiler aside; None when the module files are not known."""
        recipe = artifact.recipe
        if recipe is None:
            return None
        modules = self.settings.recipe_hashes.get(recipe.family)
        if not modules:
            folder = self.settings.tools_dirs.get(recipe.family)
            if not folder or not os.path.exists(os.path.join(folder, "go.mod")):
                return None
            modules = gobuild.recipe_hash(folder)
        variants = [f"{name}={os.environ[name]}" for name in _GO_VARIANTS if os.environ.get(name)]
        text = "\n".join(
            [modules, recipe.ldflags, *([recipe.tags] if recipe.tags else []), artifact.package or "", artifact.manifests or "", *variants]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _build(self, artifacts: list[Artifact]) -> dict[str, Result]:
        for artifact in artifacts:
            self._check_buildable(artifact)
        recipe = artifacts[0].recipe
        assert recipe is not None
        tools_dir = self.settings.tools_dirs.get(recipe.family)
        if not tools_dir:
            raise KjouleError(
                f"{recipe.family} cannot be built without its module files",
                expected=f"tools_dir with {recipe.family}/go.mod and go.sum",
                next_step="give tools_dir (the role artifacts copies it)",
            )
        seen_hash = gobuild.recipe_hash(tools_dir)
        wanted_hash = self.settings.recipe_hashes.get(recipe.family)
        if wanted_hash and wanted_hash != seen_hash:
            raise KjouleError(
                f"the module files in {tools_dir} are not those of this clone",
                expected=f"sha256 {wanted_hash}",
                seen=f"sha256 {seen_hash}",
                next_step=f"remove {tools_dir} and run again",
            )
        gobuild.check_pin(recipe, tools_dir)
        self._check_space(self._build_gb(artifacts, recipe), f"building {recipe.family}")
        go = self.get_go(gobuild.go_directive(tools_dir))
        source = f"{recipe.module}@{recipe.version}, go {go.version}"
        binaries = {artifact.file: artifact.package for artifact in artifacts if artifact.package}
        results = {}
        with writing(self.cache_dir):
            parent = os.path.join(self.cache_dir, "artifacts")
            os.makedirs(parent, exist_ok=True)
            _remove_stale(parent, f".build-{recipe.family}-")
            out_dir = tempfile.mkdtemp(prefix=f".build-{recipe.family}-", suffix=".part", dir=parent)
        try:
            if binaries:
                gobuild.compile_packages(go, recipe, tools_dir, self.cache_dir, binaries, out_dir)
            for artifact in artifacts:
                if not artifact.package:
                    folder = gobuild.module_folder(go, recipe, tools_dir, self.cache_dir)
                    content = gobuild.concatenate(os.path.join(folder, artifact.manifests or ""), artifact.name)
                    with writing(self.cache_dir), open(os.path.join(out_dir, artifact.file), "wb") as target:
                        target.write(content)
                results[artifact.name] = self._place_built(artifact, out_dir, go, source)
        finally:
            shutil.rmtree(out_dir, ignore_errors=True)
        return results

    def _build_gb(self, artifacts: list[Artifact], recipe: Recipe) -> float:
        """What Go may fill: little where its caches hold this version from an earlier build."""
        slots = {artifact.slot for artifact in artifacts}
        built_before = any(value["origin"] == "build" and value["name"] in slots for value in self.lock.entries.values())
        warm = built_before and os.path.isdir(os.path.join(self.cache_dir, "go", "build"))
        return min(_WARM_BUILD_GB, recipe.free_gb) if warm else recipe.free_gb

    def _place_built(self, artifact: Artifact, out_dir: str, go: gobuild.Go, source: str) -> Result:
        """Another compiler or other module files make other bytes, so both are part of the key: no false alarm."""
        built = os.path.join(out_dir, artifact.file)
        mark = self._recipe_mark(artifact)
        key = f"{artifact.slot}-build-{artifact.kind}-go{go.version.replace(' ', '_')}-{mark}"
        with writing(self.cache_dir), self._temporary(artifact) as part:
            os.replace(built, part)
            with open(part, "rb+") as handle:
                _flush(handle)
            sha256 = hash_file(part)
            locked = self.lock.entries.get(key)
            if locked and locked["sha256"] != sha256:
                raise self._differs(artifact, "build", key, locked["sha256"], sha256)
            recorded = {key: {**self._entry(artifact, sha256, source, "build", artifact.kind), "recipe": mark}}
            return self._place(artifact, part, sha256, "build", source, recorded, recipe=mark)

    def get_go(self, minimum: str) -> gobuild.Go:
        """A tool chain that is new enough; installs one where there is none."""
        chosen = self.settings
        return gobuild.get_go(self.cache_dir, minimum, chosen.go, chosen.go_pip_version, chosen.go_pip_sha256)

    # -- placing ------------------------------------------------------------------------------------------------------------------

    def _place(
        self, artifact: Artifact, part: str, sha256: str, origin: str, source: str, recorded: dict[str, Any], recipe: str | None = None
    ) -> Result:
        """Checks what the temporary file is, records it and renames it to its place."""
        os.chmod(part, 0o755 if artifact.kind == "binary" else 0o644)
        self._check_content(artifact, part)
        path = self.path_of(artifact)
        key = next(reversed(recorded))
        kept = {name: value for name, value in recorded.items() if name not in self.lock.entries}
        record = {"stat": stat_of(part), "sha256": sha256, "origin": origin, "source": source, "recipe": recipe, "entry": key}
        # First the record, then the file: one without the other is then a missing file, which is simply got again.
        self.lock.update(kept, {path: record})
        with writing(self.cache_dir):
            os.replace(part, path)
            _flush_folder(os.path.dirname(path))
        return Result(path, artifact.version, sha256, origin, source, changed=True)

    def _check_content(self, artifact: Artifact, path: str) -> None:
        """That a binary says it is the pinned version; that a file of manifests holds what it is called after."""
        if artifact.kind in ("crds", "manifests"):
            kind = "CustomResourceDefinition" if artifact.kind == "crds" else "Deployment"
            with _reading(path), open(path, "rb") as handle:
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
            done = subprocess.run(
                [path, *artifact.version_args],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
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

    def _check_space(self, free_gb: float, purpose: str) -> None:
        check_space(self.cache_dir, free_gb, purpose)

    @contextlib.contextmanager
    def _temporary(self, artifact: Artifact) -> Iterator[str]:
        """A file beside the destination, gone afterwards whatever happens; what a killed run left there goes first."""
        folder = os.path.dirname(self.path_of(artifact))
        with writing(self.cache_dir):
            os.makedirs(folder, exist_ok=True)
            handle, part = tempfile.mkstemp(prefix=f".{artifact.file}.", suffix=f".{os.getpid()}.part", dir=folder)
            os.close(handle)
        for name in os.listdir(folder):
            if name.endswith(".part") and not name.endswith(f".{os.getpid()}.part"):
                _remove_stale(folder, name)
        try:
            yield part
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)
            # An empty folder of a get that failed says nothing.
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def says_version(output: str, text: str) -> bool:
    """Whether ``text`` stands in ``output`` as a whole version: v1.2.3 is neither v1.2.30 nor v1.2.3-rc.1."""
    return re.search(r"(?<![0-9A-Za-z.])" + re.escape(text) + r"(?![0-9A-Za-z-]|\.[0-9])", output) is not None


def check_space(folder: str, free_gb: float, purpose: str) -> None:
    """Raises KjouleError when less than ``free_gb`` GB (10^9 bytes) are free where ``folder`` is or would be."""
    existing = folder
    while not os.path.exists(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free / 1e9
    if free < free_gb:
        raise KjouleError(
            f"not enough space for {purpose} in {folder}",
            expected=f"{free_gb:g} GB free",
            seen=f"{free:.1f} GB",
            next_step="free space there, or point artifacts_cache_dir at a larger disk",
        )


def hash_file(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for chunk in iter(lambda: handle.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _reading(about: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KjouleError(f"{about} cannot be read", seen=str(error), next_step="correct its owner and mode") from error


def _flush(handle: Any) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _flush_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_stale(folder: str, prefix: str) -> None:
    """The family's lock is held, so whatever is there belongs to a run that was killed."""
    for name in os.listdir(folder):
        if name.startswith(prefix) and name.endswith(".part"):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)
