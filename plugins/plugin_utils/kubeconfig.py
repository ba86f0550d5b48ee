# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cluster a kubeconfig leads to, chosen by name: never one that merely happened to be the current one of several."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError


class Chosen(NamedTuple):
    """Names of the context and of its cluster, and the address of its API server."""

    context: str
    cluster: str
    server: str


def choose(text: str, path: str, *, context: str = "", confirm: str = "", variables: str = "") -> Chosen:
    """The context of the kubeconfig ``text`` that is meant.

    ``context`` is its name; without one it is the current one, or the only one. ``confirm`` is the name of the context or of its cluster,
    once more. Where there are several contexts, one of the two has to be given. ``variables`` is what the names of the settings begin with,
    for messages, and ``path`` is where the text is from.

    Raises KjouleError for a text that is no kubeconfig, a context that is not in it, and a cluster that nobody named. What the file has of
    secrets is in no message.
    """
    given = _parsed(text, path)
    contexts = _named(given.get("contexts"), "context")
    clusters = _named(given.get("clusters"), "cluster")
    if not contexts:
        raise KjouleError(
            f"the kubeconfig {path} has no context in it",
            expected=f"the context {context}" if context else "one",
            next_step=f"if the cluster is gone, nothing; else set {variables}kubeconfig to the file that has it",
        )
    names = ", ".join(sorted(contexts))
    chosen = context or str(given.get("current-context") or "") or (next(iter(contexts)) if len(contexts) == 1 else "")
    if chosen not in contexts:
        raise KjouleError(
            f"the kubeconfig {path} has no context {chosen}" if chosen else f"the kubeconfig {path} calls no context current",
            expected=f"one of: {names}",
            next_step=f"set {variables}context to one of them",
        )
    cluster = str(contexts[chosen].get("cluster") or "")
    found = Chosen(chosen, cluster, str(clusters.get(cluster, {}).get("server") or ""))
    seen = f"context {found.context}, cluster {found.cluster or 'unknown'} at {found.server or 'no address'}"
    if confirm and confirm not in (found.context, found.cluster):
        raise KjouleError(
            f"the kubeconfig {path} leads to another cluster than the one that is meant",
            expected=f"{confirm} ({variables}confirm)",
            seen=seen,
            next_step=f"choose the context with {variables}context; confirm this one only if you mean it",
        )
    if not context and not confirm and len(contexts) > 1:
        raise KjouleError(
            f"the kubeconfig {path} has several contexts, and none of them is named",
            expected=f"one of: {names}",
            seen=f"{seen}, which is only the current one",
            next_step=f"set {variables}context to the one that you mean",
        )
    return found


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        given = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none is the latter
        mark = getattr(error, "problem_mark", None)
        seen = f"no YAML{f' in line {mark.line + 1}' if mark else ''}"
    else:
        if isinstance(given, dict):
            return given
        seen = "nothing" if given is None else "no mapping"
    raise KjouleError(
        f"{path} is no kubeconfig",
        expected="YAML with contexts, clusters and users",
        seen=seen,
        next_step="point at the file that kubectl uses",
    )


def _named(entries: Any, kind: str) -> dict[str, dict[str, Any]]:
    """name -> what is named so, as kubeconfigs have it: a list of {name, kind: {...}}."""
    return {
        str(entry["name"]): entry[kind] if isinstance(entry.get(kind), dict) else {}
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and entry.get("name")
    }
