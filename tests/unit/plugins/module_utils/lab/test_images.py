# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that cannot be had is told at once; one that is on its way is waited for."""

import pytest
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.lab.images import refuse_missing_images


def pod(reason, message=""):
    waiting = {"image": "r/web:1", "state": {"waiting": {"reason": reason, "message": message}}}
    return {"metadata": {"name": "web-1"}, "status": {"containerStatuses": [{"image": "r/db:1", "state": {"running": {}}}, waiting]}}


def test_an_image_on_its_way_is_waited_for():
    refuse_missing_images([{"metadata": {"name": "new"}}, pod("ContainerCreating")], "n")


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"])
def test_one_that_is_not_to_be_had_is_named_with_its_pod_and_the_next_step(reason):
    with pytest.raises(
        KjouleError,
        match=rf"r/web:1 is not to be had: expected one that the node has, or can pull, saw web-1: {reason} no route\. Next: load it",
    ):
        refuse_missing_images([pod(reason, "no route")], "load it")
