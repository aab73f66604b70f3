# SPDX-License-Identifier: AGPL-3.0-or-later
"""All the ways to destinations, put together."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dicom_router.destination import Kind
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.rendering.renderer import Renderer
from dicom_router.routing.aftermath import Aftermath
from dicom_router.store.store import Store
from dicom_router.transports.by_kind import TransportsByKind
from dicom_router.transports.dicom_web import DicomWebService
from dicom_router.transports.folder import FolderTransport
from dicom_router.transports.followed_jobs import FollowedJobs
from dicom_router.transports.http_node import http_nodes
from dicom_router.transports.http_transport import HttpTransport
from dicom_router.transports.modality import ModalityTransport
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.peer import PeerService
from dicom_router.transports.process import ProcessTransport
from dicom_router.transports.transport import JobState, Transport


class Ways:
    """The transport for each kind of destination, and the jobs that some of them make beside Orthanc's.

    `configuration`: Orthanc's. `processing`: the folder where processes work. `owner`: the name of this Orthanc.
    """

    def __init__(
        self,
        rest: OrthancRest,
        store: Store,
        aftermath: Aftermath,
        configuration: Mapping[str, Any],
        dicom_web_root: str,
        processing: Path,
        owner: str,
        job_ended: Callable[[str, JobState], None],
        *,
        patient_data: bool,
    ) -> None:
        self._own = own = OwnJobs(job_ended)
        self._followed = followed = FollowedJobs(rest)
        modality = ModalityTransport(rest, own, followed)
        peers = PeerService(rest)
        dicom_web = DicomWebService(rest, dicom_web_root)
        known_peers = peers.directory(http_nodes(configuration.get("OrthancPeers"), configuration))
        listed = (configuration.get("DicomWeb") or {}).get("Servers")
        known_servers = dicom_web.directory(http_nodes(listed, configuration))
        process = ProcessTransport(rest, own, store.runs, aftermath, processing, store.clock, patient_data=patient_data)
        process.tidy()
        kinds: dict[Kind, Transport] = {
            Kind.PROCESS: process,
            Kind.MODALITY: modality,
            Kind.PEER: HttpTransport(rest, peers, known_peers, own, followed),
            Kind.DICOM_WEB: HttpTransport(rest, dicom_web, known_servers, own, followed),
            Kind.FOLDER: FolderTransport(rest, own, owner),
        }
        self.transport = TransportsByKind(modality, kinds, own, Renderer(rest, store.secret.key))

    def orthanc_job_ended(self, job_id: str, state: JobState) -> None:
        """One of our own jobs may wait for it."""
        self._followed.tell(job_id, state)

    def end(self) -> None:
        """The router stops: no job of ours begins anything more."""
        self._own.end()

    def join(self, seconds: float) -> None:
        """Wait up to so long for our own jobs, whose connections have been shut down."""
        self._own.join(seconds)
