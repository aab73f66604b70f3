# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole numbers in texts that others wrote: senders, clients, databases. Pure."""

MOST_DIGITS = 18  # that surely fit a database's integer


def whole_number(text: str) -> int | None:
    """The number that plain digits say; None for anything else, also for what only Unicode calls a digit (`²`)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
