# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.kwok import BINARIES, KwokLab
from ansible_collections.kjoule.bench.plugins.module_utils.lab.provider import make_lab

PATHS = {name: f"/nowhere/{name}" for name in BINARIES}


def test_kwok_is_made_and_starts_nothing(tmp_path):
    lab = make_lab("kwok", PATHS, str(tmp_path), lab_id="a")
    assert isinstance(lab, KwokLab)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_cluster_has_to_be_named(tmp_path):
    with pytest.raises(KjouleError, match=r"measured only if it is named: saw no kubeconfig.*kjoule_existing_kubeconfig"):
        make_lab("existing", PATHS, str(tmp_path), lab_id="a", options={"confirm": "c"})
    lab = make_lab("existing", PATHS, str(tmp_path), lab_id="a", options={"kubeconfig": "/k", "confirm": "c"})
    assert lab.provider == "existing"
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_of_minikube_is_the_one_of_its_profile_and_home(tmp_path):
    lab = make_lab("minikube", PATHS, str(tmp_path), lab_id="a", options={"driver": "none", "home": "/h"})
    assert (lab.provider, lab._options) == ("minikube", {"kubeconfig": "/h/kubeconfig", "context": "minikube", "confirm": "minikube"})


def test_other_providers_are_refused_with_the_known_ones():
    with pytest.raises(KjouleError, match=r"docker is not known: expected kwok, existing, minikube"):
        make_lab("docker")
