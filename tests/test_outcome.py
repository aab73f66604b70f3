# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc and destinations say about a failed send, and what the router makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError, classify, dimse_status

NETWORK = 9  # Orthanc, Enumerations.h: ErrorCode_NetworkProtocol
INTERNAL = -1
NO_CONTEXT = 2015
TRANSIENT, PERMANENT = ErrorClass.TRANSIENT, ErrorClass.PERMANENT
DESTINATION, ASSOCIATION, INSTANCE = Scope.DESTINATION, Scope.ASSOCIATION, Scope.INSTANCE

CONNECT = 'DicomAssociation - connecting to AET "ARCHIVE": '
STORE = 'DicomAssociation - C-STORE to AET "ARCHIVE": '
DCMTK = "Failed to establish association (0006:0317 Peer aborted Association (or never connected); 0006:031c TCP "

# As Orthanc 1.10.1 to 1.13 tell it (DicomAssociation.cpp, DicomStoreUserConnection.cpp), with DCMTK's texts inside.
TEXTS = [
    (NETWORK, CONNECT + "TCP Initialization Error", TRANSIENT, DESTINATION),
    (NETWORK, CONNECT + DCMTK + "Initialization Error: Connection refused)", TRANSIENT, DESTINATION),
    (NETWORK, CONNECT + DCMTK + "Initialization Error: No route to host)", TRANSIENT, DESTINATION),
    (NETWORK, CONNECT + "Peer aborted Association (or never connected)", TRANSIENT, DESTINATION),
    (NETWORK, CONNECT + "DUL Association Rejected", TRANSIENT, DESTINATION),
    (NETWORK, STORE + "Peer aborted Association (or never connected)", TRANSIENT, ASSOCIATION),
    (NETWORK, STORE + "DIMSE No data available (timeout in non-blocking mode)", TRANSIENT, ASSOCIATION),
    (NETWORK, STORE + "DIMSE Failed to send message", TRANSIENT, ASSOCIATION),
    (NETWORK, STORE + "DUL Network closed", TRANSIENT, ASSOCIATION),
    (NETWORK, 'C-STORE SCU to AET "ARCHIVE" has failed with DIMSE status 0xA700', TRANSIENT, INSTANCE),
    (NETWORK, 'C-STORE SCU to AET "ARCHIVE" has failed with DIMSE status 0xA9FF', PERMANENT, INSTANCE),
    (NETWORK, 'C-STORE SCU to AET "ARCHIVE" has failed with DIMSE status 0xC000', PERMANENT, INSTANCE),
    (NETWORK, 'C-STORE SCU to AET "ARCHIVE" has failed with DIMSE status 0x0122', TRANSIENT, INSTANCE),
    (NETWORK, "No valid presentation context was negotiated for SOP class UID [1.2] and transfer syntax [1.2] "
     "while sending to modality [ARCHIVE]", PERMANENT, INSTANCE),
    (NO_CONTEXT, "", PERMANENT, INSTANCE),
    (INTERNAL, "", TRANSIENT, INSTANCE),
    (INTERNAL, "Something that nobody has seen before", TRANSIENT, INSTANCE),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "error_class", "scope"), TEXTS, ids=[text[-50:] for _, text, _, _ in TEXTS])
def test_each_text_has_its_class_and_blames_the_right_one(
    code: int, text: str, error_class: ErrorClass, scope: Scope
) -> None:
    error = classify(code, text)
    assert (error.error_class, error.scope) == (error_class, scope)
    assert error.code
    assert error.message


# DICOM PS3.4 table B.2-1 and PS3.7 annex C; what is not there is transient.
STATUSES = [
    (0xA700, TRANSIENT),
    (0xA701, TRANSIENT),
    (0xA7FF, TRANSIENT),
    (0xA900, PERMANENT),
    (0xA9FF, PERMANENT),
    (0xC000, PERMANENT),
    (0xC123, PERMANENT),
    (0xCFFF, PERMANENT),
    (0x0122, TRANSIENT),
    (0x0110, TRANSIENT),
    (0x0124, TRANSIENT),
    (0x0210, TRANSIENT),
    (0xFE00, TRANSIENT),
]


@pytest.mark.parametrize(("status", "error_class"), STATUSES, ids=[f"{status:04X}" for status, _ in STATUSES])
def test_a_status_means_the_same_in_the_text_and_in_the_payload(status: int, error_class: ErrorClass) -> None:
    told = f'C-STORE SCU to AET "X" has failed with DIMSE status 0x{status:04X}'
    assert classify(NETWORK, told) == classify(NETWORK, "anything else", status)
    error = classify(NETWORK, told)
    assert (error.error_class, error.scope, error.code) == (error_class, INSTANCE, f"0x{status:04X}")
    assert f"0x{status:04X}" in error.message


def test_the_status_is_read_in_any_case_and_only_where_there_is_one() -> None:
    assert dimse_status("failed with DIMSE status 0xa700") == 0xA700
    assert dimse_status("failed with DIMSE status 0x122") == 0x0122
    assert dimse_status("Peer aborted Association") is None
    assert dimse_status("DIMSE status 0xC000", 0xA700) == 0xA700


@pytest.mark.parametrize("name", ["TIMEOUT", "NETWORK", "ABORTED", "DIMSE", "CLOSED"])
def test_the_name_of_a_destination_does_not_change_its_errors(name: str) -> None:
    text = f'DicomAssociation - connecting to AET "{name}": TCP Initialization Error'
    assert classify(NETWORK, text).scope is DESTINATION
    told = f'C-STORE SCU to AET "{name}" has failed with DIMSE status 0xC000'
    assert classify(NETWORK, told).permanent


@given(st.integers(-1, 3000), st.text(max_size=80), st.one_of(st.none(), st.integers(0, 0xFFFF)))
def test_whatever_is_told_has_a_class_and_a_code(code: int, details: str, status: int | None) -> None:
    error = classify(code, details, status)
    assert error.code
    assert error.message
    assert error.permanent == (error.error_class is PERMANENT)


def test_an_interrupted_send_blames_nobody_and_is_retried() -> None:
    error = SendError.interrupted()
    assert (error.error_class, error.scope) == (TRANSIENT, INSTANCE)
