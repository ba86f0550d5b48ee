#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a container image of files, as a docker archive of one layer: what the node's images are made of where no registry is reached.

    image.py ARCHIVE --tag NAME:TAG [...] --file SOURCE=/path/in/image [...] [--directory /tmp ...] [--entrypoint /path] [--user 65534]

The same files give the same bytes: times and owners are fixed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import tarfile

PASSWD = b"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o755, size: int = 0, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name.lstrip("/"))
    info.type, info.mode, info.size, info.linkname = kind, mode, size, target
    return info


def layer(files: list[tuple[str, str]], directories: list[str], links: list[tuple[str, str]]) -> bytes:
    """The layer as a tar file. ``files`` and ``links``: (source, path in the image)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in directories:
            archive.addfile(member(path, tarfile.DIRTYPE, 0o1777))
        archive.addfile(member("etc/passwd", mode=0o644, size=len(PASSWD)), io.BytesIO(PASSWD))
        for source, path in files:
            with open(source, "rb") as content:
                archive.addfile(member(path, size=os.fstat(content.fileno()).st_size), content)
        for target, path in links:
            archive.addfile(member(path, tarfile.SYMTYPE, target=target))
    return stream.getvalue()


def write(archive_path: str, tags: list[str], content: bytes, entrypoint: list[str], user: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    settings = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": entrypoint or None, "User": user, "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    config = json.dumps(settings, sort_keys=True).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": tags, "Layers": [f"{digest}/layer.tar"]}]).encode()
    with tarfile.open(archive_path, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, data in ((f"{digest}/layer.tar", content), (name, config), ("manifest.json", manifest)):
            archive.addfile(member(path, mode=0o644, size=len(data)), io.BytesIO(data))


def pair(text: str) -> tuple[str, str]:
    source, _, path = text.rpartition("=")
    return source, path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("archive")
    parser.add_argument("--tag", action="append", required=True)
    parser.add_argument("--file", action="append", type=pair, default=[])
    parser.add_argument("--link", action="append", type=pair, default=[])
    parser.add_argument("--directory", action="append", default=[])
    parser.add_argument("--entrypoint", action="append", default=[])
    parser.add_argument("--user", default="")
    given = parser.parse_args()
    write(given.archive, given.tag, layer(given.file, given.directory, given.link), given.entrypoint, given.user)


if __name__ == "__main__":
    main()
