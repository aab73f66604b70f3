# SPDX-License-Identifier: AGPL-3.0-or-later
"""dicom-router: automatic DICOM routing inside Orthanc."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_router.installation import Installed

__version__ = "0.1.0"


def install(orthanc: Any, *, register: bool = True) -> "Installed":
    """Put the router into the Orthanc whose module `orthanc` this is. At import of the script, and only once.

    With `register=False` the script keeps Orthanc's one change callback for itself, and calls
    `router.on_change(change, level, resource)` of the answer from there. Raises nothing: what is wrong is told by
    Orthanc's log and by `/router/status`.
    """
    from dicom_router.installation import install as install_into  # noqa: PLC0415 - importing has no side effects

    return install_into(orthanc, register=register)
