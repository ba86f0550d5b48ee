# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of artifacts: one versioned, verified, read-only copy of each, shared by every clone on the host."""

from __future__ import annotations

from typing import Any

from ..errors import KjouleError
from .cache import Cache, Result
from .fetch import Unavailable
from .lock import exclusive
from .origins import Build, Controller, Origin, Own, Release
from .settings import Settings
from .table import ORIGINS, Artifact


class Store:
    """Gets artifacts into the cache and vouches for those that are there.

    The origin ``auto`` takes a file of the user's own where one is given, else a release, and builds what is not released or cannot be
    reached.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.origin not in ORIGINS:
            raise KjouleError(
                f"origin {settings.origin!r} is not known", expected="one of " + ", ".join(ORIGINS), next_step="correct artifacts_origin"
            )
        self.settings = settings
        self.cache = Cache(settings)
        self.warnings: list[str] = []
        self._own = Own(self.cache)
        self._release, self._build = Release(self.cache), Build(self.cache)
        ways: tuple[Origin, ...] = (self._release, self._build, Controller(self.cache))
        self._ways = {name: way for way in ways for name in way.names}
        #: The one way there is to be; None for ``auto``, which decides by artifact.
        self._only = self._ways.get(settings.origin)

    @property
    def unreachable(self) -> dict[str, str]:
        """Hosts that did not answer, and how; whoever asks again need not wait for them again."""
        return self._release.fetcher.unreachable

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
            with exclusive(self.cache.folder, family):
                self.cache.lock.load()
                missing = self._collect(missing, results)
                results.update(self._obtain(missing))
        return {artifact.name: results[artifact.name] for artifact in artifacts}

    def _collect(self, artifacts: list[Artifact], results: dict[str, Result]) -> list[Artifact]:
        """Puts what is there into ``results``; returns the rest."""
        missing = []
        for artifact in artifacts:
            found = self._own.use(artifact) if self._wants_own(artifact) else self._cached(artifact)
            if found:
                results[artifact.name] = found
            else:
                missing.append(artifact)
        return missing

    def _wants_own(self, artifact: Artifact) -> bool:
        return self.settings.origin == "path" or (self._only is None and bool(artifact.path))

    def _cached(self, artifact: Artifact) -> Result | None:
        """The cached file; None when it is absent or came another way than is wanted."""
        record = self.cache.find(artifact)
        if record is None or not self._acceptable(artifact, record):
            return None
        return Result(self.cache.path_of(artifact), artifact.version, str(record["sha256"]), str(record["origin"]), str(record["source"]))

    def _acceptable(self, artifact: Artifact, record: dict[str, Any]) -> bool:
        if self._only:
            return self._only.accepts(artifact, record)
        came = self._ways.get(record["origin"])
        return came is None or came.still_right(artifact, record)

    def _obtain(self, artifacts: list[Artifact]) -> dict[str, Result]:
        """Fetches or builds, according to the origin; the caller holds the family's lock."""
        if not artifacts:
            return {}
        if self._only:
            return self._only.get(artifacts)
        results: dict[str, Result] = {}
        to_build: list[Artifact] = []
        reason: Unavailable | None = None
        for artifact in artifacts:
            if not _released(artifact):
                to_build.append(artifact)
                continue
            try:
                results.update(self._release.get([artifact]))
            except Unavailable as error:
                if not artifact.buildable:
                    raise
                reason = reason or error
                to_build.append(artifact)
        if reason:
            names = ", ".join(artifact.name for artifact in to_build)
            self.warnings.append(f"{names} {to_build[0].version}: built here instead of downloaded. {reason.what}, saw {reason.seen}")
        if to_build:
            results.update(self._build.get(to_build))
        return results

    def _predict(self, artifact: Artifact) -> Result:
        """What a run would do; asks the network whether a download is to be had, writes nothing."""
        if self._only:
            return self._only.predict(artifact)
        if not _released(artifact):
            return self._build.predict(artifact)
        try:
            return self._release.predict(artifact)
        except Unavailable:
            if not artifact.buildable:
                raise
            return self._build.predict(artifact)


def _released(artifact: Artifact) -> bool:
    """False where a build is the plan and not a second choice."""
    return not artifact.buildable or bool(artifact.url and (artifact.sha256 or artifact.checksum_url))
