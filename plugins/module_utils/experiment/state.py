# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the cluster, compared with what was delivered: hash of the normalised objects, drift, orphans."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from fractions import Fraction
from typing import Any

from ..lab.api import ApiError, KubeApi
from ..lab.existing import LABEL
from .workload import Revision

Key = tuple[str, str, str, str]

# Set by the API server, by controllers or by the way of delivery; none of it is part of what somebody wanted.
_METADATA = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "ownerReferences",
    "finalizers",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_ANNOTATIONS = (
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "deprecated.daemonset.template.generation",
    "kustomize.toolkit.fluxcd.io/",
)
_LABELS = ("kustomize.toolkit.fluxcd.io/", LABEL)
_SPEC = {"Service": ("clusterIP", "clusterIPs")}

# What stands below these is a Kubernetes quantity, which the API server writes in its own way: cpu 0.5 comes back as 500m.
_OF_QUANTITIES = ("limits", "requests", "capacity", "hard", "emptyDir")
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?\d{1,3}))?")
_SUFFIXES = {
    "": Fraction(1),
    **{name: Fraction(10) ** power for name, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18))},
    **{f"{name}i": Fraction(1024) ** power for name, power in zip("KMGTPE", range(1, 7))},
}


def key_of(item: dict[str, Any]) -> Key:
    """apiVersion, kind, namespace, name."""
    meta = item["metadata"]
    return (item["apiVersion"], item["kind"], str(meta.get("namespace") or ""), str(meta["name"]))


def text_of(key: Key) -> str:
    return f"{key[1]} {key[2] + '/' if key[2] else ''}{key[3]}"


def normalise(item: dict[str, Any]) -> dict[str, Any]:
    """The object without what the cluster or the way of delivery adds to it."""
    result = {name: value for name, value in item.items() if name not in ("status", "metadata")}
    meta = {name: value for name, value in item["metadata"].items() if name not in _METADATA}
    for part, prefixes in (("annotations", _ANNOTATIONS), ("labels", _LABELS)):
        kept = {name: value for name, value in (meta.get(part) or {}).items() if not name.startswith(prefixes)}
        meta.pop(part, None)
        if kept:
            meta[part] = kept
    result["metadata"] = meta
    if item["kind"] in _SPEC and isinstance(item.get("spec"), dict):
        result["spec"] = {name: value for name, value in item["spec"].items() if name not in _SPEC[item["kind"]]}
    if item["kind"] == "Secret" and "stringData" in result:  # only ever written: it is read back as data
        written = {name: base64.b64encode(str(value).encode()).decode() for name, value in (result.pop("stringData") or {}).items()}
        result["data"] = {**(result.get("data") or {}), **written}
    return result


def quantity(value: Any) -> Fraction | None:
    """The number that a Kubernetes quantity stands for, or None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, suffix, exponent = match.groups()
    return Fraction(number) * _SUFFIXES[suffix or ""] * Fraction(10) ** int(exponent or 0)


def differs(desired: Any, live: Any, quantities: bool = False) -> bool:
    """Whether a field that was asked for has another value in the cluster. Fields that were not asked for (defaults) do not count.

    List elements are compared by position, which is how the API server keeps them. Empty values (false, 0, "", {}, []) may be absent:
    the API server leaves most of them out. ``quantities``: the values are compared as Kubernetes quantities where they are some.
    """
    if live is None:
        return any(differs(value, None) for value in desired.values()) if isinstance(desired, dict) else bool(desired)
    if isinstance(desired, dict):
        return not isinstance(live, dict) or any(
            differs(value, live.get(name), quantities or (name in _OF_QUANTITIES and isinstance(value, (dict, list))))
            for name, value in desired.items()
        )
    if isinstance(desired, list):
        return not isinstance(live, list) or len(desired) != len(live) or any(differs(a, b, quantities) for a, b in zip(desired, live))
    if quantities and quantity(desired) is not None:
        return quantity(desired) != quantity(live)
    return desired is not None and bool(desired != live)


def read_objects(api: KubeApi, keys: set[Key]) -> dict[Key, dict[str, Any]]:
    """Those of the named objects that are in the cluster, by one list request for each kind and namespace."""
    found: dict[Key, dict[str, Any]] = {}
    for version, kind, namespace in sorted({key[:3] for key in keys}):
        try:
            listing = api.list(api.path_for(version, kind, namespace or None))
        except ApiError as error:
            if error.status == 404:
                continue
            raise
        for item in listing.get("items") or []:
            item["apiVersion"], item["kind"] = version, kind
            if key_of(item) in keys:
                found[key_of(item)] = item
    return found


class StateChecker:
    """Remembers what was ever delivered in a period and compares the cluster with the present revision."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._ever: set[Key] = set()

    def compare(self, revision: Revision) -> dict[str, Any]:
        """``{hash, objects, drifted, orphans, missing, names}``; an object on its way out (deletionTimestamp) counts as gone."""
        desired = {key_of(item): item for item in revision.objects()}
        self._ever |= set(desired)
        live = {key: item for key, item in read_objects(self._api, self._ever).items() if not item["metadata"].get("deletionTimestamp")}
        clean = {key: normalise(item) for key, item in live.items()}
        drifted = sorted(text_of(key) for key, item in desired.items() if key in clean and differs(normalise(item), clean[key]))
        orphans = sorted(text_of(key) for key in live if key not in desired)
        missing = sorted(text_of(key) for key in desired if key not in live)
        canonical = json.dumps([clean[key] for key in sorted(clean)], sort_keys=True, separators=(",", ":"))
        return {
            "hash": hashlib.sha256(canonical.encode()).hexdigest(),
            "objects": len(live),
            "drifted": len(drifted),
            "orphans": len(orphans),
            "missing": len(missing),
            "names": {"drifted": drifted, "orphans": orphans, "missing": missing},
        }
