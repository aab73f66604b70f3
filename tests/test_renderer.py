# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc is asked for a copy, and what goes to the destination."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from builders import destination, instance
from dicom_router.alteration import Alteration, Method
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination, Kind
from dicom_router.orthanc_rest import OrthancError, OrthancUnreachableError
from dicom_router.rendering.renderer import LARGE, LARGEST, Renderer, request
from dicom_router.rendering.uids import Kind as UidKind
from dicom_router.store.database import session
from dicom_router.store.schema import Meta
from dicom_router.store.secret import NAME
from dicom_router.store.store import Store
from dicom_router.transports.by_kind import TransportsByKind
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.transport import JobState, Wait
from fakes.orthanc import FakeOrthanc
from test_own_jobs import Ended
from test_rendering import INSTANCE, KEY, LOSSY, altered, file_of, original

JPEG_LS = Alteration(transcode=JPEGLSLossless)
LIMIT = 10.0  # seconds
ANONYMOUS = Alteration(Method.ANONYMIZE, {"Keep": ["StudyDescription"]})


class Orthanc(FakeOrthanc):
    """Answers files: of an instance, and of what is made of it. `files_transcode`: 1.12.2 and later."""

    def __init__(self, *, image: bool = True, files_transcode: bool = True) -> None:
        super().__init__()
        self.data_set = original()
        if image:
            self.data_set.add_new(0x7FE00010, "OB", bytes(100))
        self.files_transcode = files_transcode
        self.asked: list[tuple[str, Any]] = []

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        self._called("GET", path)
        wanted = path.partition("?transcode=")[2]
        return self._file(wanted if self.files_transcode else "")

    def ask_bytes(self, path: str, body: Any, timeout: float = 60.0) -> bytes:
        self._called("POST", path)
        self.asked.append((path, body))
        if path.endswith("anonymize"):
            return file_of(altered(self.data_set))
        return self._file(body.get("Transcode", ""))

    def _file(self, transfer_syntax: str) -> bytes:
        file = file_of(self.data_set)
        if not transfer_syntax:
            return file
        copy = dcmread(BytesIO(file))
        copy.file_meta.TransferSyntaxUID = transfer_syntax
        if "PixelData" in copy:
            del copy.PixelData
            copy.add_new(0x7FE00010, "OB", b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x02\x00\x00\x00ab")
            copy["PixelData"].is_undefined_length = True
        out = BytesIO()
        copy.save_as(out)
        return out.getvalue()


def rendered(orthanc: FakeOrthanc, alteration: Alteration) -> bytes:
    made = Renderer(orthanc, lambda: KEY).render(instance(1), alteration)
    assert isinstance(made, bytes), made
    return made


def refused(orthanc: FakeOrthanc, alteration: Alteration = ANONYMOUS) -> SendError:
    made = Renderer(orthanc, lambda: KEY).render(instance(1), alteration)
    assert isinstance(made, SendError)
    return made


def syntax_of(file: bytes) -> str:
    return str(dcmread(BytesIO(file)).file_meta.TransferSyntaxUID)


# --- what Orthanc is asked -------------------------------------------------------------------------------------------


def test_orthanc_is_asked_in_its_own_syntax_for_all_but_the_pseudonyms() -> None:
    spec = {
        "Keep": ["SOPInstanceUID", "PatientID", "StudyDescription"],
        "Replace": {"InstitutionName": "Clinic", "0011,1001": 5},
        "Remove": ["ContentSequence[*].PersonName"],
        "KeepPrivateTags": True,
        "PrivateCreator": "ME",
        "Asynchronous": True,
        "Force": True,
    }
    assert request(Alteration(Method.ANONYMIZE, spec), JPEGLSLossless) == {
        "Keep": ["0008,1030"],
        "Replace": {"0008,0080": "Clinic", "0011,1001": "5", "0010,0020": "Anonymized"},
        "Remove": ["0040,a730[*].0040,a123"],
        "KeepPrivateTags": True,
        "PrivateCreator": "ME",
        "Force": True,
        "Transcode": JPEGLSLossless,
    }
    assert "0010,0020" not in request(Alteration(Method.MODIFY, {"Remove": ["StudyID"]}), "")["Replace"]


@pytest.mark.parametrize("files_transcode", [True, False])
def test_an_image_is_transcoded_the_way_that_orthanc_has(*, files_transcode: bool) -> None:
    orthanc = Orthanc(files_transcode=files_transcode)
    renderer = Renderer(orthanc, lambda: KEY)
    for _ in range(2):
        made = renderer.render(instance(1), JPEG_LS)
        assert isinstance(made, bytes)
        assert syntax_of(made) == JPEGLSLossless
        assert head_uid(made) == INSTANCE
    asked = [call for call in orthanc.calls if "transcode" in call]
    assert len(asked) == (2 if files_transcode else 1), "an old core is asked in vain once"
    expected = [] if files_transcode else 2 * [("/instances/study-1/modify", {"Transcode": JPEGLSLossless})]
    shortened = [(path, {"Transcode": body["Transcode"]}) for path, body in orthanc.asked]
    assert shortened == expected


def head_uid(file: bytes) -> str:
    return str(dcmread(BytesIO(file), stop_before_pixels=True).SOPInstanceUID)


def test_what_is_no_image_is_not_labelled_with_the_transfer_syntax_of_one() -> None:
    assert syntax_of(rendered(Orthanc(image=False), JPEG_LS)) == ExplicitVRLittleEndian
    orthanc = Orthanc(image=False)
    rendered(orthanc, Alteration(Method.ANONYMIZE, {"Keep": []}, JPEGLSLossless))
    assert "Transcode" not in orthanc.asked[0][1]


def test_what_has_the_transfer_syntax_already_is_sent_as_it_is() -> None:
    orthanc = Orthanc()
    made = rendered(orthanc, Alteration(transcode=ExplicitVRLittleEndian))
    assert made == file_of(orthanc.data_set)
    assert len(orthanc.calls) == 1


def test_a_lossy_copy_has_a_uid_of_its_own_always_the_same() -> None:
    one, two = (rendered(Orthanc(), Alteration(transcode=LOSSY)) for _ in range(2))
    assert head_uid(one) == head_uid(two) != INSTANCE


@pytest.mark.parametrize(
    ("failures", "code", "permanent"),
    [
        ({"/instances/study-1/anonymize": OrthancError(400, 3, "Unknown version of DICOM")}, "CannotAlter", True),
        ({"/instances/study-1/file": OrthancError(404, 17, "gone")}, "NotFound", False),
        ({"/instances/study-1/file": OrthancUnreachableError("no answer")}, "OrthancUnreachable", False),
        ({"/instances/study-1/file": OrthancError(500, 13, "Inexistent file")}, "OrthancError", False),
        ({"/instances/study-1/file": OrthancError(400, 15, "Bad file format")}, "OrthancError", False),
        ({"/instances/study-1/anonymize": OrthancError(500, 4, "out of memory")}, "OrthancError", False),
        ({"/instances/study-1/anonymize": OrthancError(500, -1, "Internal error")}, "OrthancError", False),
        ({"/instances/study-1/anonymize": OrthancError(500, 27, "Unknown DICOM tag")}, "CannotAlter", True),
        ({"/instances/study-1/anonymize": OrthancError(500, 2, "Not implemented yet")}, "CannotAlter", True),
    ],
)
def test_why_a_copy_cannot_be_made(failures: dict[str, OrthancError], code: str, *, permanent: bool) -> None:
    orthanc = Orthanc()
    orthanc.failures = failures
    error = refused(orthanc)
    assert (error.code, error.permanent) == (code, permanent)


def test_what_orthanc_cannot_transcode_is_refused_although_it_says_not_found() -> None:
    """Orthanc 1.12 answers 404 to `?transcode=` for what its `/modify` explains."""
    orthanc = Orthanc()
    orthanc.failures = {
        "/instances/study-1/file?": OrthancError(404, 17, ""),
        "/instances/study-1/modify": OrthancError(500, -1, "Cannot transcode to transfer syntax"),
    }
    error = refused(orthanc, JPEG_LS)
    assert (error.code, error.permanent) == ("CannotAlter", True)
    assert "Cannot transcode" in error.message


def test_a_damaged_file_is_refused_without_telling_its_values() -> None:
    class Damaged(Orthanc):
        def ask_bytes(self, path: str, body: Any, timeout: float = 60.0) -> bytes:
            return b"Featherstone^Jane"

    error = refused(Damaged())
    assert (error.code, error.permanent) == ("CannotAlter", True)
    assert "Featherstone" not in error.message


@pytest.mark.parametrize("lack", [MemoryError(), OSError(24, "Too many open files")])
def test_what_this_machine_lacks_for_a_moment_is_no_refusal(lack: Exception) -> None:
    class Lacking(Orthanc):
        def ask_bytes(self, path: str, body: Any, timeout: float = 60.0) -> bytes:
            raise lack

    error = refused(Lacking())
    assert (error.code, error.permanent) == ("InternalError", False)


def test_a_database_that_does_not_tell_the_key_is_no_refusal() -> None:
    class AwayError(Exception):
        """What a database raises."""

    def key() -> bytes:
        raise AwayError

    with pytest.raises(AwayError):  # a passing error for those who send
        Renderer(Orthanc(), key).render(instance(1), ANONYMOUS)


def test_an_instance_that_would_take_all_memory_is_refused_unread_and_told_what_to_do() -> None:
    orthanc = Orthanc()
    size = LARGEST + 1
    error = Renderer(orthanc, lambda: KEY).render(instance(1, size=size), ANONYMOUS)
    assert isinstance(error, SendError)
    assert (error.code, error.permanent) == ("TooLargeToAlter", True)
    assert "has 1.0 GB" in error.message
    assert "without Modify, Anonymize and Transcode" in error.message
    assert orthanc.calls == []


@pytest.mark.parametrize(("size", "at_once"), [(LARGE, 2), (LARGE + 1, 1)])
def test_large_copies_are_made_one_at_a_time(size: int, at_once: int) -> None:
    class Counting(Orthanc):
        """Keeps whoever asks for a file until `at_once` do, and for a moment longer."""

        def __init__(self) -> None:
            super().__init__()
            self.together = threading.Barrier(at_once)
            self.inside = self.most = 0
            self.lock = threading.Lock()

        def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            self.together.wait(LIMIT)
            file = super().get_bytes(path)
            with self.lock:
                self.inside -= 1
            return file

    orthanc = Counting()
    renderer = Renderer(orthanc, lambda: KEY)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda number: renderer.render(instance(number, size=size), ANONYMOUS), (1, 2)))
    assert all(isinstance(each, bytes) for each in made)
    assert orthanc.most == at_once


# --- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_is_random_and_outlives_a_restart(open_store: Callable[[str], Store]) -> None:
    key = open_store("here").secret.key()
    assert len(key) == 32
    assert open_store("here").secret.key() == key
    with session(open_store("here").database):
        Meta.delete().where(Meta.key == NAME).execute()
    assert open_store("here").secret.key() != key


# --- on the way ------------------------------------------------------------------------------------------------------


class Way:
    """A kind of destination that keeps what it is handed."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.asked: list[Instance] = []

    def submit(self, _destination: Destination, _instances: Sequence[Instance]) -> str:
        return "orthanc's job"

    def try_one(self, _destination: Destination, _instance: Instance) -> SendError | None:
        raise AssertionError("the original")

    def send_file(self, _destination: Destination, file: bytes) -> SendError | None:
        self.files.append(file)
        return None

    def find(self, _destination: Destination, instances: Sequence[Instance], _wait: Wait) -> set[str]:
        self.asked = [*instances]
        return {instances[0].sop_instance_uid}

    commit = find


def on_the_way(orthanc: FakeOrthanc, ended: Ended) -> tuple[TransportsByKind, Way]:
    way: Any = Way()
    own = OwnJobs(ended)
    return TransportsByKind(way, {Kind.MODALITY: way}, own, Renderer(orthanc, lambda: KEY)), way


def test_copies_are_sent_as_files_by_a_job_of_our_own() -> None:
    ended = Ended()
    transport, way = on_the_way(Orthanc(), ended)
    job_id = transport.submit(destination(alteration=ANONYMOUS), [instance(1), instance(2)])
    assert ended.next() == (job_id, JobState.SUCCESS)
    assert transport.try_one(destination(alteration=ANONYMOUS), instance(3)) is None
    assert len(way.files) == 3
    assert not any(b"Featherstone" in file for file in way.files)
    assert transport.submit(destination(), [instance(1)]) == "orthanc's job"


@pytest.mark.parametrize("ask", ["find", "commit"])
def test_a_destination_is_asked_for_copies_by_the_uids_that_they_have_there(ask: str) -> None:
    orthanc = Orthanc()
    stored = [orthanc.receive("s"), orthanc.receive("s")]
    asked = [instance(number, "s", id=each, series_id="s-a") for number, each in enumerate(stored)]
    transport, way = on_the_way(orthanc, Ended())
    found = getattr(transport, ask)(destination(alteration=ANONYMOUS), asked, lambda _: False)
    assert found == {asked[0].sop_instance_uid}
    stands_for = Renderer(orthanc, lambda: KEY).pseudonyms(ANONYMOUS).uid
    assert [each.sop_instance_uid for each in way.asked] == [
        stands_for(each.sop_instance_uid, UidKind.INSTANCE) for each in asked
    ]
    assert {each.study_instance_uid for each in way.asked} == {stands_for("1.2.s", UidKind.STUDY)}
    assert {each.series_instance_uid for each in way.asked} == {stands_for("1.2.s-a", UidKind.SERIES)}
