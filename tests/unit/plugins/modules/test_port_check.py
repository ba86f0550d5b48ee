# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module answers; the check itself is tested in module_utils/monitoring."""

from __future__ import annotations

import os
import socket

from harness.module import run_module


def test_a_taken_port_fails_and_that_of_the_service_itself_does_not():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        where = {"address": "127.0.0.1", "port": port, "service": "kjoule-prometheus", "variable": "monitoring_prometheus_port"}
        answer = run_module("port_check", check=True, **where)
        assert answer["failed"]
        assert f"Port {port} on 127.0.0.1 is taken" in answer["msg"]
        assert run_module("port_check", **where, pid=os.getpid())["changed"] is False
