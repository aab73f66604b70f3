# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router inside Orthanc Explorer, and its address in the list of plugins. At import of the script."""

from pathlib import Path

from dicom_router.host.sdk import OrthancHost

SCRIPT = "orthanc_explorer.js"
HOME = "/router/ui/"  # Orthanc itself makes it relative, for proxies that add a prefix


def extend(host: OrthancHost, folder: Path) -> None:
    """Add `SCRIPT` of the folder of the web page to Orthanc Explorer. What goes wrong is told by the log."""
    try:
        host.set_home(HOME)
        host.extend_explorer((folder / SCRIPT).read_text(encoding="utf-8"))
    except Exception as problem:  # noqa: BLE001 - a missing file, or an Orthanc without this, is no reason not to route
        host.log_warning(f"dicom-router: nothing is added to Orthanc Explorer: {problem}")
