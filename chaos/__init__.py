# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fault injection: a real Orthanc with the router, real receivers, real kills, and an audit of what arrived."""
