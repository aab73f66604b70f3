# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a delivery is, how an attempt can end, and when the next one is due. Pure: no clock, no database, no network."""
