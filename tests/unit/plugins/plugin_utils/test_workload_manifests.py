import json

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.plugin_utils.plan import build_plan
from ansible_collections.kjoule.bench.plugins.plugin_utils.workload import read_manifests

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: shop}
spec: {replicas: 2, template: {spec: {containers: [{name: c, image: "x:1"}]}}}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\ndata: {since: 2024-05-01}\n"


@pytest.fixture
def folder(tmp_path):
    for app in ("cart", "pay"):
        (tmp_path / app / "deep").mkdir(parents=True)
        (tmp_path / app / "a.yml").write_text(DEPLOYMENT.replace("NAME", app))
        (tmp_path / app / "deep" / "b.yaml").write_text("---\n" + CONFIG.replace("NAME", app) + "---\n")
    (tmp_path / "README.md").write_text("not a manifest")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_each_folder_is_an_app_and_loose_files_are_the_root(folder):
    (folder / "ns.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
    workload = read_manifests(folder)
    assert workload["kind"] == "manifests"
    assert [(app["name"], [item["kind"] for item in app["objects"]]) for app in workload["apps"]] == [
        ("root", ["Namespace"]),
        ("cart", ["Deployment", "ConfigMap"]),
        ("pay", ["Deployment", "ConfigMap"]),
    ]


def test_a_date_stays_text_as_kubernetes_reads_it(folder):
    assert read_manifests(folder)["apps"][0]["objects"][1]["data"]["since"] == "2024-05-01"


def test_a_list_is_taken_apart(tmp_path):
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    (tmp_path / "l.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [item]}))
    assert read_manifests(tmp_path)["apps"][0]["objects"] == [item]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("kind: X\nmetadata: {name: a}\n", "document 1: expected a Kubernetes object with apiVersion"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "kind"),
        ("apiVersion: v1\nkind: X\nmetadata: {generateName: a-}\n", "metadata.name"),
        ("apiVersion: v1\nkind: X\nmetadata: {name: a}\n---\njust text\n", "document 2"),
        ("a: [1\n", "bad.yml, line 2"),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n", "kustomization"),
        (CONFIG.replace("NAME", "a") + "---\n" + CONFIG.replace("NAME", "a"), "is there twice"),
        ("---\n", "only empty documents"),
    ],
)
def test_file_and_document_are_named(tmp_path, content, words):
    (tmp_path / "bad.yml").write_text(content)
    with pytest.raises(KjouleError) as error:
        read_manifests(tmp_path)
    assert words in str(error.value)


def test_a_folder_without_manifests_is_refused(tmp_path):
    with pytest.raises(KjouleError, match="no manifests"):
        read_manifests(tmp_path)


def plan_of(folder, **options):
    return build_plan({"workload": str(folder), **options}, "h", run_id="r", created_at="", drawn_seed=1)


def test_the_plan_takes_the_number_of_apps_from_the_folder(folder):
    settings = plan_of(folder)["settings"]
    assert settings["apps"] == 2
    assert settings["workload"]["apps"][1]["name"] == "pay"
    with pytest.raises(KjouleError, match="leave kjoule_apps out"):
        plan_of(folder, apps=5)


def test_a_change_needs_something_to_change(tmp_path):
    (tmp_path / "c.yml").write_text(CONFIG.replace("NAME", "a"))
    day = [{"name": "deploy"}, {"name": "drift", "edit": "replicas", "apps": 1, "hold": 9}]
    with pytest.raises(KjouleError, match="something to change"):
        plan_of(tmp_path, scenario=day)
    day[1]["edit"] = "config"
    assert plan_of(tmp_path, scenario=day)["settings"]["apps"] == 1
