# SPDX-License-Identifier: AGPL-3.0-or-later
"""A command that computes on a study: its folder, its life, what it says, and the files it leaves."""
