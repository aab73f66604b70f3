# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc knows of a study, and which of its instances are meant."""
