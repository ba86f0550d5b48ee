# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What modules have in common that compute on the controller from the files of a run; ``attributes``: that compute there at all."""

    ATTRIBUTES = r"""
author:
  - kjoule contributors (@kjoule)
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
"""

    DOCUMENTATION = r"""
options:
  reports_dir:
    description: Folder on the controller that holds the runs. A relative one starts in the working directory.
    type: path
    default: reports
"""
