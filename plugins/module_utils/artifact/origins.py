# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to an artifact: a file of the user's own, a release or a mirror of it, the controller, a build.

A checksum that differs is never a reason to try another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from typing import Any

from ..errors import KjouleError
from . import build as gobuild
from .cache import Cache, Result, check_content
from .fetch import Fetcher, Unavailable, describe_content, extract
from .files import flush, hash_file, reading, remove_stale
from .lock import stat_of, writing
from .settings import Settings
from .table import Artifact, Recipe, rewrite

_FETCHED = ("download", "mirror")
_DOWNLOAD_FREE_GB = 0.5
_WARM_BUILD_GB = 1.0
# Environment that changes what the Go compiler makes of the same source.
_GO_VARIANTS = ("GOAMD64", "GOARM64", "GOEXPERIMENT", "GOFIPS140")


class Origin(ABC):
    """One way to get artifacts into the cache."""

    #: The origins that a record of the cache may name for what came this way.
    names: tuple[str, ...] = ()

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.settings: Settings = cache.settings

    def accepts(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        """Whether the cached file with this record is what this origin would bring."""
        return record["origin"] in self.names and self.still_right(artifact, record)

    def still_right(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        """Whether a file that came this way is still the wanted one. Raises KjouleError when that has to be decided by a person."""
        return True

    @abstractmethod
    def predict(self, artifact: Artifact) -> Result:
        """What ``get`` would do, with no checksum yet; writes nothing. Raises KjouleError when it cannot."""

    @abstractmethod
    def get(self, artifacts: list[Artifact]) -> dict[str, Result]:
        """The artifacts of one family, whose lock the caller holds, by name; all of them are in the cache afterwards."""

    def _would(self, artifact: Artifact, origin: str, source: str) -> Result:
        return Result(self.cache.path_of(artifact), artifact.version, None, origin, source, changed=True)


class Own:
    """A file of the user's own, used where it lies: it never gets into the cache, only its record does."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.settings = cache.settings

    def use(self, artifact: Artifact) -> Result:
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
        with reading(path):
            found = stat_of(path)
        file_key = f"path:{artifact.slot}:{path}"
        record = self.cache.lock.files.get(file_key)
        if record and record["stat"] == found and not self.settings.verify_full:
            return Result(path, artifact.version, str(record["sha256"]), "path", path)
        with reading(path):
            sha256 = hash_file(path)
        check_content(artifact, path)
        key = f"{artifact.slot}-path-{artifact.kind}"
        locked = self.cache.lock.entries.get(key)
        # The lock is about a file's bytes, so a file at another path is another file.
        if locked and locked["source"] == path and locked["sha256"] != sha256:
            raise self.cache.differs(artifact, "path", key, locked["sha256"], sha256)
        fresh = self.cache.entry(artifact, sha256, path, "path", artifact.kind)
        self.cache.remember({key: fresh}, {file_key: {"stat": found, "sha256": sha256, "origin": "path", "source": path, "entry": key}})
        return Result(path, artifact.version, sha256, "path", path)


class Release(Origin):
    """A released file, downloaded from where it was released or from a mirror; checked in any case."""

    names = _FETCHED

    def __init__(self, cache: Cache) -> None:
        super().__init__(cache)
        self.fetcher = Fetcher(self.settings.connect_timeout, self.settings.unreachable)

    def still_right(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        if artifact.sha256 and not artifact.member and record["sha256"] != artifact.sha256:
            raise KjouleError(
                f"{artifact.name} {artifact.version}: the table's checksum is not that of the cached download",
                expected=artifact.sha256,
                seen=f"{record['sha256']} recorded at first use",
                next_step=f"find out which one is right; to get it anew: rm -r {os.path.dirname(self.cache.path_of(artifact))}"
                f" and the entries {artifact.slot}-* from {self.cache.lock.path}",
            )
        return True

    def predict(self, artifact: Artifact) -> Result:
        """Asks the network whether a download is to be had. Raises Unavailable when it is not."""
        origin, url = self._url(artifact)
        if not artifact.sha256:
            self._checksum(artifact, origin, url)
        else:
            self.fetcher.open(url, "HEAD").close()
        return self._would(artifact, origin, url)

    def get(self, artifacts: list[Artifact]) -> dict[str, Result]:
        """Raises Unavailable when there is no file or no way to it."""
        return {artifact.name: self._fetch(artifact) for artifact in artifacts}

    def _fetch(self, artifact: Artifact) -> Result:
        origin, url = self._url(artifact)
        expected = self._checksum(artifact, origin, url)
        released_kind = "archive" if artifact.member else artifact.kind
        # Before the bytes come: a release that names another checksum than it did at first use was changed.
        self._compare_fetched(artifact, released_kind, expected)
        self.cache.check_space(_DOWNLOAD_FREE_GB, f"downloading {artifact.name}")
        with self.cache.temporary(artifact) as part, writing(self.cache.folder):
            with open(part, "wb") as target:
                sha256 = self.fetcher.download(url, target)
                flush(target)
            if sha256 != expected:
                with open(part, "rb") as handle:
                    seen = describe_content(handle.read(200), os.path.getsize(part))
                raise KjouleError(
                    f"{artifact.name} {artifact.version} from {url} is not the released file",
                    expected=f"sha256 {expected}" + ("" if artifact.sha256 else f" (from {artifact.checksum_url})"),
                    seen=f"sha256 {sha256}, {seen}",
                    next_step="find out what answered (proxy, mirror, changed release); nothing was kept and no other origin was tried",
                )
            recorded = {f"{artifact.slot}-{origin}-{released_kind}": self.cache.entry(artifact, sha256, url, origin, released_kind)}
            if not artifact.member:
                return self.cache.place(artifact, part, sha256, origin, url, recorded)
            with self.cache.temporary(artifact) as member_part:
                with open(member_part, "wb") as target:
                    extract(part, artifact.member, target)
                    flush(target)
                sha256 = hash_file(member_part)
                self._compare_fetched(artifact, artifact.kind, sha256)
                recorded[f"{artifact.slot}-{origin}-{artifact.kind}"] = self.cache.entry(artifact, sha256, url, origin, artifact.kind)
                return self.cache.place(artifact, member_part, sha256, origin, f"{url}#{artifact.member}", recorded)

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

    def _compare_fetched(self, artifact: Artifact, kind: str, sha256: str) -> None:
        """A mirror's file is the release's file: either one's record binds both."""
        for origin in _FETCHED:
            key = f"{artifact.slot}-{origin}-{kind}"
            if key in self.cache.lock.entries and self.cache.lock.entries[key]["sha256"] != sha256:
                raise self.cache.differs(artifact, origin, key, self.cache.lock.entries[key]["sha256"], sha256)


class Controller(Origin):
    """What the controller has, copied to the host and checked there."""

    names = ("controller",)

    def accepts(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        """The controller has judged the bytes; how they came here does not matter."""
        return bool(record["sha256"] == self._offer(artifact)["sha256"])

    def predict(self, artifact: Artifact) -> Result:
        return self._would(artifact, "controller", str(self._offer(artifact)["source"]))

    def get(self, artifacts: list[Artifact]) -> dict[str, Result]:
        return {artifact.name: self._take(artifact) for artifact in artifacts}

    def _take(self, artifact: Artifact) -> Result:
        offer, incoming = self._offer(artifact), self._incoming(artifact)
        with self.cache.temporary(artifact) as part, writing(self.cache.folder):
            if not os.path.isfile(incoming):
                raise KjouleError(
                    f"{artifact.name}: {incoming} is not there", next_step="copy it from the controller (the role artifacts does)"
                )
            os.replace(incoming, part)
            for folder in (os.path.dirname(incoming), os.path.join(self.cache.folder, "incoming")):
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
            recorded = {key: self.cache.entry(artifact, sha256, source, "controller", artifact.kind)}
            return self.cache.place(artifact, part, sha256, "controller", source, recorded)

    def _incoming(self, artifact: Artifact) -> str:
        """Where a file from the controller waits to be checked: in the cache, so that a rename is all it then takes."""
        return os.path.join(self.cache.folder, "incoming", artifact.name, artifact.file)

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


class Build(Origin):
    """Built here from a Go module, with the module files and the compiler that the lock knows."""

    names = ("build",)

    def still_right(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        wanted = self._recipe_mark(artifact)
        return wanted is None or wanted == record.get("recipe")

    def predict(self, artifact: Artifact) -> Result:
        self._check_buildable(artifact)
        return self._would(artifact, "build", artifact.recipe.module if artifact.recipe else "")

    def get(self, artifacts: list[Artifact]) -> dict[str, Result]:
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
        self.cache.check_space(self._build_gb(artifacts, recipe), f"building {recipe.family}")
        go = get_go(self.settings, gobuild.go_directive(tools_dir))
        source = f"{recipe.module}@{recipe.version}, go {go.version}"
        binaries = {artifact.file: artifact.package for artifact in artifacts if artifact.package}
        results = {}
        with writing(self.cache.folder):
            parent = os.path.join(self.cache.folder, "artifacts")
            os.makedirs(parent, exist_ok=True)
            remove_stale(parent, f".build-{recipe.family}-")
            out_dir = tempfile.mkdtemp(prefix=f".build-{recipe.family}-", suffix=".part", dir=parent)
        try:
            if binaries:
                gobuild.compile_packages(go, recipe, tools_dir, self.cache.folder, binaries, out_dir)
            for artifact in artifacts:
                if not artifact.package:
                    folder = gobuild.module_folder(go, recipe, tools_dir, self.cache.folder)
                    content = gobuild.concatenate(os.path.join(folder, artifact.manifests or ""), artifact.name)
                    with writing(self.cache.folder), open(os.path.join(out_dir, artifact.file), "wb") as target:
                        target.write(content)
                results[artifact.name] = self._place_built(artifact, out_dir, go, source)
        finally:
            shutil.rmtree(out_dir, ignore_errors=True)
        return results

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

    def _build_gb(self, artifacts: list[Artifact], recipe: Recipe) -> float:
        """What Go may fill: little where its caches hold this version from an earlier build."""
        slots = {artifact.slot for artifact in artifacts}
        built_before = any(value["origin"] == "build" and value["name"] in slots for value in self.cache.lock.entries.values())
        warm = built_before and os.path.isdir(os.path.join(self.cache.folder, "go", "build"))
        return min(_WARM_BUILD_GB, recipe.free_gb) if warm else recipe.free_gb

    def _place_built(self, artifact: Artifact, out_dir: str, go: gobuild.Go, source: str) -> Result:
        """Another compiler or other module files make other bytes, so both are part of the key: no false alarm."""
        built = os.path.join(out_dir, artifact.file)
        mark = self._recipe_mark(artifact)
        key = f"{artifact.slot}-build-{artifact.kind}-go{go.version.replace(' ', '_')}-{mark}"
        with writing(self.cache.folder), self.cache.temporary(artifact) as part:
            os.replace(built, part)
            with open(part, "rb+") as handle:
                flush(handle)
            sha256 = hash_file(part)
            locked = self.cache.lock.entries.get(key)
            if locked and locked["sha256"] != sha256:
                raise self.cache.differs(artifact, "build", key, locked["sha256"], sha256)
            recorded = {key: {**self.cache.entry(artifact, sha256, source, "build", artifact.kind), "recipe": mark}}
            return self.cache.place(artifact, part, sha256, "build", source, recorded, recipe=mark)


def get_go(settings: Settings, minimum: str) -> gobuild.Go:
    """A tool chain that is new enough; installs one where there is none."""
    return gobuild.get_go(settings.folder, minimum, settings.go, settings.go_pip_version, settings.go_pip_sha256)
