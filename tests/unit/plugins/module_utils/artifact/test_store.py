# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy over all origins: what comes first, what replaces what, and what happens when two runs want the same."""

from __future__ import annotations

import multiprocessing
import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.settings import Settings
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.store import Store
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.table import resolve
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

from .conftest import PLATFORM, program


@pytest.mark.parametrize("origin", ["download", "auto"])
def test_a_checksum_that_differs_is_an_error_and_no_reason_to_build(get, server, fake_go, cache, leftovers, origin):
    log = fake_go()
    server.release("tool", program("tool"))
    server.files["/v1.2.3/tool"] = program("evil")
    with pytest.raises(KjouleError, match=r"is not the released file: expected sha256 .*, saw sha256 .*no other origin was tried"):
        get("tool", origin=origin)
    assert not log.exists()
    assert leftovers() == []
    assert not list(cache.rglob("tool"))


def test_an_unreachable_host_is_found_out_in_seconds_and_then_it_is_built(store_of, table, fake_go, silent):
    fake_go()
    for entry in table["tool"]["artifacts"].values():
        if "url" in entry:
            entry.update(url=silent.url + "/x", checksum_url=silent.url + "/y")
    used = store_of(connect_timeout=0.5)
    results = used.get(resolve(table, ["tool", "toolctl"], PLATFORM))
    assert silent.asked == 1
    assert {result.origin for result in results.values()} == {"build"}
    assert len(used.warnings) == 1
    assert "built here instead of downloaded" in used.warnings[0]


def test_an_unreachable_host_is_an_error_where_there_is_no_recipe(get, table, closed_url):
    table["tool"]["build"] = None
    table["tool"]["artifacts"]["tool"].update(url=closed_url + "/x", checksum_url=closed_url + "/y")
    with pytest.raises(KjouleError, match=r"cannot reach"):
        get("tool")


def test_what_is_not_released_is_built_without_a_warning(store_of, table, fake_go):
    fake_go()
    used = store_of()
    assert used.get(resolve(table, ["tool-crds"], PLATFORM))["tool-crds"].origin == "build"
    assert used.warnings == []


def test_a_given_path_comes_first(get, server, tmp_path):
    own = tmp_path / "own"
    own.write_bytes(program("tool"))
    own.chmod(0o755)
    assert get("tool", paths={"tool": str(own)})["tool"].path == str(own)
    assert server.asked == []


def test_a_family_is_built_in_one_go(get, fake_go, cache, leftovers):
    log = fake_go()
    results = get("tool", "toolctl", "tool-crds", origin="build")
    assert {result.origin for result in results.values()} == {"build"}
    assert results["tool"].source == "example.invalid/tool@v1.2.3, go 1.26.8"
    assert sum(line.startswith("build") for line in log.read_text().splitlines()) == 1
    assert os.path.basename(results["tool-crds"].path) == "tool.crds.yaml"
    assert (cache / "artifacts/tool-crds-v1.2.3-linux-amd64/tool.crds.yaml").read_text().count("kind: CustomResourceDefinition") == 2
    assert leftovers() == []
    assert not any(result.changed for result in get("tool", "toolctl", "tool-crds", origin="build").values())


def test_an_origin_that_is_asked_for_replaces_another(get, server, fake_go):
    fake_go()
    server.release("tool", program("tool") + b"# released\n")
    assert get("tool", origin="build")["tool"].origin == "build"
    assert get("tool", origin="auto")["tool"].origin == "build"
    assert get("tool", origin="download")["tool"].origin == "download"
    assert get("tool", origin="auto")["tool"].origin == "download"


def test_check_mode_predicts_and_writes_nothing(get, server, table, cache, closed_url):
    server.release("tool", program("tool"))
    table["tool"]["artifacts"]["toolctl"].update(url=closed_url + "/x", checksum_url=closed_url + "/y")
    results = get("tool", "toolctl", "tool-crds", check_mode=True)
    assert [results[name].origin for name in ("tool", "toolctl", "tool-crds")] == ["download", "build", "build"]
    assert all(result.changed and result.sha256 is None for result in results.values())
    assert not cache.exists()


def test_check_mode_tells_an_unreachable_download(get, table, closed_url):
    table["tool"]["artifacts"]["tool"].update(url=closed_url + "/x", checksum_url=closed_url + "/y")
    with pytest.raises(KjouleError, match=r"cannot reach"):
        get("tool", origin="download", check_mode=True)


def test_an_unknown_origin_is_named():
    with pytest.raises(KjouleError, match=r"origin 'torrent' is not known: expected one of auto, path, download, mirror, build"):
        Store(Settings(origin="torrent"))


def _get_in_a_process(make, table, queue):
    try:
        queue.put(
            [result.public() | {"changed": result.changed} for result in make().get(resolve(table, ["tool", "toolctl"], PLATFORM)).values()]
        )
    except BaseException as error:
        queue.put(repr(error))


def test_of_two_runs_at_once_one_builds_and_the_other_finds_it_done(store_of, table, fake_go):
    log = fake_go(seconds=0.3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    runs = [context.Process(target=_get_in_a_process, args=(lambda: store_of(origin="build"), table, queue)) for _ in range(2)]
    for run in runs:
        run.start()
    answers = [queue.get(timeout=30) for _ in runs]
    for run in runs:
        run.join()
    assert sorted(answer[0]["changed"] for answer in answers) == [False, True]
    assert answers[0][0]["sha256"] == answers[1][0]["sha256"]
    assert sum(line.startswith("build") for line in log.read_text().splitlines()) == 1
