# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and images that minikube is given: compared with their checksums, and put where it looks for them."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.minikube_supplies import Image, place_files, place_images, verify


@pytest.fixture
def supplies(tmp_path):
    """A file and an image, as the module is told of them."""
    kubelet, archive = tmp_path / "kubelet", tmp_path / "coredns.tar"
    kubelet.write_bytes(b"kubelet")
    archive.write_bytes(b"image")
    file = {"path": str(kubelet), "sha256": hashlib.sha256(b"kubelet").hexdigest(), "cache": "linux/kubelet"}
    return file, Image(str(archive), hashlib.sha256(b"image").hexdigest(), ("r/coredns:1", "r/coredns:latest"))


def test_one_that_is_what_its_checksum_says_is_taken_however_that_is_written(supplies):
    file, image = supplies
    verify([file, {**file, "sha256": file["sha256"].upper()}], [image])


def test_one_that_is_not_what_its_checksum_says_is_refused(supplies):
    file, image = supplies
    with pytest.raises(
        KjouleError, match=f"kubelet is not the one that was named: expected sha256 {'0' * 64}, saw sha256 {file['sha256']}"
    ):
        verify([{**file, "sha256": "0" * 64}], [])
    with pytest.raises(KjouleError, match=r"coredns\.tar is not the one that was named"):
        verify([file], [Image(image.archive, "0" * 64, image.names)])


def test_they_are_put_where_minikube_looks_and_what_lies_there_damaged_is_replaced(supplies, tmp_path):
    file, image = supplies
    cache = tmp_path / "cache"
    for _time in range(2):
        place_files(str(cache), [file])
        place_images(str(cache), [image])
        assert (cache / "linux/kubelet").read_bytes() == b"kubelet"
        assert (cache / "linux/kubelet").stat().st_mode & 0o777 == 0o755
        images = sorted(cache.glob("images/*/r/*"))
        assert [(path.name, path.read_bytes()) for path in images] == [("coredns_1", b"image"), ("coredns_latest", b"image")]
        for path in (cache / "linux/kubelet", images[0]):
            path.write_bytes(b"damaged")
