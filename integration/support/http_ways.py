# SPDX-License-Identifier: AGPL-3.0-or-later
"""Routers that send over HTTP: to a peer, and to a DICOMweb server."""

from collections.abc import Mapping
from typing import Any

from .http_server import PASSWORD, USER
from .orthanc import dicom_web_plugin, python_plugin

PEER, DICOM_WEB = "Peer", "DicomWeb"
KINDS = (PEER, DICOM_WEB)
TO_ALL: dict[str, Any] = {"Name": "all", "Match": {}, "Send": ["AWAY"]}


def sends_to(kind: str, url: str, password: str = PASSWORD, **options: object) -> dict[str, Any]:
    """The arguments of `start_router` for one destination AWAY, which is an Orthanc or acts like one at `url`."""
    return {
        "rules": [TO_ALL],
        "section": {"Destinations": {"AWAY": {kind: "away", **options}}},
        "config": knows({"away": (kind, url)}, password),
    }


def knows(servers: Mapping[str, tuple[str, str]], password: str = PASSWORD) -> dict[str, Any]:
    """The part of Orthanc's configuration about these servers, each with its kind and URL."""
    peers = {name: [url, USER, password] for name, (kind, url) in servers.items() if kind == PEER}
    web = {name: [f"{url}/dicom-web/", USER, password] for name, (kind, url) in servers.items() if kind == DICOM_WEB}
    plugins = [python_plugin(), *([dicom_web_plugin()] if web else [])]
    return {
        "OrthancPeers": peers,
        "DicomWeb": {"Enable": True, "Servers": web},
        "Plugins": [str(plugin) for plugin in plugins],
    }


def as_counterpart() -> dict[str, Any]:
    """The configuration of an Orthanc that can be reached both ways, with the password."""
    return {
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(dicom_web_plugin())],
        "DicomWeb": {"Enable": True},
    }
