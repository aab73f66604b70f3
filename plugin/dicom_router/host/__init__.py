# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc, whose plugin this is: its SDK, its configuration, what is kept in its index and shown in its pages."""
