# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stand-ins for the world around the router; strict: what Orthanc would not answer is an error of the test."""
