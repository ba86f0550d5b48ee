# SPDX-License-Identifier: GPL-3.0-or-later
"""The real minikube, asked what needs no machine. Its clusters are in tests/unit (a double) and in a virtual machine (molecule/node)."""

from __future__ import annotations

import os
import shutil

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube import Minikube
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_profile import Wanted
from test_monitoring import run_tasks

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """As the role artifacts builds it, into the cache of all binaries: two minutes, once."""
    if os.environ.get("KJOULE_MINIKUBE"):
        return os.environ["KJOULE_MINIKUBE"]
    if not shutil.which("cc"):
        pytest.skip("not run: minikube is built with a C compiler, and there is none (KJOULE_MINIKUBE names a minikube)")
    folder = tmp_path_factory.mktemp("minikube")
    get = {
        "ansible.builtin.include_role": {"name": "kjoule.bench.artifacts", "tasks_from": "get"},
        "vars": {"artifacts_names": ["minikube"]},
    }
    told = {"ansible.builtin.copy": {"content": "{{ artifacts_result.minikube.path }}", "dest": str(folder / "path")}}
    done = run_tasks(folder, [get, told], {"artifacts_origin": "build"})
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "path").read_text(encoding="utf-8")


@pytest.fixture
def minikube(command, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    yield Minikube(command, "/nowhere/kubectl", str(tmp_path / "home"), "nobody", 120.0)
    logs = [path.name for path in (tmp_path / "tmp").rglob("*.log")]
    assert not logs, f"minikube left {logs} among the temporary files"


def test_of_a_profile_that_is_not_there_it_says_so(minikube):
    assert minikube.config() is None
    assert minikube.state() == "absent"
    assert minikube.ensure("absent", Wanted("kvm2", "v1.35.1")).changed is False


def test_a_mistake_in_a_setting_is_told_in_its_own_words_and_leaves_no_profile(minikube):
    with pytest.raises(KjouleError, match=r"minikube start of the profile nobody, exit status \d+"):
        minikube.ensure("started", Wanted("kvm2", "v0.0.1"))
    assert minikube.state() == "absent"


def test_what_a_profile_was_made_with_is_read_from_its_own_file(minikube, tmp_path):
    folder = tmp_path / "home" / ".minikube" / "profiles" / "nobody"
    folder.mkdir(parents=True)
    node = '{"Name":"","IP":"192.168.39.2","Port":8443,"KubernetesVersion":"v1.34.0","ControlPlane":true,"Worker":true}'
    (folder / "config.json").write_text(
        '{"Name":"nobody","Driver":"kvm2","CPUs":2,"Memory":3072,"DiskSize":20000,"Nodes":[' + node + "],"
        '"KubernetesConfig":{"KubernetesVersion":"v1.34.0","ContainerRuntime":"containerd","ClusterName":"nobody"}}'
    )
    config = minikube.config()
    assert config is not None
    assert (config["Driver"], config["KubernetesConfig"]["KubernetesVersion"]) == ("kvm2", "v1.34.0")
    with pytest.raises(KjouleError, match="was made by somebody else"):
        minikube.ensure("started", Wanted("docker", "v1.35.1"))


def test_a_file_that_is_no_configuration_makes_the_profile_damaged(minikube, tmp_path):
    folder = tmp_path / "home" / ".minikube" / "profiles" / "nobody"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{")
    with pytest.raises(KjouleError, match="is damaged"):
        minikube.config()
