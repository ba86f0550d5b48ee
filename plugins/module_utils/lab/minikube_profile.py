# SPDX-License-Identifier: GPL-3.0-or-later
"""What a profile of minikube is to be: the command line that makes it, and where one that is there is another.

``minikube start`` on a profile of another configuration only warns, so the profile is compared first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DRIVERS = ("kvm2", "docker", "none")
RUNTIMES = ("containerd", "docker", "cri-o")


@dataclass(frozen=True)
class Wanted:
    """What the profile is to be. None means that minikube decides, and is not compared. ``extra_config``: ``component.key=value``."""

    driver: str
    kubernetes_version: str
    container_runtime: str = "containerd"
    cpus: int | None = None
    memory_mb: int | None = None
    disk_mb: int | None = None
    nodes: int = 1
    image_repository: str = ""
    extra_config: tuple[str, ...] = ()


def start_arguments(wanted: Wanted, *, offline: bool = False, force: bool = False, cached: bool = False) -> list[str]:
    """The command line of ``minikube start``, without the profile. Nothing is installed that a measurement would have to explain away."""
    arguments = [
        "start",
        f"--driver={wanted.driver}",
        f"--container-runtime={wanted.container_runtime}",
        f"--kubernetes-version={wanted.kubernetes_version}",
        f"--nodes={wanted.nodes}",
        "--interactive=false",
        "--keep-context",
        "--install-addons=false",
        "--addons=",
        "--wait=apiserver,system_pods",
        "-o",
        "json",
    ]
    for name, value in (("cpus", wanted.cpus), ("memory", wanted.memory_mb), ("disk-size", wanted.disk_mb)):
        if value is not None:
            arguments.append(f"--{name}={value}{'' if name == 'cpus' else 'mb'}")
    if wanted.image_repository:
        arguments.append(f"--image-repository={wanted.image_repository}")
    arguments += [f"--extra-config={entry}" for entry in wanted.extra_config]
    if offline:
        arguments += ["--preload=false", f"--cache-images={'true' if cached and wanted.driver != 'none' else 'false'}"]
    if force:
        arguments.append("--force")
    return arguments


def drift(config: dict[str, Any], wanted: Wanted) -> list[dict[str, Any]]:
    """``[{setting, wanted, seen}]``: where the profile's configuration (config.json) is another than the wanted one."""
    kubernetes = config.get("KubernetesConfig") or {}
    options = sorted(f"{one.get('Component')}.{one.get('Key')}={one.get('Value')}" for one in kubernetes.get("ExtraOptions") or [])
    # minikube adds options of its own; only wanted ones are asked for.
    wanted_options = [entry for entry in wanted.extra_config if entry not in options]
    pairs: list[tuple[str, Any, Any]] = [
        ("driver", wanted.driver, config.get("Driver")),
        ("kubernetes_version", wanted.kubernetes_version, kubernetes.get("KubernetesVersion")),
        ("container_runtime", wanted.container_runtime, kubernetes.get("ContainerRuntime")),
        ("nodes", wanted.nodes, len(config.get("Nodes") or [])),
        ("image_repository", wanted.image_repository, kubernetes.get("ImageRepository") or ""),
        ("cpus", wanted.cpus, config.get("CPUs")),
        ("memory_mb", wanted.memory_mb, config.get("Memory")),
        ("disk_mb", wanted.disk_mb, config.get("DiskSize")),
    ]
    found = [{"setting": name, "wanted": want, "seen": seen} for name, want, seen in pairs if want is not None and want != seen]
    if wanted_options:
        found.append({"setting": "extra_config", "wanted": ", ".join(wanted_options), "seen": ", ".join(options) or "none"})
    return found
