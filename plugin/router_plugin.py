# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc's `PythonScript` names. Orthanc puts this folder on the path, so the package beside it is found."""

import orthanc

import dicom_router

dicom_router.install(orthanc)
