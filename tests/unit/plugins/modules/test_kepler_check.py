# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module answers; the checks themselves are tested in module_utils/monitoring."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.parse

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kjoule.bench.plugins.modules import kepler_check


@pytest.fixture
def run(capsys):
    def go(**arguments):
        with patch_module_args(arguments), pytest.raises(SystemExit):
            kepler_check.main()
        return json.loads(capsys.readouterr().out)

    return go


def test_a_host_without_counters_is_an_answer_and_no_failure(run, tmp_path):
    answer = run(check="preflight", sysfs=str(tmp_path))
    assert (answer["usable"], answer["changed"], "failed" in answer) == (False, False, False)
    assert "RAPL cannot be read" in answer["reason"]


def test_a_setting_that_would_be_ignored_fails(run):
    answer = run(check="config", version="v0.11.4", config={"rapl": {"zone": ["package"]}})
    assert answer["failed"]
    assert "rapl.zone" in answer["msg"]
    assert run(check="config", version="v0.11.4", config={"rapl": {"zones": ["package"]}})["changed"] is False


def test_settings_need_a_version(run):
    assert "version" in run(check="config")["msg"]


def test_a_kepler_that_is_not_there_fails(run):
    answer = run(check="health", url="http://127.0.0.1:1", timeout=0.0)
    assert answer["failed"]
    assert "127.0.0.1:1" in answer["msg"]


class Cluster(http.server.ThreadingHTTPServer):
    """A double of an API server that has Keplers: pod -> joules that each zone gains by a look. The ones without a zone refuse."""

    def __init__(self, gains):
        super().__init__(("127.0.0.1", 0), Answers)
        self.gains, self.looks = gains, dict.fromkeys(gains, 0)
        self.renewed = False


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/.well-known/openid-configuration":
            self.answer(200, json.dumps({"token_endpoint": f"http://127.0.0.1:{self.server.server_port}/token"}))
            return
        gains = self.server.gains
        path = urllib.parse.unquote(self.path)
        proxied = re.fullmatch(r"/api/v1/namespaces/kjoule-kepler/pods/([\w-]+):28282/proxy/metrics", path)
        status, text = 200, ""
        if proxied:
            pod = proxied[1]
            self.server.looks[pod] += 1
            status = 200 if gains[pod] else 503
            for zone, gain in gains[pod].items():
                for kind, joules in (("active", gain * self.server.looks[pod]), ("idle", 4000.0)):
                    text += f'kepler_node_cpu_{kind}_joules_total{{zone="{zone}",path="/p",node_name="n"}} {joules}\n'
        else:
            assert path == "/api/v1/namespaces/kjoule-kepler/pods?labelSelector=app.kubernetes.io/name=kepler", path
            items = [{"metadata": {"name": pod}, "spec": {"nodeName": f"node-of-{pod}", "containers": []}} for pod in gains]
            going = {"name": "old", "deletionTimestamp": "2026-01-01T00:00:00Z"}
            items.append({"metadata": going, "spec": {"nodeName": "x", "containers": []}})
            text = json.dumps({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
        self.answer(status, text, "text/plain" if proxied else "application/json")

    def do_POST(self):
        assert self.path == "/token"
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.renewed = True
        self.answer(200, json.dumps({"access_token": "a", "token_type": "bearer", "id_token": "new", "refresh_token": "new"}))

    def answer(self, status, text, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args):
        """Says nothing."""


@pytest.fixture
def pods(run, tmp_path):
    """What the module says of the pods of a cluster in which each of them gains these joules by look."""
    pytest.importorskip("kubernetes")

    def go(gains, user=None, **more):
        with Cluster(gains) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            kubeconfig = tmp_path / "kubeconfig"
            address = f"http://127.0.0.1:{server.server_port}"
            named = {"clusters": {"cluster": {"server": address}}, "users": {"user": user(address) if user else {}}}
            named["contexts"] = {"context": {"cluster": "c", "user": "c"}}
            written = json.dumps({"current-context": "c", **{key: [{"name": "c", **one}] for key, one in named.items()}})
            kubeconfig.write_text(written)
            try:
                answer = run(check="pods", kubeconfig=str(kubeconfig), seconds=0.01, timeout=0.01, zones=["package", "dram"], **more)
                assert kubeconfig.read_text() == written
                assert server.renewed == bool(user)
                return answer
            finally:
                server.shutdown()
                thread.join()

    return go


def test_every_pod_of_a_cluster_is_read_twice_through_its_api_server(pods):
    answer = pods({"a": {"package": 3.0, "dram": 1.0}, "b": {"package": 2.0, "dram": 0.5}})
    assert answer["nodes"] == {"node-of-a": {"package": 3.0, "dram": 1.0}, "node-of-b": {"package": 2.0, "dram": 0.5}}
    assert answer["changed"] is False


@pytest.mark.parametrize(
    ("gains", "says"),
    [
        ({"package": 2.0}, r"Kepler on the node node-of-b \(b\) answers, but shows no zone dram: .*kubectl logs -n kjoule-kepler b"),
        ({"package": 2.0, "dram": 0.0}, r"Kepler on the node node-of-b \(b\) answers, but its zone dram does not grow: .*kubectl logs"),
        (
            {},
            r"Kepler on the node node-of-b \(b\) does not answer through the API server: .*503.*Next: kubectl logs -n kjoule-kepler b",
        ),
    ],
    ids=["missing", "still", "silent"],
)
def test_a_node_whose_zone_is_missing_or_stands_still_is_named(pods, gains, says):
    answer = pods({"a": {"package": 3.0, "dram": 1.0}, "b": gains})
    assert answer["failed"]
    assert re.search(says, answer["msg"]), answer["msg"]


def test_a_cluster_without_a_pod_of_kepler_is_told(pods):
    assert "there is no pod of Kepler: expected one on every node" in pods({})["msg"]


def test_a_token_that_has_run_out_is_not_renewed_in_the_kubeconfig(pods, monkeypatch):
    """What the client would write back is somebody's file, which the fixture compares."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # the double speaks HTTP
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1}).encode()).decode().rstrip("=")

    def user(address):
        config = {"idp-issuer-url": address, "client-id": "i", "client-secret": "s", "refresh-token": "r", "id-token": f"x.{claims}.x"}
        return {"auth-provider": {"name": "oidc", "config": config}}

    assert pods({"a": {"package": 3.0, "dram": 1.0}}, user)["nodes"] == {"node-of-a": {"package": 3.0, "dram": 1.0}}


def test_pods_that_cannot_be_listed_are_told_in_one_short_line(run, tmp_path):
    pytest.importorskip("kubernetes")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("clusters:\n" + "  - [unclosed\n" * 200)
    said = run(check="pods", kubeconfig=str(kubeconfig))["msg"]
    assert re.fullmatch(
        r"the pods of Kepler in the namespace kjoule-kepler cannot be listed: expected .*, saw .+\. Next: .*" + re.escape(str(kubeconfig)),
        said,
    )
    assert len(said) < 900
    answer = run(check="pods", kubeconfig=str(kubeconfig), context="c" * 2000)
    assert len(answer["msg"]) < 900


@pytest.mark.parametrize("fault", ["raise ImportError('No module named kubernetes')", "raise AttributeError('half of it\\nis there')"])
def test_only_the_check_of_pods_loads_the_package_and_says_what_is_wrong_with_it(tmp_path, fault):
    (tmp_path / "kubernetes.py").write_text(fault)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}

    def answer(**given):
        arguments = {"ANSIBLE_MODULE_ARGS": {**given, "_ansible_remote_tmp": str(tmp_path)}}
        command = [sys.executable, kepler_check.__file__]
        done = subprocess.run(command, input=json.dumps(arguments), env=environment, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    said = answer(check="pods", kubeconfig=str(tmp_path / "kubeconfig"))["msg"]
    assert re.match(r"the Python package kubernetes cannot be loaded, .*: expected .*, saw \w+Error: (No|half of it is).*Next: ", said), (
        said
    )
    assert "RAPL cannot be read" in answer(check="preflight", sysfs=str(tmp_path))["reason"]
