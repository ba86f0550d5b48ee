# SPDX-License-Identifier: GPL-3.0-or-later
"""A BMC that speaks RMCP+ on loopback and answers DCMI "Get Power Reading" with the number in a file: pyghmi's server, as a process.

``python ipmi_bmc.py STATE`` prints its port. STATE is a JSON file, read anew for every answer: watts, active (whether it measures),
completion (a completion code other than 0 refuses), timestamp (of the BMC; that of this machine without).
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path

from pyghmi.ipmi.bmc import Bmc

USERNAME, PASSWORD = "kjoule", "secret"
DCMI, GROUP = 0x2C, 0xDC
GET_POWER_READING = 0x02


class PowerBmc(Bmc):
    def __init__(self, state: Path) -> None:
        super().__init__({USERNAME: PASSWORD}, port=0, address="127.0.0.1")
        self.port = self.serversocket.getsockname()[1]
        self.state = state

    def handle_raw_request(self, request, session):
        if (request["netfn"], request["command"]) != (DCMI, GET_POWER_READING):
            return super().handle_raw_request(request, session)
        now = json.loads(self.state.read_text())
        if now.get("completion"):
            return session.send_ipmi_response(code=now["completion"])
        watts = now["watts"]
        # DCMI 1.5, 6.6.1: current, minimum, maximum, average; time; period in milliseconds; bit 6 of the state: measuring
        figures = struct.pack(
            "<HHHHIIB", watts, 0, 65535, watts, now.get("timestamp", int(time.time())), 1000, 0x40 if now.get("active", True) else 0
        )
        return session.send_ipmi_response(data=[GROUP, *figures])


if __name__ == "__main__":
    bmc = PowerBmc(Path(sys.argv[1]))
    print(bmc.port, flush=True)
    bmc.listen(timeout=1)
