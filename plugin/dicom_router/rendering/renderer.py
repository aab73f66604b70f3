# SPDX-License-Identifier: AGPL-3.0-or-later
"""An instance in, the bytes of its altered copy out. Nothing is stored in Orthanc, so nothing needs to be deleted."""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

from dicom_router.alteration import Alteration
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.rendering.files import compressed, disguised, head_of
from dicom_router.rendering.leftovers import StillIdentifyingError
from dicom_router.rendering.pseudonyms import Pseudonyms
from dicom_router.rendering.uids import Kind, kind_of
from dicom_router.tags import by_number
from dicom_router.transfer_syntaxes import SYNTAXES
from dicom_router.unexpected import kind_and_place

SECONDS = 300.0  # for Orthanc to alter one instance; to compress a long cine takes its time
# While a copy is made, Orthanc holds its file four times, then the router five times (measured with 190 MB), in one
# process: with several large ones, or one of some gigabytes, the system ends it, and again after each restart.
LARGE = 64 * 1024 * 1024  # bytes
LARGEST = 1024 * 1024 * 1024  # bytes; 5 GB of memory and more
PATIENT_ID, SOP_INSTANCE_UID = "0010,0020", "0008,0018"
# Orthanc, Enumerations.h, of what it answers 500 to although the next time will be no better: NotImplemented,
# ParameterOutOfRange, BadParameterType, BadRequest, BadFileFormat, InexistentTag, IncompatibleImageFormat,
# IncompatibleImageSize, UnknownDicomTag, BadJson. What it cannot transcode has no code of its own.
REFUSALS = frozenset({2, 3, 5, 8, 15, 21, 23, 24, 27, 28})
CANNOT_TRANSCODE = "Cannot transcode"
FIRST_SERVER_ERROR = 500  # HTTP status
PASSED_ON = ("RemovePrivateTags", "KeepPrivateTags", "DicomVersion", "PrivateCreator")


class Renderer:
    """`key` is the secret of the pseudonyms; it is asked for when there are copies. Thread-safe; its calls block."""

    def __init__(self, rest: OrthancRest, key: Callable[[], bytes]) -> None:
        self._rest = rest
        self._key = key
        self._large = threading.Lock()
        self._transcodes_files = True  # `/instances/{id}/file?transcode=` came with Orthanc 1.12.2

    def pseudonyms(self, alteration: Alteration) -> Pseudonyms:
        """What the copies are called."""
        return Pseudonyms(self._key(), alteration)

    def render(self, instance: Instance, alteration: Alteration) -> bytes | SendError:
        """The copy as a DICOM file. Large ones are made one at a time."""
        if instance.size > LARGEST:
            return _too_large(instance.size)
        with self._large if instance.size > LARGE else nullcontext():
            return self._rendered(instance, alteration)

    def _rendered(self, instance: Instance, alteration: Alteration) -> bytes | SendError:
        try:
            original = self._rest.get_bytes(f"/instances/{instance.id}/file", SECONDS)
        except OrthancError as problem:  # which says nothing of what the rule wants
            return _passing(problem)
        named = self.pseudonyms(alteration)  # what the database raises here is no refusal either
        try:
            return self._altered(instance, original, alteration, named)
        except OrthancError as problem:
            return _refusal(problem) if _refuses(problem) else _passing(problem)
        except StillIdentifyingError:
            text = "The instance is not sent: one of its own UIDs would be left in the anonymised copy."
            return SendError.refusal("NotAnonymous", text)
        except (MemoryError, OSError) as problem:
            return SendError.passing("InternalError", kind_and_place(problem))
        except Exception as problem:  # noqa: BLE001 - whatever a damaged file does; its values must not be told
            text = f"The copy of the instance could not be made: {kind_and_place(problem)}."
            return SendError.refusal("CannotAlter", text)

    def copies(self, instances: Sequence[Instance], alteration: Alteration) -> list[Instance]:
        """The same instances with the UIDs that their copies have. Raises OrthancError."""
        named = self.pseudonyms(alteration)
        series = sorted({instance.series_id for instance in instances})
        rows = self._rest.ask("/tools/bulk-content", {"Resources": series, "Level": "Series"})
        series_uids = {row["ID"]: row["MainDicomTags"]["SeriesInstanceUID"] for row in rows}
        study_uids = {
            study_id: self._rest.get(f"/studies/{study_id}")["MainDicomTags"]["StudyInstanceUID"]
            for study_id in {instance.study_id for instance in instances}
        }
        return [
            replace(
                instance,
                sop_instance_uid=named.uid(instance.sop_instance_uid, Kind.INSTANCE),
                series_instance_uid=named.uid(series_uids.get(instance.series_id, ""), Kind.SERIES),
                study_instance_uid=named.uid(study_uids[instance.study_id], Kind.STUDY),
            )
            for instance in instances
        ]

    def _altered(self, instance: Instance, original: bytes, alteration: Alteration, named: Pseudonyms) -> bytes:
        head = head_of(original)
        wanted = alteration.transcode
        if wanted and (head.transfer_syntax == wanted or (SYNTAXES[wanted].encapsulated and not head.has_pixels)):
            wanted = ""  # it is so already, or there is nothing to compress
        if alteration.method is not None:
            body = request(alteration, wanted)
            altered = self._rest.ask_bytes(f"/instances/{instance.id}/{alteration.method}", body, SECONDS)
            return disguised(altered, original, named)
        if not wanted:
            return original
        transcoded = self._transcoded(instance, head.sop_instance_uid, wanted)
        if not alteration.lossy:
            return transcoded
        uid = named.uid(head.sop_instance_uid, Kind.INSTANCE)
        return compressed(transcoded, len(original), uid, alteration)

    def _transcoded(self, instance: Instance, uid: str, transfer_syntax: str) -> bytes:
        if self._transcodes_files:
            with suppress(OrthancError):  # it says 404 where it cannot: /modify tells why
                file = self._rest.get_bytes(f"/instances/{instance.id}/file?transcode={transfer_syntax}", SECONDS)
                if head_of(file).transfer_syntax == transfer_syntax:
                    return file
                self._transcodes_files = False
        # To keep the UID is the same, but for a warning in the log for each instance.
        body = {"Transcode": transfer_syntax, "Replace": {SOP_INSTANCE_UID: uid}, "Force": True}
        return self._rest.ask_bytes(f"/instances/{instance.id}/modify", body, SECONDS)


def _too_large(size: int) -> SendError:
    text = (
        f"The instance has {size / 1024**3:.1f} GB; altered copies are made of up to {LARGEST / 1024**3:.0f} GB only. "
        "Send it as it is, by a rule without Modify, Anonymize and Transcode, or make the copy outside of Orthanc."
    )
    return SendError.refusal("TooLargeToAlter", text)


def _refuses(problem: OrthancError) -> bool:
    """Whether Orthanc will say the same of this instance and this rule the next time."""
    if isinstance(problem, OrthancUnreachableError) or problem.not_found:
        return False
    if problem.status < FIRST_SERVER_ERROR or problem.code in REFUSALS:
        return True
    return problem.details.startswith(CANNOT_TRANSCODE)


def _refusal(problem: OrthancError) -> SendError:
    return SendError.refusal("CannotAlter", f"Orthanc cannot alter the instance as the rule says: {problem}")


def _passing(problem: OrthancError) -> SendError:
    if isinstance(problem, OrthancUnreachableError):
        return SendError.passing("OrthancUnreachable", str(problem))
    if problem.not_found:
        return SendError.passing("NotFound", problem.details)
    return SendError.passing("OrthancError", str(problem))


def request(alteration: Alteration, transcode: str) -> dict[str, Any]:
    """What Orthanc is asked for: what the rule says, but for UIDs and the PatientID, which become pseudonyms later."""
    spec = alteration.spec
    kept, removed, replaced = spec.get("Keep"), spec.get("Remove"), spec.get("Replace")
    names = [by_number(str(name)) for name in (kept if isinstance(kept, list) else []) if kind_of(str(name)) is None]
    values = {
        by_number(str(name)): value if isinstance(value, list) else str(value)
        for name, value in (replaced if isinstance(replaced, dict) else {}).items()
    }
    if alteration.anonymous:  # else Orthanc makes up one for each instance
        values.setdefault(PATIENT_ID, "Anonymized")
    body: dict[str, Any] = {key: spec[key] for key in PASSED_ON if key in spec}
    body |= {
        "Keep": [name for name in names if name != PATIENT_ID],
        "Remove": [by_number(str(name)) for name in (removed if isinstance(removed, list) else [])],
        "Replace": values,
        "Force": True,
    }
    return body | ({"Transcode": transcode} if transcode else {})
