# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc's entries of OrthancPeers or DicomWeb.Servers: where a server is, and whether it can be asked directly."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.transports.http_node import HttpNode, host_and_port


@dataclass(frozen=True)
class Found:
    """A server that Orthanc knows. Without a `node` only Orthanc can reach it."""

    address: tuple[str, int]
    node: HttpNode | None


class Directory:
    """The servers of one kind.

    `entries` is Orthanc's route that lists them, `absent` what it means when there is no such route, and `nodes` are
    those of the configuration: REST tells no passwords, so one that was changed since is left to Orthanc.
    """

    def __init__(self, rest: OrthancRest, noun: str, entries: str, absent: str, nodes: Mapping[str, HttpNode]) -> None:
        self._rest = rest
        self._noun = noun
        self._entries = entries
        self._absent = absent
        self._nodes = nodes

    def find(self, target: str) -> Found | SendError:
        """The server of that name, as Orthanc has it now."""
        try:
            entries = self._rest.get(self._entries)
        except OrthancError as problem:
            return _unknown(self._absent) if problem.not_found else SendError.passing("OrthancError", str(problem))
        if target not in entries:
            return _unknown(f'Orthanc does not know the {self._noun} "{target}" now.')
        entry, node = entries[target], self._nodes.get(target)
        if node is None or not node.is_that_of(entry):
            return Found(host_and_port(str(entry["Url"])), None)
        return Found(node.address, node)


def _unknown(text: str) -> SendError:
    return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "Unknown", text)
