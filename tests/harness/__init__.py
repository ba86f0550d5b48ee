# SPDX-License-Identifier: GPL-3.0-or-later
"""Doubles with known truth: power that somebody injects, and the meters that show it."""
