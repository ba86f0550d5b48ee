# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of artifacts: what exists, in which version, where it comes from and how it is built."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from typing import Any

from ..errors import KjouleError

ORIGINS = ("auto", "path", "download", "mirror", "build", "controller")
KINDS = ("binary", "crds", "manifests", "archive")

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}
_FAMILY_FIELDS = {"version", "upstream", "licence", "build", "artifacts"}
_BUILD_FIELDS = {"module", "ldflags", "tags", "cgo", "cold_seconds", "free_gb"}
_ARTIFACT_FIELDS = {
    "url",
    "sha256",
    "checksum_url",
    "member",
    "package",
    "manifests",
    "kind",
    "file",
    "version_args",
    "version_text",
    "path",
}
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Platform:
    """Operating system and architecture in Go's words (``linux``, ``amd64``)."""

    os: str
    arch: str


@dataclass(frozen=True)
class Recipe:
    """How a family is built from its module file."""

    family: str
    version: str
    module: str
    ldflags: str
    tags: str = ""
    cgo: bool = False
    cold_seconds: float = 300.0
    free_gb: float = 9.0


@dataclass(frozen=True)
class Artifact:
    """One file, every template filled in for one platform."""

    name: str
    family: str
    version: str
    platform: Platform
    kind: str
    file: str
    url: str | None = None
    sha256: str | None = None
    checksum_url: str | None = None
    member: str | None = None
    package: str | None = None
    manifests: str | None = None
    version_args: tuple[str, ...] | None = None
    version_text: str | None = None
    path: str | None = None
    recipe: Recipe | None = field(default=None, compare=False)

    @property
    def slot(self) -> str:
        """The versioned folder name, and the head of every lock key."""
        return f"{self.name}-{self.version}-{self.platform.os}-{self.platform.arch}"

    @property
    def buildable(self) -> bool:
        return self.recipe is not None and bool(self.package or self.manifests)


def this_platform() -> Platform:
    """The platform of this host. Raises KjouleError for a machine that Go has no name for here."""
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise KjouleError(
            "this host's architecture is not known",
            expected="one of " + ", ".join(sorted(_ARCHITECTURES)),
            seen=machine or "nothing",
            next_step="give the binaries as artifacts_paths, or run the lab on another host",
        )
    return Platform(platform.system().lower(), _ARCHITECTURES[machine])


def resolve(table: dict[str, Any], names: list[str], target: Platform, paths: dict[str, str] | None = None) -> list[Artifact]:
    """The artifacts called ``names``, in that order, each once.

    ``table`` is the table as data (roles/artifacts/vars/main.yml describes the fields); ``paths`` overrides an artifact's own
    file. Raises KjouleError for a name that is not in the table and for a table that cannot be read.
    """
    where = _index(table)
    given = paths or {}
    for name in list(names) + list(given):
        if name not in where:
            raise KjouleError(
                f"artifact {name!r} is not in the table",
                expected="one of " + ", ".join(sorted(where)),
                next_step="correct the name, or add it with artifacts_extra",
            )
    return [_artifact(table[where[name]], where[name], name, target, given.get(name)) for name in dict.fromkeys(names)]


def fill(template: str, values: dict[str, str], about: str) -> str:
    """``template`` with every ``{word}`` replaced. Raises KjouleError for a word that has no value."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise KjouleError(
                f"{about}: {template!r} has a placeholder that means nothing",
                expected="one of " + ", ".join("{" + word + "}" for word in sorted(values)),
                seen=match.group(0),
                next_step="correct the template in the table",
            )
        return values[match.group(1)]

    return re.sub(r"\{([^{}]*)\}", value, template)


def rewrite(url: str, mirrors: dict[str, str]) -> str | None:
    """``url`` with the longest matching prefix of ``mirrors`` replaced, or None when no prefix matches."""
    matching = [prefix for prefix in mirrors if prefix and url.startswith(prefix)]
    if not matching:
        return None
    prefix = max(matching, key=len)
    return mirrors[prefix] + url[len(prefix) :]


def _index(table: dict[str, Any]) -> dict[str, str]:
    """Artifact name to family, with the table's shape checked on the way."""
    where: dict[str, str] = {}
    for family, entry in table.items():
        _check_fields(entry, _FAMILY_FIELDS, f"family {family!r}")
        if not _SAFE_NAME.fullmatch(str(entry.get("version") or "")):
            raise _bad_table(f"family {family!r}, version", "a version such as v1.2.3", repr(entry.get("version")))
        if entry.get("build"):
            _check_fields(entry["build"], _BUILD_FIELDS, f"family {family!r}, build")
            if not entry["build"].get("module"):
                raise _bad_table(f"family {family!r}, build, module", "the Go module that is built", "nothing")
        for name, fields in (entry.get("artifacts") or {}).items():
            about = f"artifact {name!r} of family {family!r}"
            _check_fields(fields or {}, _ARTIFACT_FIELDS, about)
            if not _SAFE_NAME.fullmatch(str(name)):
                raise _bad_table(about, "a name of letters, digits, dot, dash, plus and underscore", repr(name))
            if name in where:
                raise _bad_table(about, "a name that stands once in the table", f"it in {where[name]!r} too")
            where[name] = family
    return where


def _check_fields(entry: Any, known: set[str], about: str) -> None:
    if not isinstance(entry, dict):
        raise _bad_table(about, "a dictionary", type(entry).__name__)
    unknown = sorted(str(key) for key in set(entry) - known)
    if unknown:
        raise _bad_table(about, "the fields " + ", ".join(sorted(known)), ", ".join(unknown))


def _bad_table(about: str, expected: str, seen: str) -> KjouleError:
    return KjouleError(f"table of artifacts, {about}", expected=expected, seen=seen, next_step="correct artifacts_extra")


def _artifact(entry: dict[str, Any], family: str, name: str, target: Platform, path: str | None) -> Artifact:
    fields = entry["artifacts"][name] or {}
    version = str(entry["version"])
    number = version[1:] if re.match(r"v\d", version) else version
    parts = [*number.split("."), "", ""]
    values = {"version": version, "number": number, "os": target.os, "arch": target.arch, "major": parts[0], "minor": parts[1]}
    about = f"artifact {name!r}"

    def text(key: str) -> str | None:
        return fill(str(fields[key]), values, about) if fields.get(key) else None

    kind = fields.get("kind") or "binary"
    if kind not in KINDS:
        raise _bad_table(f"{about}, kind", "one of " + ", ".join(KINDS), repr(kind))
    file = text("file") or name
    if not _SAFE_NAME.fullmatch(file):
        raise _bad_table(f"{about}, file", "a bare file name", repr(file))
    sums = fields.get("sha256") or {}
    if not isinstance(sums, dict):
        raise _bad_table(f"{about}, sha256", "a dictionary such as {amd64: ...}", type(sums).__name__)
    sha256 = str(sums.get(target.arch) or "").lower() or None
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise _bad_table(f"{about}, sha256, {target.arch}", "64 hexadecimal digits", repr(sha256))
    args = fields.get("version_args")
    return Artifact(
        name=name,
        family=family,
        version=version,
        platform=target,
        kind=kind,
        file=file,
        url=text("url"),
        sha256=sha256,
        checksum_url=text("checksum_url"),
        member=text("member"),
        package=text("package"),
        manifests=text("manifests"),
        version_args=tuple(str(arg) for arg in args) if args else None,
        version_text=text("version_text"),
        path=path or text("path"),
        recipe=_recipe(entry, family, version, values),
    )


def _recipe(entry: dict[str, Any], family: str, version: str, values: dict[str, str]) -> Recipe | None:
    build = entry.get("build")
    if not build:
        return None
    ldflags = build.get("ldflags") or []
    lines = [ldflags] if isinstance(ldflags, str) else list(ldflags)
    return Recipe(
        family=family,
        version=version,
        module=str(build["module"]),
        ldflags=" ".join(fill(str(line), values, f"family {family!r}, ldflags") for line in lines),
        tags=str(build.get("tags") or ""),
        cgo=bool(build.get("cgo")),
        cold_seconds=float(build.get("cold_seconds") or 300),
        free_gb=float(build.get("free_gb") or 9),
    )
