# SPDX-License-Identifier: AGPL-3.0-or-later
"""DICOM files as bytes: what Orthanc answers in, what is sent out. Pure."""

from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, config, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.multival import MultiValue

from dicom_router.alteration import Alteration
from dicom_router.rendering.disguise import disguise
from dicom_router.rendering.leftovers import refuse_leftovers, strike_out
from dicom_router.rendering.pseudonyms import Pseudonyms
from dicom_router.transfer_syntaxes import SYNTAXES

TRAILING_PADDING = 0xFFFCFFFC
# What a file holds that its VR does not allow stays as it is; and no value is told in a warning of pydicom.
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE


@dataclass(frozen=True)
class Head:
    """What a file says of itself."""

    transfer_syntax: str
    sop_instance_uid: str
    has_pixels: bool


def head_of(file: bytes) -> Head:
    """Reads no more than it must."""
    read = dcmread(BytesIO(file), defer_size=1024, specific_tags=["SOPInstanceUID", "PixelData"])
    return Head(str(read.file_meta.TransferSyntaxUID), str(read.get("SOPInstanceUID", "")), "PixelData" in read)


def disguised(altered: bytes, original: bytes, pseudonyms: Pseudonyms) -> bytes:
    """What Orthanc has altered, with pseudonyms. Raises StillIdentifyingError."""
    alteration = pseudonyms.alteration
    copy, source = dcmread(BytesIO(altered)), dcmread(BytesIO(original), stop_before_pixels=True)
    replaced = disguise(copy, source, pseudonyms)
    if alteration.anonymous:
        strike_out(copy, source, replaced, alteration)
    if alteration.lossy and source.file_meta.TransferSyntaxUID != alteration.transcode:
        _tell_loss(copy, alteration, len(original))
        if "SourceImageSequence" in copy and "SourceImageSequence" not in source:
            del copy.SourceImageSequence  # it names what Orthanc made in between
    written = _written(copy)
    if alteration.anonymous and alteration.spec.get("KeepPrivateTags") is not True:
        refuse_leftovers(written[: len(written) - _pixel_bytes(copy)], replaced)
    return written


def compressed(transcoded: bytes, size: int, uid: str, alteration: Alteration) -> bytes:
    """An image that has lost something, under a SOP Instance UID of its own; `size` in bytes is the original file's."""
    copy = dcmread(BytesIO(transcoded))
    copy.SOPInstanceUID = uid
    _tell_loss(copy, alteration, size)
    return _written(copy)


def _tell_loss(copy: Dataset, alteration: Alteration, size: int) -> None:
    """PS3.3 C.7.6.1.1.5: an image that has lost something once says so for ever. DCMTK writes most of it, GDCM none."""
    if "PixelData" not in copy:
        return
    if copy.get("LossyImageCompression") != "01" or "LossyImageCompressionMethod" not in copy:
        copy.LossyImageCompression = "01"
        copy.LossyImageCompressionRatio = f"{max(1.0, size / max(1, _pixel_bytes(copy))):.2f}"
        copy.LossyImageCompressionMethod = SYNTAXES[alteration.transcode].method
    kind = copy.get("ImageType")
    copy.ImageType = ["DERIVED", *(kind[1:] if isinstance(kind, MultiValue) else ["SECONDARY"])]


def _written(copy: FileDataset) -> bytes:
    """A new file: the meta information of the old one may tell who sent it here."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = copy.get("SOPClassUID", copy.file_meta.get("MediaStorageSOPClassUID", ""))
    meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    meta.TransferSyntaxUID = copy.file_meta.TransferSyntaxUID
    copy.file_meta, copy.preamble = meta, bytes(128)
    if TRAILING_PADDING in copy:
        del copy[TRAILING_PADDING]
    out = BytesIO()
    copy.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _pixel_bytes(copy: Dataset) -> int:
    return len(copy.PixelData or b"") if "PixelData" in copy else 0
