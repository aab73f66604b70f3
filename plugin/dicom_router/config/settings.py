# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a configuration that holds together comes to, and what it is held against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

from dicom_router.alerts.settings import AlertSettings
from dicom_router.destination import Destination
from dicom_router.rules.rule import Rule

DICOM_WEB_ROOT = "/dicom-web/"  # the plugin's own default


@dataclass(frozen=True)
class Neighbours:
    """What Orthanc's configuration knows of other systems. `modalities` maps a name to its AE title.

    `dicom_web` are the servers that the DICOMweb plugin knows, whose own routes are below `dicom_web_root`.
    """

    modalities: Mapping[str, str] = field(default_factory=dict)
    peers: frozenset[str] = frozenset()
    dicom_web: frozenset[str] = frozenset()
    dicom_web_root: str = DICOM_WEB_ROOT
    dicom_web_enabled: bool = True


@dataclass(frozen=True)
class Settings:
    """A configuration that holds together."""

    enable: bool = True
    database: str = ""
    time_zone: tzinfo = UTC
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    history: float = 90 * 86400.0  # seconds
    patient_data: bool = True
    alerts: AlertSettings = field(default_factory=AlertSettings)


def neighbours(orthanc: Mapping[str, Any]) -> Neighbours:
    """What Orthanc's own configuration says of modalities, peers and DICOMweb servers."""
    modalities = {name: _aet_of(entry) for name, entry in _mapping(orthanc.get("DicomModalities")).items()}
    plugin = _mapping(orthanc.get("DicomWeb"))
    return Neighbours(
        modalities,
        frozenset(_mapping(orthanc.get("OrthancPeers"))),
        frozenset(_mapping(plugin.get("Servers"))),
        str(plugin.get("Root") or DICOM_WEB_ROOT),
        bool(plugin.get("Enable", True)),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    """What is none is Orthanc's to complain of."""
    return value if isinstance(value, dict) else {}


def _aet_of(entry: object) -> str:
    if isinstance(entry, list) and entry:
        return str(entry[0])
    return str(entry.get("AET", "")) if isinstance(entry, dict) else ""
