#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The double of Kepler 0.11: its command line, the part of its settings that says where to read and to listen, and its series of the node.

Every joule is idle; there are no processes. What it counts is what its counters have, from the raw value on, as Kepler's idle counter does.
"""

from __future__ import annotations

import argparse
import http.server
import re
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config.file", dest="config", type=Path, required=True)
    config = parser.parse_args().config.read_text(encoding="utf-8")
    (sysfs,) = re.findall(r"(?m)^\s+sysfs: (\S+)$", config)
    (host, port) = re.findall(r"(?m)^\s+- (127\.0\.0\.1):(\d+)$", config)[0]
    (node,) = re.findall(r"(?m)^\s+nodeName: (\S+)$", config)
    zones = {(folder / "name").read_text().split("-")[0]: folder for folder in Path(sysfs, "class/powercap").iterdir()}
    started = time.time()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lines = [f"process_start_time_seconds {started!r}"]
            for zone, folder in zones.items():
                labels = f'{{node_name="{node}",path="{folder}",zone="{zone}"}}'
                joules = int((folder / "energy_uj").read_text()) / 1e6
                lines += [f"kepler_node_cpu_active_joules_total{labels} 0", f"kepler_node_cpu_idle_joules_total{labels} {joules!r}"]
                lines.append(f"kepler_node_cpu_joules_total{labels} {joules!r}")
            body = "\n".join([*lines, ""]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
