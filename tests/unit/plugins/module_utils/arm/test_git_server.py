# SPDX-License-Identifier: GPL-3.0-or-later
"""The git server as it is used: a process of its own, asked by the real git."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.arm import git_server
from ansible_collections.kjoule.bench.plugins.module_utils.energy.clocks import ProcessClock
from ansible_collections.kjoule.bench.plugins.module_utils.lab.identity import identify
from ansible_collections.kjoule.bench.plugins.module_utils.lab.ports import free_ports, listening

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def git(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "operator",
        "GIT_AUTHOR_EMAIL": "operator@kjoule.invalid",
        "GIT_COMMITTER_NAME": "operator",
        "GIT_COMMITTER_EMAIL": "operator@kjoule.invalid",
    }

    def run(*arguments, check=True):
        done = subprocess.run(["git", *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def server(tmp_path, git):
    root, cpu_file = tmp_path / "repositories", tmp_path / "cpu"
    bare = root / "fleet.git"
    git("-c", "init.defaultBranch=main", "init", "--bare", bare)
    git("-C", bare, "config", "http.receivepack", "true")
    port = free_ports(["git-server"])["git-server"]
    argv = [sys.executable, "-I", "-S", git_server.__file__, "--root", str(root), "--port", str(port), "--cpu-file", str(cpu_file)]
    with subprocess.Popen(argv, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}) as process:
        try:
            deadline = time.monotonic() + 20
            while not listening(process.pid):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield SimpleNamespace(url=f"http://127.0.0.1:{port}/fleet.git", bare=bare, cpu_file=cpu_file, process=process)
        finally:
            process.kill()


def commit(git, work, name, text="x"):
    (work / name).write_text(text)
    git("-C", work, "add", "--all")
    git("-C", work, "commit", "--quiet", "--message", name)
    git("-C", work, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return git("-C", work, "rev-parse", "HEAD").stdout.strip()


def test_what_is_pushed_can_be_cloned_and_fetched_shallow_by_an_old_protocol(server, git, tmp_path):
    work = tmp_path / "work"
    git("clone", "--quiet", server.url, work)
    commit(git, work, "one.yaml")
    # Larger than http.postBuffer: git sends it in chunks.
    last = commit(git, work, "two.bin", "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(400_000)))
    copy = tmp_path / "copy"
    git("clone", "--quiet", "--branch", "main", server.url, copy)
    assert git("-C", copy, "log", "--format=%s").stdout == "two.bin\none.yaml\n"
    assert (copy / "two.bin").read_bytes() == (work / "two.bin").read_bytes()
    shallow = tmp_path / "shallow"
    git("-c", "protocol.version=0", "clone", "--quiet", "--depth", "1", "--branch", "main", server.url, shallow)  # as go-git does
    assert git("-C", shallow, "rev-list", "--all").stdout.split() == [last]
    then = commit(git, work, "three.yaml")
    git("-C", shallow, "-c", "protocol.version=0", "fetch", "--quiet", "--depth", "1", "origin", "main")
    assert git("-C", shallow, "rev-parse", "FETCH_HEAD").stdout.strip() == then


def test_the_cpu_time_of_every_git_that_it_ran_is_counted(server, git, tmp_path):
    clock = ProcessClock("git-server", identify(server.process.pid), str(server.cpu_file))
    alone = ProcessClock("git-server", identify(server.process.pid))
    assert server.cpu_file.read_text() == f"{0:020d}\n"
    seen = [0]
    for number in range(3):
        git("ls-remote", server.url)
        seen.append(int(server.cpu_file.read_text()))
        assert clock.read_ns() - alone.read_ns() <= seen[-1], number
    assert seen == sorted(set(seen))
    assert seen[-1] < 10e9


def test_it_listens_on_loopback_only(server):
    assert [address for address, _port in listening(server.process.pid)] == ["127.0.0.1"]


def test_other_repositories_and_paths_outside_are_refused(server, git, tmp_path):
    (tmp_path / "secret").write_text("secret")
    git("init", "--quiet", "--bare", tmp_path / "other.git")
    base = server.url.rpartition("/")[0]
    for path in ("/none.git/info/refs?service=git-upload-pack", "/../other.git/info/refs?service=git-upload-pack", "/../secret"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            OPENER.open(base + path, timeout=10)
        assert refused.value.code >= 400
        refused.value.close()
    assert git("ls-remote", server.url).returncode == 0


def test_who_comes_from_another_address_may_read_and_not_push(tmp_path, git):
    """Listening on 127.0.0.2, the server takes a client at 127.0.0.1 for another machine's."""
    bare, work = tmp_path / "repositories" / "secret" / "fleet.git", tmp_path / "work"
    git("-c", "init.defaultBranch=main", "init", "--bare", bare)
    git("-C", bare, "config", "http.receivepack", "true")
    port = free_ports(["git-server"])["git-server"]
    argv = [sys.executable, "-I", "-S", git_server.__file__, "--root", str(tmp_path / "repositories"), "--port", str(port)]
    argv += ["--cpu-file", str(tmp_path / "cpu"), "--address", "127.0.0.2"]
    with subprocess.Popen(argv, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}) as process:
        try:
            deadline = time.monotonic() + 20
            while not listening(process.pid):
                assert time.monotonic() < deadline
                time.sleep(0.005)
            url = f"http://127.0.0.2:{port}/secret/fleet.git"
            git("-c", "init.defaultBranch=main", "init", work)
            git("-C", work, "commit", "--allow-empty", "-m", "one")
            refused = git("-C", work, "push", url, "HEAD:refs/heads/main", check=False)
            assert refused.returncode != 0
            assert "403" in refused.stderr
            assert git("ls-remote", url).returncode == 0
        finally:
            process.terminate()
