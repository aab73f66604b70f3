# SPDX-License-Identifier: AGPL-3.0-or-later
"""Copies as bytes: pseudonyms at every depth, references that hold, and nothing left of whom they stand for."""

from collections.abc import Mapping
from io import BytesIO
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_router.alteration import Alteration, Method
from dicom_router.rendering.files import compressed, disguised, head_of
from dicom_router.rendering.leftovers import StillIdentifyingError
from dicom_router.rendering.pseudonyms import Pseudonyms
from dicom_router.rendering.uids import Kind

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
STUDY, SERIES, INSTANCE, IMAGE, FRAME = "1.9.100", "1.9.200", "1.9.300", "1.9.301", "1.9.400"
LOSSY = "1.2.840.10008.1.2.4.51"
RANDOM = "1.2.276.999"  # what Orthanc puts in


def anonymous(**spec: object) -> Alteration:
    return Alteration(Method.ANONYMIZE, spec)


def modified(**spec: object) -> Alteration:
    return Alteration(Method.MODIFY, spec)


def named(alteration: Alteration, key: bytes = KEY) -> Pseudonyms:
    return Pseudonyms(key, alteration)


def file_of(data_set: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    data_set.file_meta.SourceApplicationEntityTitle = "WHO_SENT_IT"
    out = BytesIO()
    data_set.save_as(out, enforce_file_format=True)
    return out.getvalue()


def item(**values: object) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, Sequence(value) if isinstance(value, list) and keyword.endswith("Sequence") else value)
    return made


def original(**values: object) -> Dataset:
    reference = item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=IMAGE)
    series = item(SeriesInstanceUID=SERIES, ReferencedSOPSequence=[reference])
    evidence = item(StudyInstanceUID=STUDY, ReferencedSeriesSequence=[series])
    base: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": INSTANCE,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "FrameOfReferenceUID": FRAME,
        "PatientID": "ID-12345",
        "PatientName": "Featherstone^Jane",
        "StudyDate": "20260117",
        "Modality": "SR",
        "CurrentRequestedProcedureEvidenceSequence": [evidence],
    }
    return item(**{**base, **values})


def altered(source: Dataset, **changes: object) -> Dataset:
    """As Orthanc leaves it: UIDs at random, patient and dates gone in the data set itself."""
    copy = dcmread(BytesIO(file_of(source)))
    for element in copy.iterall():
        if element.VR == "UI" and not str(element.value).startswith("1.2.840."):
            element.value = RANDOM
    copy.PatientID, copy.PatientName, copy.StudyDate = "random", "Anonymized1", ""
    for keyword, value in changes.items():
        setattr(copy, keyword, value)
    return copy


def made(source: Dataset, alteration: Alteration, changes: Mapping[str, object] | None = None) -> Dataset:
    """The copy that is sent."""
    copy = altered(source, **(changes or {}))
    return dcmread(BytesIO(disguised(file_of(copy), file_of(source), named(alteration))))


# --- pseudonyms ------------------------------------------------------------------------------------------------------


@given(st.text(alphabet="0123456789.", min_size=1, max_size=64), st.sampled_from([*Kind]))
def test_a_pseudonymous_uid_is_a_valid_uid_and_always_the_same(uid: str, kind: Kind) -> None:
    stands_for_it = named(anonymous()).uid(f"9{uid}", kind)
    assert UID(stands_for_it).is_valid
    assert stands_for_it.startswith("2.25.")
    assert stands_for_it == named(anonymous(Keep=["StudyDescription"])).uid(f"9{uid}", kind)


def test_without_the_key_nobody_makes_the_same_pseudonyms() -> None:
    mine, theirs = named(anonymous()), named(anonymous(), OTHER_KEY)
    assert mine.uid(STUDY, Kind.STUDY) != theirs.uid(STUDY, Kind.STUDY)
    assert mine.patient_id("1") != theirs.patient_id("1")


def test_a_modified_and_an_anonymised_copy_share_no_uid() -> None:
    """Or one that has the name would tell whose the other is."""
    assert named(anonymous()).uid(STUDY, Kind.STUDY) != named(modified()).uid(STUDY, Kind.STUDY)


def test_what_is_well_known_stays() -> None:
    assert named(anonymous()).uid(CTImageStorage, Kind.OTHER) == CTImageStorage


@pytest.mark.parametrize(
    ("alteration", "replaced"),
    [
        (anonymous(), {*Kind}),
        (anonymous(Keep=["StudyInstanceUID"], Force=True), {*Kind} - {Kind.STUDY}),
        (anonymous(Keep=["FrameOfReferenceUID"]), {*Kind} - {Kind.FRAME}),
        (modified(), {Kind.STUDY, Kind.SERIES, Kind.INSTANCE}),
        (modified(Keep=["0008,0018"], Force=True), {Kind.STUDY, Kind.SERIES}),
        (Alteration(transcode="1.2.840.10008.1.2.4.80"), set()),
        (Alteration(transcode=LOSSY), {Kind.INSTANCE}),
    ],
)
def test_what_gets_another_uid(alteration: Alteration, replaced: set[Kind]) -> None:
    assert {kind for kind in Kind if named(alteration).uid("1.9.1", kind) != "1.9.1"} == replaced


def test_a_lossy_copy_is_another_instance_of_the_same_study() -> None:
    plain, lossy = named(anonymous()), named(Alteration(Method.ANONYMIZE, {}, LOSSY))
    assert plain.uid(STUDY, Kind.STUDY) == lossy.uid(STUDY, Kind.STUDY)
    assert plain.uid(INSTANCE, Kind.INSTANCE) != lossy.uid(INSTANCE, Kind.INSTANCE)


# --- the copy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_uids_are_pseudonyms_of_the_original_ones_at_every_depth(syntax: UID) -> None:
    source = original()
    file = disguised(file_of(altered(source), syntax), file_of(source, syntax), named(anonymous()))
    copy, stands_for = dcmread(BytesIO(file)), named(anonymous()).uid
    assert copy.SOPInstanceUID == copy.file_meta.MediaStorageSOPInstanceUID == stands_for(INSTANCE, Kind.INSTANCE)
    assert copy.FrameOfReferenceUID == stands_for(FRAME, Kind.FRAME)
    (evidence,) = copy.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert evidence.StudyInstanceUID == copy.StudyInstanceUID == stands_for(STUDY, Kind.STUDY)
    assert series.SeriesInstanceUID == copy.SeriesInstanceUID == stands_for(SERIES, Kind.SERIES)
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPClassUID == CTImageStorage
    assert reference.ReferencedSOPInstanceUID == stands_for(IMAGE, Kind.INSTANCE)
    assert RANDOM.encode() not in file


def test_a_reference_to_the_study_is_kept_with_the_study_however_it_is_written() -> None:
    """RT structure sets refer to their study as to an instance."""
    reference = item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=STUDY)
    source = original(ReferencedStudySequence=[reference])
    copy = made(source, modified(Keep=["StudyInstanceUID"], Force=True))
    assert copy.StudyInstanceUID == copy.ReferencedStudySequence[0].ReferencedSOPInstanceUID == STUDY
    assert copy.SOPInstanceUID != INSTANCE


def test_several_uids_in_one_element_are_all_replaced() -> None:
    source = original(RelatedGeneralSOPClassUID=["1.9.5", "1.9.6"], IrradiationEventUID=["1.9.7", "1.9.8"])
    copy = made(source, anonymous(), {"IrradiationEventUID": ["1.2.1", "1.2.2"], "RelatedGeneralSOPClassUID": "1.9.5"})
    assert list(copy.IrradiationEventUID) == [named(anonymous()).uid(uid, Kind.OTHER) for uid in ("1.9.7", "1.9.8")]


def test_the_same_patient_is_the_same_pseudonymous_person() -> None:
    one, two = made(original(), anonymous()), made(original(SOPInstanceUID="1.9.302"), anonymous())
    other = made(original(PatientID="ID-99999"), anonymous())
    assert (one.PatientID, one.PatientName) == (two.PatientID, two.PatientName)
    assert one.PatientID != other.PatientID
    assert one.PatientID not in {"random", "ID-12345"}


def test_patients_without_an_id_are_not_one_person() -> None:
    one, two = original(PatientID=""), original(PatientID="", StudyInstanceUID="1.9.101")
    assert made(one, anonymous()).PatientID != made(two, anonymous()).PatientID


def test_what_the_rule_replaces_or_keeps_stays_so() -> None:
    wanted = anonymous(Replace={"PatientID": "S-1"}, Keep=["PatientName", "StudyDate"], Force=True)
    copy = made(original(), wanted, {"PatientID": "S-1", "StudyDate": "20260117"})
    assert (copy.PatientID, copy.PatientName, copy.StudyDate) == ("S-1", "Featherstone^Jane", "20260117")


def test_a_sequence_that_the_rule_replaces_is_as_the_rule_says() -> None:
    reference = item(ReferencedSOPInstanceUID="1.7.7")
    source = original(ReferencedStudySequence=[item(ReferencedSOPInstanceUID=STUDY)])
    replaced = modified(Replace={"ReferencedStudySequence": [{"ReferencedSOPInstanceUID": "1.7.7"}]})
    copy = made(source, replaced, {"ReferencedStudySequence": Sequence([reference])})
    assert copy.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.7.7"


def test_names_ids_and_dates_are_struck_out_of_what_the_profile_keeps() -> None:
    content = [
        item(ValueType="PNAME", PersonName="Featherstone^Jane"),
        item(ValueType="PNAME", PersonName="Zhivago^Yuri"),
        item(ValueType="TEXT", TextValue="Ms Featherstone (ID-12345), seen on 20260117, study 1.9.100."),
        item(ValueType="DATE", Date="20260117"),
        item(ValueType="DATETIME", DateTime="20260117101500"),
        item(ValueType="CODE", ConceptCodeSequence=[item(CodeValue="T-1", CodeMeaning="Liver")]),
    ]
    source = original(ContentSequence=content, PatientComments="of 20260117", OperatorsName="Zhivago^Yuri")
    copy = made(source, anonymous(Keep=["ContentSequence"]))
    mine, theirs, text, date, moment, code = copy.ContentSequence
    assert (mine.PersonName, theirs.PersonName, copy.OperatorsName) == ("Anonymized",) * 3
    assert text.TextValue == "Ms *** (***), seen on ***, study ***."
    assert (date.Date, moment.DateTime, copy.PatientComments) == ("", "", "of ***")
    assert code.ConceptCodeSequence[0].CodeMeaning == "Liver"


def raw_element(tag: int, vr: str, value: bytes, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    number = pack("<HH", tag >> 16, tag & 0xFFFF)
    if syntax == ImplicitVRLittleEndian:
        return number + pack("<L", len(value)) + value
    return number + vr.encode() + pack("<H", len(value)) + value


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("alteration", [anonymous(), modified()])
def test_a_number_of_the_wrong_length_is_left_as_it_is(alteration: Alteration, syntax: UID) -> None:
    """Vendors write such elements."""
    wrong = [(0x00189087, "FD", bytes(4)), (0x00189219, "SS", b"\1\2\3"), (0x00280106, "US", b"\1\2\3")]
    elements = [raw_element(*each, syntax) for each in wrong]
    odd = b"".join(elements)
    source = original()
    file = disguised(file_of(altered(source), syntax) + odd, file_of(source, syntax) + odd, named(alteration))
    assert all(each in file for each in elements)
    assert b"Featherstone" not in file


def test_an_identifying_element_that_cannot_be_decoded_is_not_taken_for_replaced() -> None:
    """What it says may stand elsewhere too."""
    source = original(PatientComments="of Featherstone")
    files = file_of(altered(source)), file_of(source) + raw_element(0x00101000, "US", b"\1\2\3")
    with pytest.raises(BytesLengthException):
        disguised(*files, named(anonymous()))


def test_a_nested_patient_is_a_pseudonymous_one() -> None:
    source = original(ReferencedPatientSequence=[item(PatientID="ID-12345", PatientName="Featherstone^Jane")])
    (patient,) = made(source, anonymous()).ReferencedPatientSequence
    copy = made(source, anonymous())
    assert (patient.PatientID, patient.PatientName) == (copy.PatientID, copy.PatientName)


def test_who_sent_the_original_is_not_told() -> None:
    source = original()
    file = disguised(file_of(altered(source)), file_of(source), named(anonymous()))
    assert b"WHO_SENT_IT" not in file


def test_an_instance_with_an_original_uid_left_is_not_sent() -> None:
    source = original(StudyInstanceUID="1.9.1000000000001")
    copy = altered(source)
    copy.add_new(0x00111001, "OB", b"csa header 1.9.1000000000001 ")
    with pytest.raises(StillIdentifyingError):
        disguised(file_of(copy), file_of(source), named(anonymous()))
    kept = named(anonymous(KeepPrivateTags=True))
    assert b"1.9.1000000000001" in disguised(file_of(copy), file_of(source), kept)


def test_a_modified_copy_keeps_what_the_rule_does_not_name() -> None:
    source = original(ContentDate="20260118")
    unchanged = {"PatientID": "ID-12345", "PatientName": "Featherstone^Jane", "StudyDate": "20260117"}
    copy = made(source, modified(Replace={"InstitutionName": "Clinic"}), {"InstitutionName": "Clinic", **unchanged})
    assert (copy.PatientID, copy.PatientName, copy.InstitutionName) == ("ID-12345", "Featherstone^Jane", "Clinic")
    assert (copy.FrameOfReferenceUID, copy.ContentDate) == (FRAME, "20260118")
    assert copy.StudyInstanceUID == named(modified()).uid(STUDY, Kind.STUDY)


def test_a_lossy_copy_tells_that_it_has_lost_something() -> None:
    image = original(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    image.add_new(0x7FE00010, "OB", bytes(100))
    copy = dcmread(BytesIO(compressed(file_of(image), 1000, "2.25.1", Alteration(transcode=LOSSY))))
    assert copy.SOPInstanceUID == copy.file_meta.MediaStorageSOPInstanceUID == "2.25.1"
    assert (copy.LossyImageCompression, copy.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(copy.LossyImageCompressionRatio) == 10.0
    assert list(copy.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]


def test_the_head_of_a_file_tells_whether_it_is_an_image() -> None:
    report = original()
    assert head_of(file_of(report)) == head_of(file_of(report))
    assert (head_of(file_of(report)).has_pixels, head_of(file_of(report)).sop_instance_uid) == (False, INSTANCE)
    report.add_new(0x7FE00010, "OB", bytes(5000))
    assert head_of(file_of(report)).has_pixels
