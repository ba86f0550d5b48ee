# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the cache is whole, is what was recorded, and says its version. Whatever goes wrong is told and leaves nothing behind."""

from __future__ import annotations

import collections
import errno
import json
import multiprocessing
import os
import time

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.artifact import fetch, store
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.store import Settings, Store, says_version
from ansible_collections.kjoule.bench.plugins.module_utils.artifact.table import resolve
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

from .conftest import PLATFORM, program, sha256, tar_of


def lock_of(cache):
    return json.loads((cache / "artifacts.lock.json").read_text())


# download


def test_a_download_is_verified_placed_and_recorded(get, server, cache, leftovers):
    server.release("tool", program("tool"))
    result = get("tool", origin="download")["tool"]
    assert result.path == str(cache / "artifacts" / "tool-v1.2.3-linux-amd64" / "tool")
    assert (result.version, result.sha256, result.origin, result.changed) == ("v1.2.3", sha256(program("tool")), "download", True)
    assert os.access(result.path, os.X_OK)
    assert lock_of(cache)["entries"]["tool-v1.2.3-linux-amd64-download-binary"]["sha256"] == result.sha256
    assert leftovers() == []


def test_the_second_run_asks_nobody_and_hashes_nothing(get, server, monkeypatch):
    server.release("tool", program("tool"))
    first = get("tool", origin="download")["tool"]
    asked = list(server.asked)
    monkeypatch.setattr(store, "hash_file", lambda path: pytest.fail("hashed again"))
    second = get("tool", origin="download")["tool"]
    assert not second.changed
    assert second.public() == first.public()
    assert server.asked == asked


def test_a_download_without_any_checksum_is_refused(get, server, table):
    server.release("tool", program("tool"))
    del table["tool"]["artifacts"]["tool"]["checksum_url"]
    with pytest.raises(KjouleError, match=r"not downloaded without a checksum: expected sha256 for amd64 or checksum_url"):
        get("tool", origin="download")
    assert server.asked == []


def test_the_tables_checksum_needs_no_checksum_file(get, server, table):
    server.files["/v1.2.3/tool"] = program("tool")
    table["tool"]["artifacts"]["tool"]["sha256"] = {"amd64": sha256(program("tool"))}
    assert get("tool", origin="download")["tool"].origin == "download"
    assert server.asked == ["/v1.2.3/tool"]


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


def test_a_page_instead_of_a_binary_is_called_a_page(get, server):
    server.release("tool", program("tool"))
    server.files["/v1.2.3/tool"] = b"<html><body>Please sign in</body></html>"
    with pytest.raises(KjouleError, match=r"an HTML page of 40 bytes"):
        get("tool", origin="download")


def test_a_release_that_changes_after_first_use_is_an_error(get, server, cache):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.unlink(path)
    server.release("tool", program("tool") + b"# new\n")
    with pytest.raises(KjouleError, match=r"is not the one used before: expected .* recorded at first use.*remove the entry"):
        get("tool", origin="auto")


def test_a_mirror_must_have_what_the_release_had(get, server, table, tmp_path):
    server.release("tool", program("tool"))
    os.unlink(get("tool", origin="download")["tool"].path)
    other = tmp_path / "mirror" / "v1.2.3"
    other.mkdir(parents=True)
    (other / "tool").write_bytes(program("other"))
    (other / "tool.sha256").write_text(sha256(program("other")))
    with pytest.raises(KjouleError, match=r"is not the one used before"):
        get("tool", origin="mirror", mirrors={server.url + "/": (tmp_path / "mirror").as_uri() + "/"})


def test_an_interrupted_download_leaves_no_file(get, server, cache, leftovers):
    server.release("tool", program("tool"))
    server.cut.add("/v1.2.3/tool")
    with pytest.raises(KjouleError, match=r"interrupted"):
        get("tool", origin="download")
    assert leftovers() == []
    assert not list((cache / "artifacts").glob("*"))


def test_what_a_killed_run_left_is_cleared_by_the_next(get, server, cache, leftovers):
    server.release("tool", program("tool"))
    folder = cache / "artifacts" / "tool-v1.2.3-linux-amd64"
    folder.mkdir(parents=True)
    (folder / ".tool.abc.1.part").write_bytes(b"half")
    get("tool", origin="download")
    assert leftovers() == []


def test_a_binary_of_another_version_is_refused(get, server, leftovers):
    server.release("tool", program("tool", "v1.2.30"))
    with pytest.raises(KjouleError, match=r"tool is not version v1\.2\.3: expected 'v1\.2\.3' from tool --version, saw 'tool v1\.2\.30'"):
        get("tool", origin="download")
    assert leftovers() == []


def test_a_binary_that_does_not_start_is_refused(get, server):
    server.release("tool", b"\x7fELF nothing")
    with pytest.raises(KjouleError, match=r"is not version"):
        get("tool", origin="download")


@pytest.mark.parametrize(
    ("output", "text", "expected"),
    [
        ("Kubernetes v1.36.1", "v1.36.1", True),
        ("etcd Version: 3.6.14\nGit SHA: x", "3.6.14", True),
        ("v1.36.1+k3s1", "v1.36.1", True),
        ("v1.36.10", "v1.36.1", False),
        ("v1.36.1.2", "v1.36.1", False),
        ("v1.36.1-rc.1", "v1.36.1", False),
        ("13.6.14", "3.6.14", False),
        ("", "v1", False),
    ],
)
def test_a_version_is_compared_whole(output, text, expected):
    assert says_version(output, text) is expected


@pytest.fixture
def archived(table, server):
    content = tar_of({"tool-v1.2.3/tool": program("tool"), "tool-v1.2.3/README": b""})
    server.release("tool.tar.gz", content)
    table["tool"]["artifacts"]["tool"].update(
        url=server.url + "/{version}/tool.tar.gz", checksum_url=server.url + "/{version}/tool.tar.gz.sha256", member="tool-{version}/tool"
    )
    return table["tool"]["artifacts"]["tool"]


def test_a_member_is_taken_out_of_an_archive_and_both_are_recorded(get, archived, cache, leftovers):
    result = get("tool", origin="download")["tool"]
    assert result.sha256 == sha256(program("tool"))
    assert result.source.endswith("tool.tar.gz#tool-v1.2.3/tool")
    assert {"tool-v1.2.3-linux-amd64-download-archive", "tool-v1.2.3-linux-amd64-download-binary"} == set(lock_of(cache)["entries"])
    assert leftovers() == []


def test_an_archive_without_the_member_is_an_error(get, archived, leftovers):
    archived["member"] = "bin/tool"
    with pytest.raises(KjouleError, match=r"no member 'bin/tool': saw tool-v1.2.3/tool, tool-v1.2.3/README"):
        get("tool", origin="download")
    assert leftovers() == []


# mirror


def test_a_mirror_is_used_for_the_file_and_its_checksum(get, server, table):
    server.files["/mirror/v1.2.3/tool"] = program("tool")
    server.files["/mirror/v1.2.3/tool.sha256"] = sha256(program("tool")).encode()
    for origin in ("mirror", "auto"):
        result = get("tool", origin=origin, mirrors={server.url + "/": server.url + "/mirror/"})["tool"]
        assert result.origin == "mirror"
    assert set(server.asked) == {"/mirror/v1.2.3/tool", "/mirror/v1.2.3/tool.sha256"}


def test_a_url_without_a_mirror_is_named(get):
    with pytest.raises(KjouleError, match=r"no mirror for http.*saw https://a/"):
        get("tool", origin="mirror", mirrors={"https://a/": "https://b/"})


# auto


def test_an_unreachable_host_is_found_out_in_seconds_and_then_it_is_built(store_of, table, fake_go, silent_url):
    fake_go()
    for entry in table["tool"]["artifacts"].values():
        if "url" in entry:
            entry.update(url=silent_url + "/x", checksum_url=silent_url + "/y")
    used = store_of(connect_timeout=0.5)
    start = time.monotonic()
    results = used.get(resolve(table, ["tool", "toolctl"], PLATFORM))
    assert time.monotonic() - start < 3
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


# path


def test_a_file_of_ones_own_is_used_where_it_lies(get, tmp_path, cache):
    own = tmp_path / "own"
    own.write_bytes(program("tool"))
    own.chmod(0o755)
    result = get("tool", origin="path", paths={"tool": str(own)})["tool"]
    assert (result.path, result.origin, result.sha256, result.changed) == (str(own), "path", sha256(program("tool")), False)
    assert not (cache / "artifacts").exists()


def test_a_path_that_is_wrong_is_told(get, tmp_path):
    with pytest.raises(KjouleError, match=r"the origin path needs a path"):
        get("tool", origin="path")
    with pytest.raises(KjouleError, match=r"none is not there"):
        get("tool", origin="path", paths={"tool": str(tmp_path / "none")})
    with pytest.raises(KjouleError, match=r"is not a file"):
        get("tool", origin="path", paths={"tool": str(tmp_path)})
    own = tmp_path / "own"
    own.write_bytes(program("tool"))
    own.chmod(0o644)
    with pytest.raises(KjouleError, match=r"own is not executable\. Next: chmod"):
        get("tool", origin="path", paths={"tool": str(own)})


def test_a_path_of_another_version_is_told(get, tmp_path):
    own = tmp_path / "own"
    own.write_bytes(program("tool", "v9.9.9"))
    own.chmod(0o755)
    with pytest.raises(KjouleError, match=r"tool is not version v1.2.3"):
        get("tool", origin="path", paths={"tool": str(own)})


def test_a_path_that_changes_after_first_use_is_an_error(get, tmp_path):
    own = tmp_path / "own"
    own.write_bytes(program("tool"))
    own.chmod(0o755)
    get("tool", origin="path", paths={"tool": str(own)})
    own.write_bytes(program("tool") + b"# changed\n")
    with pytest.raises(KjouleError, match=r"\(path\) is not the one used before"):
        get("tool", origin="path", paths={"tool": str(own)})


# build


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


def test_a_build_that_comes_out_different_is_an_error(get, fake_go):
    fake_go()
    os.unlink(get("tool", origin="build")["tool"].path)
    fake_go(says="v1.2.3 # other")
    with pytest.raises(KjouleError, match=r"\(build\) is not the one used before"):
        get("tool", origin="build")


def test_another_compiler_is_no_false_alarm(get, fake_go):
    fake_go()
    first = get("tool", origin="build")["tool"]
    os.unlink(first.path)
    fake_go(version="1.27.0", says="v1.2.3 # other")
    assert get("tool", origin="build")["tool"].sha256 != first.sha256


def test_a_cached_build_needs_no_go_and_no_module_files(get, fake_go, monkeypatch):
    fake_go()
    get("tool", origin="build")
    monkeypatch.setenv("PATH", "/nothing")
    assert not get("tool", tools_dirs={})["tool"].changed


def test_other_module_files_are_built_again(get, fake_go, tools):
    fake_go()
    get("tool", origin="build")
    (tools / "tool" / "go.sum").write_text("example.invalid/tool v1.2.3 h1:y\n")
    assert get("tool")["tool"].changed


def test_module_files_of_another_clone_are_refused(get, fake_go):
    fake_go()
    with pytest.raises(KjouleError, match=r"are not those of this clone"):
        get("tool", origin="build", recipe_hashes={"tool": "a" * 64})


def test_without_module_files_there_is_no_build(get):
    with pytest.raises(KjouleError, match=r"cannot be built without its module files"):
        get("tool", origin="build", tools_dirs={})


def test_what_has_no_recipe_cannot_be_built(get, table):
    table["tool"]["build"] = None
    with pytest.raises(KjouleError, match=r"tool cannot be built: expected a build recipe"):
        get("tool", origin="build")


def test_without_go_the_error_says_what_to_install(get, no_go):
    with pytest.raises(KjouleError, match=r"building needs Go 1\.26\.0 or newer.*install Go"):
        get("tool", origin="build", go_pip_version="")


def test_a_build_that_says_another_version_is_refused(get, fake_go, leftovers):
    fake_go(says="v1.2.4")
    with pytest.raises(KjouleError, match=r"tool is not version v1.2.3"):
        get("tool", origin="build")
    assert leftovers() == []


def test_manifests_that_hold_no_crd_are_refused(get, fake_go, tmp_path):
    fake_go()
    for path in (tmp_path / "module/config/crd").iterdir():
        path.write_text("kind: ConfigMap\n")
    with pytest.raises(KjouleError, match=r"holds no CustomResourceDefinition"):
        get("tool-crds", origin="build")


# from the controller


@pytest.fixture
def offered(get, server, tmp_path):
    """``tool`` as a controller has it, and a host with an empty cache to which ``copy`` has brought some bytes."""
    server.release("tool", program("tool"))
    offers = {"tool": get("tool", origin="download")["tool"].public()}
    host = tmp_path / "host"

    def take(content=None, **settings):
        if content is not None:
            incoming = host / "incoming/tool/tool"
            incoming.parent.mkdir(parents=True)
            incoming.write_bytes(content)
        return get("tool", origin="controller", cache_dir=str(host), **{"offers": offers, **settings})["tool"]

    return take, offers, host


def test_what_the_controller_has_is_checked_and_placed(offered):
    take, offers, host = offered
    result = take(program("tool"))
    assert result.path == str(host / "artifacts/tool-v1.2.3-linux-amd64/tool")
    assert (result.origin, result.sha256, result.source, result.changed) == (
        "controller",
        *(offers["tool"][key] for key in ("sha256", "source")),
        True,
    )
    assert not (host / "incoming").exists()
    assert not take().changed


def test_a_copy_that_arrived_damaged_is_refused_and_not_kept(offered):
    take, _, host = offered
    with pytest.raises(KjouleError, match="is not what the controller has: expected sha256"):
        take(program("tool")[:-5])
    assert [path for path in host.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_other_bytes_of_the_controller_replace_the_copy(offered):
    take, offers, _ = offered
    take(program("tool"))
    newer = program("tool") + b"# built by a newer compiler\n"
    offers["tool"]["sha256"] = sha256(newer)
    assert take(newer).changed


def test_a_controller_with_another_processor_is_told(offered):
    take, offers, _ = offered
    offers["tool"]["path"] = "/cache/artifacts/tool-v1.2.3-linux-arm64/tool"
    with pytest.raises(KjouleError, match=r"expected tool-v1.2.3-linux-amd64, saw tool-v1.2.3-linux-arm64"):
        take(program("tool"))
    with pytest.raises(KjouleError, match=r"has none for this host"):
        take(offers={})


def test_what_would_come_from_the_controller_is_predicted(offered):
    take, _, host = offered
    assert take(check_mode=True).origin == "controller"
    assert not host.exists()
    with pytest.raises(KjouleError, match="is not there"):
        take()


# the cache


@pytest.mark.parametrize("damage", [b"", b"#!/bin/sh\n", program("tool").replace(b"tool", b"evil")])
@pytest.mark.parametrize("origin", ["auto", "download"])
def test_a_damaged_file_is_named_and_never_replaced(get, server, damage, origin):
    server.release("tool", program("tool"))
    path = get("tool", origin=origin)["tool"].path
    with open(path, "wb") as handle:
        handle.write(damage)
    with pytest.raises(KjouleError) as caught:
        get("tool", origin=origin)
    assert f"tool v1.2.3 is damaged: {path}" in str(caught.value)
    assert sha256(program("tool")) in caught.value.expected
    assert sha256(damage) in caught.value.seen
    assert "rm -r" in caught.value.next_step
    with open(path, "rb") as handle:
        assert handle.read() == damage


def test_damage_that_hides_behind_the_same_size_and_time_is_found_by_full_verification(get, server):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    before = os.stat(path)
    with open(path, "r+b") as handle:
        handle.write(program("tool").replace(b"tool", b"evil"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    get("tool", origin="download")
    with pytest.raises(KjouleError, match=r"is damaged"):
        get("tool", origin="download", verify_full=True)


def test_a_file_that_was_only_touched_is_hashed_once_more(get, server, cache):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.utime(path, (1, 1))
    assert not get("tool", origin="download")["tool"].changed
    assert lock_of(cache)["files"][path]["stat"]["mtime_ns"] == 1_000_000_000


def test_a_file_that_nobody_recorded_is_not_trusted(get, cache):
    folder = cache / "artifacts" / "tool-v1.2.3-linux-amd64"
    folder.mkdir(parents=True)
    (folder / "tool").write_bytes(program("tool"))
    with pytest.raises(KjouleError, match=r"is damaged: .*expected a file recorded in .*artifacts\.lock\.json"):
        get("tool")


def test_a_file_that_was_removed_is_got_anew(get, server):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.unlink(path)
    assert get("tool", origin="download")["tool"].changed
    assert os.path.exists(path)


def test_an_origin_that_is_asked_for_replaces_another(get, server, fake_go):
    fake_go()
    server.release("tool", program("tool") + b"# released\n")
    assert get("tool", origin="build")["tool"].origin == "build"
    assert get("tool", origin="auto")["tool"].origin == "build"
    assert get("tool", origin="download")["tool"].origin == "download"
    assert get("tool", origin="auto")["tool"].origin == "download"


def test_a_table_that_contradicts_the_cached_download_is_an_error(get, server, table):
    server.release("tool", program("tool"))
    get("tool", origin="download")
    table["tool"]["artifacts"]["tool"]["sha256"] = {"amd64": "a" * 64}
    with pytest.raises(KjouleError, match=r"the table's checksum is not that of the cached download"):
        get("tool")


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


def test_a_cache_that_cannot_be_written_is_named(get, server, tmp_path):
    server.release("tool", program("tool"))
    (tmp_path / "file").write_text("")
    with pytest.raises(KjouleError, match=r"cache.* cannot be (written|read)"):
        get("tool", cache_dir=str(tmp_path / "file" / "cache"))


def test_a_full_cache_that_may_only_be_read_can_be_used(get, server, monkeypatch):
    server.release("tool", program("tool"))
    path = get("tool", origin="download")["tool"].path
    os.utime(path, (1, 1))

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    assert get("tool", origin="download")["tool"].path == path


def test_a_disk_that_is_nearly_full_is_told_before_anything_is_got(get, server, fake_go, monkeypatch):
    log = fake_go()
    server.release("tool", program("tool"))
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(KjouleError, match=r"not enough space for downloading tool in .*: expected 0\.5 GB free, saw 0\.0 GB"):
        get("tool", origin="download")
    with pytest.raises(KjouleError, match=r"not enough space for building tool"):
        get("tool", origin="build")
    assert not log.exists()


def test_a_disk_that_fills_up_on_the_way_is_told_and_cleaned(get, server, monkeypatch, leftovers):
    server.release("tool", program("tool"))

    def full(self, url, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch.Fetcher, "download", full)
    with pytest.raises(KjouleError, match=r"no space left in the cache"):
        get("tool", origin="download")
    assert leftovers() == []


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


def test_the_cache_follows_the_xdg_rules(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert store.default_cache_dir() == "/x/kjoule"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert store.default_cache_dir() == "/h/.cache/kjoule"
