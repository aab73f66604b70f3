# SPDX-License-Identifier: AGPL-3.0-or-later
"""The REST API below /router: one file a noun."""
