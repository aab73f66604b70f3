# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may send now: lanes, held destinations, and the one loop that hands chunks to the transports."""
