# SPDX-License-Identifier: AGPL-3.0-or-later
"""DICOM files to send: synthetic studies, and the real ones that come with pydicom."""

import os
import random
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    generate_uid,
)
from pynetdicom.dsutils import split_dataset

SOP_CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "CR": ComputedRadiographyImageStorage,
    "US": UltrasoundImageStorage,
}
# No sender could encode these: cut off in the middle, or with an encapsulated fragment of odd length.
BROKEN = ("MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm")
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class Study:
    """A synthetic study on disk."""

    uid: str
    files: list[Path]
    sop_instance_uids: list[str]


def make_study(
    folder: Path,
    modality: str = "CT",
    series: int = 1,
    instances: int = 10,
    pixels: tuple[int, int] = (64, 64),
    **tags: object,
) -> Study:
    """Write a new study of `series` times `instances` files into `folder`, with fresh UIDs.

    `pixels` are of 16 bits: (512, 512) makes files of 0.5 MB. `tags` are DICOM keywords: `PatientID="7"`; a
    StudyInstanceUID given there makes late instances of that study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study = _study_template(modality, pixels)
    _set(study, tags)
    files: list[Path] = []
    uids: list[str] = []
    for series_number in range(1, series + 1):
        study.SeriesInstanceUID = generate_uid()
        study.SeriesNumber = str(series_number)
        for instance_number in range(1, instances + 1):
            uid = generate_uid()
            study.SOPInstanceUID = study.file_meta.MediaStorageSOPInstanceUID = uid
            study.InstanceNumber = str(instance_number)
            path = folder / f"{uid}.dcm"
            study.save_as(path, enforce_file_format=True)
            files.append(path)
            uids.append(str(uid))
    return Study(str(study.StudyInstanceUID), files, uids)


def texture(rows: int, columns: int, seed: int = 1) -> bytes:
    """Pixels of 12 bits that compress about as a CT does: a slope with noise. For `make_study(PixelData=…)`."""
    noise = random.Random(seed)
    values = (
        1000 + (row * 3 + column * 2) % 2000 + noise.getrandbits(5) for row in range(rows) for column in range(columns)
    )
    return array("H", values).tobytes()


def bundled_files(folder: Path) -> list[Path]:
    """Every storable DICOM file that is installed with pydicom, with a SOPInstanceUID that none of the others has.

    The data sets keep their bytes, but for the end of a SOPInstanceUID that comes again. Where the file does not fit
    the data set (its meta information names another instance; a deflated stream of odd length), `folder` gets a copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    files: list[Path] = []
    for path in sorted(Path(pydicom.__file__).parent.joinpath("data").rglob("*")):
        data_set = _storable(path)
        if data_set is None:
            continue
        uid = _unseen(str(data_set.SOPInstanceUID), seen)
        seen.add(uid)
        if uid == data_set.SOPInstanceUID == data_set.file_meta.MediaStorageSOPInstanceUID and not _is_odd(path):
            files.append(path)
        else:
            files.append(folder / f"{len(files)}-{path.name}")
            _write_copy(data_set, path, uid, files[-1])
    return files


def data_set_bytes(path: Path) -> bytes:
    """The encoded data set as it travels in a C-STORE: the file without preamble and file meta information."""
    return path.read_bytes()[split_dataset(path)[1] :]


def same_data_set(stored: bytes, received: bytes) -> bool:
    """Whether `received` is `stored`, byte for byte; DCMTK does not send the padding (FFFC,FFFC) at the end."""
    rest = stored[len(received) :]
    return stored.startswith(received) and rest[:4] in {b"", b"\xfc\xff\xfc\xff", b"\xff\xfc\xff\xfc"}


def _storable(path: Path) -> Dataset | None:
    if not path.is_file() or path.name in BROKEN:
        return None
    try:
        data_set = pydicom.dcmread(path)
    except InvalidDicomError:
        return None
    complete = "TransferSyntaxUID" in data_set.file_meta and all(data_set.get(keyword) for keyword in NEEDED)
    return data_set if complete else None


def _unseen(uid: str, seen: set[str]) -> str:
    """`uid`, or one of the same length that is not in `seen`."""
    candidates = (f"{uid[: -len(str(number))]}{number}" for number in range(1, 100))
    return uid if uid not in seen else next(candidate for candidate in candidates if candidate not in seen)


def _is_odd(path: Path) -> bool:
    return len(data_set_bytes(path)) % 2 == 1


def _write_copy(data_set: Dataset, source: Path, uid: str, copy: Path) -> None:
    old = str(data_set.SOPInstanceUID).encode()
    data = data_set_bytes(source)
    assert uid.encode() == old or data.count(old) == 1, f"the SOPInstanceUID of {source} comes more than once"
    data = data.replace(old, uid.encode())
    with copy.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        data_set.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        write_file_meta_info(DicomFileLike(file), data_set.file_meta)
        file.write(data + bytes(len(data) % 2))


def _study_template(modality: str, pixels: tuple[int, int]) -> Dataset:
    rows, columns = pixels
    sop_class = UID(SOP_CLASSES.get(modality, SecondaryCaptureImageStorage))
    study = Dataset()
    study.file_meta = FileMetaDataset()
    study.file_meta.MediaStorageSOPClassUID = sop_class
    study.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _set(
        study,
        {
            "SOPClassUID": sop_class,
            "StudyInstanceUID": generate_uid(),
            "PatientID": f"P{os.urandom(4).hex()}",
            "PatientName": "Doe^Jane",
            "PatientBirthDate": "19700101",
            "PatientSex": "F",
            "AccessionNumber": f"A{os.urandom(4).hex()}",
            "StudyID": "1",
            "StudyDate": "20260102",
            "StudyTime": "030405",
            "StudyDescription": f"Synthetic {modality}",
            "Modality": modality,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
        },
    )
    study.add_new("PixelData", "OW", bytes(rows * columns * 2))
    return study


def _set(data_set: Dataset, tags: Mapping[str, object]) -> None:
    for keyword, value in tags.items():
        setattr(data_set, keyword, value)
