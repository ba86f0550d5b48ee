# SPDX-License-Identifier: GPL-3.0-or-later
"""The table says what exists; a name or field that it does not know is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import build
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.table import Platform, fill, resolve, rewrite, this_platform
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def shipped(root: Path):
    return yaml.safe_load((root / "roles/artifacts/vars/main.yml").read_text())["__artifacts_table"]


def test_templates_know_version_number_and_platform(shipped):
    (etcd,) = resolve(shipped, ["etcd"], Platform("linux", "arm64"))
    assert etcd.url == "https://github.com/etcd-io/etcd/releases/download/v3.6.14/etcd-v3.6.14-linux-arm64.tar.gz"
    assert etcd.member == "etcd-v3.6.14-linux-arm64/etcd"
    assert etcd.version_text == "3.6.14"
    assert etcd.slot == "etcd-v3.6.14-linux-arm64"


def test_kubernetes_is_stamped_with_its_version(shipped):
    (kubectl,) = resolve(shipped, ["kubectl"], AMD64)
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        assert f"-X {package}.gitVersion=v1.36.1 -X {package}.gitMajor=1 -X {package}.gitMinor=36" in kubectl.recipe.ldflags


def test_the_shipped_module_files_pin_the_shipped_versions(shipped, root):
    for family, entry in shipped.items():
        artifacts = resolve(shipped, list(entry["artifacts"]), AMD64)
        if entry.get("build"):
            build.check_pin(artifacts[0].recipe, str(root / "tools" / family))
            assert all(artifact.buildable for artifact in artifacts)
        else:
            assert all(artifact.url for artifact in artifacts), family


def test_every_shipped_family_says_where_it_is_from_and_its_licence(shipped):
    assert all(entry["upstream"].startswith("https://") and entry["licence"] for entry in shipped.values())


def test_an_unknown_name_is_told_with_the_known_ones(table):
    with pytest.raises(KjouleError, match=r"artifact 'tol' is not in the table.*tool, tool-crds, toolctl"):
        resolve(table, ["tol"], AMD64)


def test_a_path_for_an_unknown_name_is_a_mistake_too(table):
    with pytest.raises(KjouleError, match=r"'tol' is not in the table"):
        resolve(table, ["tool"], AMD64, {"tol": "/bin/true"})


def test_a_name_asked_for_twice_comes_once(table):
    assert [artifact.name for artifact in resolve(table, ["tool", "toolctl", "tool"], AMD64)] == ["tool", "toolctl"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"urll": "x"}, "saw urll"),
        ({"sha256": {"amd64": "beef"}}, "64 hexadecimal digits"),
        ({"sha256": "beef"}, "a dictionary such as"),
        ({"kind": "song"}, "one of binary, crds"),
        ({"file": "../up"}, "a bare file name"),
        ({"url": "https://example.invalid/{verison}"}, r"saw \{verison\}"),
    ],
)
def test_a_field_that_is_wrong_is_named(table, change, message):
    table["tool"]["artifacts"]["tool"].update(change)
    with pytest.raises(KjouleError, match=message):
        resolve(table, ["tool"], AMD64)


@pytest.mark.parametrize("version", [None, "../1", "v1 2"])
def test_a_version_is_fit_for_a_folder_name(table, version):
    table["tool"]["version"] = version
    with pytest.raises(KjouleError, match=r"family 'tool', version"):
        resolve(table, ["tool"], AMD64)


def test_a_family_that_is_not_a_dictionary_is_named():
    with pytest.raises(KjouleError, match=r"family 'tool': expected a dictionary"):
        resolve({"tool": "v1"}, [], AMD64)


def test_an_artifact_stands_in_one_family(table):
    table["other"] = {"version": "v1", "artifacts": {"tool": {}}}
    with pytest.raises(KjouleError, match=r"stands once"):
        resolve(table, ["tool"], AMD64)


def test_a_checksum_of_another_architecture_does_not_count(table):
    table["tool"]["artifacts"]["tool"]["sha256"] = {"arm64": "a" * 64}
    (tool,) = resolve(table, ["tool"], AMD64)
    assert tool.sha256 is None


def test_fill_replaces_every_placeholder():
    assert fill("{a}/{b}/{a}", {"a": "1", "b": "2"}, "x") == "1/2/1"


def test_the_longest_prefix_decides_the_mirror():
    mirrors = {"https://a/": "https://m/a/", "https://a/b/": "https://n/", "https://c/": "https://m/c/"}
    assert rewrite("https://a/b/file", mirrors) == "https://n/file"
    assert rewrite("https://a/x", mirrors) == "https://m/a/x"
    assert rewrite("https://d/x", mirrors) is None


def test_an_architecture_without_a_name_in_go_is_an_error(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(KjouleError, match=r"saw vax"):
        this_platform()
