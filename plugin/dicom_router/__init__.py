# SPDX-License-Identifier: AGPL-3.0-or-later
"""dicom-router: automatic DICOM routing inside Orthanc."""

__version__ = "0.1.0"
