# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ways to a destination: submit, poll, cancel, probe; each answers in the terms of `deliveries.outcome`."""
