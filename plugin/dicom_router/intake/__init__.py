# SPDX-License-Identifier: AGPL-3.0-or-later
"""From Orthanc's change log to resources that have settled."""
