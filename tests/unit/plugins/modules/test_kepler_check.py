# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module answers; the checks themselves are tested in module_utils/monitoring."""

from __future__ import annotations

import http.server
import json
import re
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


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
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
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if proxied else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args):
        """Says nothing."""


@pytest.fixture
def pods(run, tmp_path):
    """What the module says of the pods of a cluster in which each of them gains these joules by look."""
    pytest.importorskip("kubernetes")

    def go(gains, **more):
        with Cluster(gains) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            kubeconfig = tmp_path / "kubeconfig"
            named = {"clusters": {"cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}, "users": {"user": {}}}
            named["contexts"] = {"context": {"cluster": "c", "user": "c"}}
            kubeconfig.write_text(json.dumps({"current-context": "c", **{key: [{"name": "c", **one}] for key, one in named.items()}}))
            try:
                return run(check="pods", kubeconfig=str(kubeconfig), seconds=0.01, timeout=0.01, zones=["package", "dram"], **more)
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
