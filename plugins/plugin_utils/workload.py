# SPDX-License-Identifier: GPL-3.0-or-later
"""The workload of a plan: generated, or read from a directory of the user's own manifests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..module_utils.errors import KjouleError
from .plain import to_plain

SUFFIXES = (".yml", ".yaml", ".json")
_APP = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")


class _ManifestLoader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date stays text."""


_ManifestLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def generated(apps: int, replicas: int, seed: int, images: Sequence[str] = (), iterations: int = 0) -> dict[str, Any]:
    """A workload that the host renders itself: ``apps`` alike applications, made from ``seed``.

    ``images`` are what its pods run, one after the other as updates come; ``iterations`` the loops of a shell that each does every second.
    """
    more = {"images": list(images), "iterations": iterations} if images else {}
    return {"kind": "generated", "apps": apps, "replicas": replicas, "seed": seed, **more}


def read_manifests(directory: str | Path) -> dict[str, Any]:
    """``{"kind": "manifests", "apps": [{"name", "objects"}]}`` from a directory.

    Each sub-directory with manifests is an app, loose files form the app ``root``. Raises KjouleError naming file and document.
    """
    top = Path(directory).expanduser()
    if not top.is_dir():
        raise KjouleError(
            f"workload {directory}", expected="a directory of manifests, or 'generated'", seen="a file" if top.exists() else "nothing there"
        )
    groups: list[tuple[str, list[Path]]] = []
    loose = [path for path in sorted(top.iterdir()) if path.is_file() and _is_manifest(path)]
    if loose:
        groups.append(("root", loose))
    for folder in sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_manifest(path)]
        if files:
            if not _APP.fullmatch(folder.name) or folder.name == "root":
                raise KjouleError(
                    f"workload {directory}: the name of the folder {folder.name!r}",
                    expected="lower-case letters, digits and hyphens, at most 53, and not 'root'",
                    next_step="rename the folder: it becomes the name of an app",
                )
            groups.append((folder.name, files))
    if not groups:
        raise KjouleError(f"workload {directory}", expected="files ending in " + ", ".join(SUFFIXES), seen="no manifests")
    seen: dict[tuple[str, ...], str] = {}
    apps = []
    for name, files in groups:
        objects = []
        for path in files:
            for where, document in _documents(path, str(path.relative_to(top))):
                key = _identity(document, where)
                if key in seen:
                    raise KjouleError(
                        f"{where}: {key[1]} {key[3]!r} is there twice", seen=f"the first in {seen[key]}", next_step="keep one of the two"
                    )
                seen[key] = where
                objects.append(document)
        if not objects:
            raise KjouleError(f"workload {directory}: app {name!r}", expected="at least one object", seen="only empty documents")
        apps.append({"name": name, "objects": objects})
    return {"kind": "manifests", "apps": apps}


def _is_manifest(path: Path) -> bool:
    return path.suffix in SUFFIXES and not path.name.startswith(".")


def _documents(path: Path, name: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_ManifestLoader))  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise KjouleError(f"{name}{line}", expected="YAML", seen=error.problem or str(error)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KjouleError(name, expected="YAML in UTF-8", seen=str(error)) from error
    result: list[tuple[str, dict[str, Any]]] = []
    for number, document in enumerate(documents, start=1):
        where = f"{name}, document {number}"
        if document is None:
            continue
        document = to_plain(document, where)
        if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
            result += [(f"{where}, item {index}", item) for index, item in enumerate(document["items"], start=1)]
        else:
            result.append((where, document))
    return result


def _identity(document: Any, where: str) -> tuple[str, ...]:
    if not isinstance(document, dict):
        raise KjouleError(where, expected="a Kubernetes object", seen=type(document).__name__)
    if str(document.get("apiVersion", "")).startswith("kustomize.config.k8s.io/"):
        raise KjouleError(
            f"{where} is a kustomization, not an object",
            next_step="render it first: kubectl kustomize FOLDER > FOLDER-rendered/all.yml, and give that folder",
        )
    for key in ("apiVersion", "kind"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise KjouleError(where, expected=f"a Kubernetes object with {key}", seen=f"no {key}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise KjouleError(where, expected="a Kubernetes object with metadata.name", seen="no metadata.name")
    group = document["apiVersion"].rpartition("/")[0]
    return group, document["kind"], str(metadata.get("namespace", "")), metadata["name"]


def apps_that_allow(workload: dict[str, Any], change: str) -> int:
    """How many apps of a manifests workload have something that ``change`` (image, config, replicas) can touch."""

    def allows(item: dict[str, Any]) -> bool:
        spec = item.get("spec")
        if change == "config":
            return item["kind"] == "ConfigMap"
        if item["kind"] not in ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"):
            return False
        return item["kind"] != "DaemonSet" if change == "replicas" else isinstance(spec, dict) and bool(spec.get("template"))

    return sum(any(allows(item) for item in app["objects"]) for app in workload["apps"])
