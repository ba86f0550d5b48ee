# SPDX-License-Identifier: GPL-3.0-or-later
"""Binaries that a lab is made of: found, fetched or built, verified and remembered."""
