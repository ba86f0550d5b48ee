# SPDX-License-Identifier: GPL-3.0-or-later
"""Every origin brings what was asked for, checked, or tells what is wrong and leaves nothing behind."""

from __future__ import annotations

import os

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError

from .conftest import lock_of, program, sha256, tar_of


def test_a_download_is_verified_placed_and_recorded(get, server, cache, leftovers):
    server.release("tool", program("tool"))
    result = get("tool", origin="download")["tool"]
    assert result.path == str(cache / "artifacts" / "tool-v1.2.3-linux-amd64" / "tool")
    assert (result.version, result.sha256, result.origin, result.changed) == ("v1.2.3", sha256(program("tool")), "download", True)
    assert os.access(result.path, os.X_OK)
    assert lock_of(cache)["entries"]["tool-v1.2.3-linux-amd64-download-binary"]["sha256"] == result.sha256
    assert leftovers() == []


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
