# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why a destination rejects an association.

Orthanc says that it does, never why (DicomAssociation.cpp: "DUL Association Rejected"); the reason tells a passing
trouble from a wrong AE title, which no retry mends.
"""

from pynetdicom import AE
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError

VERIFICATION = "1.2.840.10008.1.1"  # the SOP class of C-ECHO (PS3.4 annex A)

# DICOM PS3.8 table 9-21, for the source "service-user".
SERVICE_USER = 1
REASONS = {
    3: ("CallingAetNotRecognized", 'It does not know the calling AE title "{calling}": it must be told there.'),
    7: ("CalledAetNotRecognized", 'It does not call itself "{called}": correct the AE title in DicomModalities.'),
}


def why_rejected(host: str, port: int, calling: str, called: str, timeout: float) -> SendError | None:
    """Ask for an association and read the rejection. None when there is no wrong AE title in it. Blocks."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(host, port, ae_title=called)
    if association.is_established:
        association.release()
        return None
    answer = association.acceptor.primitive if association.is_rejected else None
    return _told(answer, calling, called) if isinstance(answer, A_ASSOCIATE) else None


def _told(answer: A_ASSOCIATE, calling: str, called: str) -> SendError | None:
    if answer.result_source != SERVICE_USER or answer.diagnostic not in REASONS:
        return None
    code, text = REASONS[answer.diagnostic]
    message = f"The destination rejects the association. {text.format(calling=calling, called=called)}"
    return SendError(ErrorClass.PERMANENT, Scope.DESTINATION, code, message)
