#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Show the windows of a run in a Prometheus."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_marks
short_description: Show the windows of a run in a Prometheus
version_added: 0.2.0
description:
  - Writes what the journal of a run says about its phases into a Prometheus, as series that begin and end with the windows. The dashboards
    of the role P(kjoule.bench.monitoring#role) draw them as annotations.
  - With them goes what Kepler counted in each window, from the readings that this Prometheus has of it, or why there is no figure. Where
    the run has just ended, the reading after it is waited for.
  - The journal is only read. A period that Prometheus has already is not written again.
  - A period appears when all of it is written. Where the writing breaks off, the same again completes it.
options:
  run_id:
    description: Name of the run.
    type: str
    required: true
  url:
    description: The Prometheus. It has to take remote writes, and samples of the past.
    type: str
    default: http://127.0.0.1:9090
  state_dir:
    description:
      - Directory in which the host keeps its journals.
      - If not given, C(kjoule) below E(XDG_STATE_HOME), or below C(~/.local/state) when that variable is not set.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and return what it would do without doing it.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check mode, when in diff mode.
    support: full
author:
  - kjoule contributors (@kjoule)
"""

EXAMPLES = r"""
- name: Show a run beside what Kepler counted
  kjoule.bench.run_marks:
    run_id: my-run
"""

RETURN = r"""
periods:
  description: The periods that were written, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [b01-p1-a1, b01-p2-a1]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kjoule.bench.plugins.module_utils.errors import KjouleError
from ansible_collections.kjoule.bench.plugins.module_utils.experiment.journal import journal_path, read_text
from ansible_collections.kjoule.bench.plugins.module_utils.lab.directory import default_state_dir
from ansible_collections.kjoule.bench.plugins.module_utils.monitoring.marks import kepler_marks, read_marks, shown_periods, write_marks


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "run_id": {"type": "str", "required": True},
            "url": {"type": "str", "default": "http://127.0.0.1:9090"},
            "state_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        host, series = read_marks(read_text(journal_path(given["state_dir"] or default_state_dir(), given["run_id"])))
        shown = shown_periods(given["url"], given["run_id"], host)
        new = [one for one in series if one.labels["period"] not in shown]
        periods = sorted({one.labels["period"] for one in new})
        if not module.check_mode:
            write_marks(given["url"], [*new, *kepler_marks(given["url"], new)])
    except KjouleError as error:
        module.fail_json(msg=str(error))
    diff = {"before": "", "after": "".join(f"{period}\n" for period in periods)}
    module.exit_json(changed=bool(new), periods=periods, diff=diff)


if __name__ == "__main__":
    main()
