# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking at what alerts are about, and telling it."""
