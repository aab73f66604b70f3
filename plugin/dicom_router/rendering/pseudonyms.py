# SPDX-License-Identifier: AGPL-3.0-or-later
"""UIDs and patient IDs that stand for others: the same for the same original, and not to be reversed without the key.

Pure. So instances that come late join the study of the first ones, and nothing needs to be remembered for that.
"""

import hmac
import uuid
from base64 import b32encode
from dataclasses import dataclass

from dicom_router.alteration import Alteration
from dicom_router.rendering.uids import Kind, kind_of

WELL_KNOWN = "1.2.840.10008."  # the UIDs of DICOM itself; they identify nobody
PATIENT_ID_LENGTH = 16  # of 32 letters and digits: two of a million patients share one with a probability below 1e-12


@dataclass(frozen=True)
class Pseudonyms:
    """Of one alteration. Modified and anonymised copies of a study share none, or one would tell whose the other is."""

    key: bytes
    alteration: Alteration

    def uid(self, uid: str, kind: Kind) -> str:
        """What stands for a UID in the copy; the UID itself where that is kept."""
        if not uid or uid.startswith(WELL_KNOWN) or not self._replaces(kind):
            return uid
        digest = self._digest(f"{self._scope(kind)} {uid}")
        # DICOM PS3.5 B.2: a UUID as one decimal number is a UID below 2.25. Version 5: "made by a hash of a name".
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"

    def patient_id(self, patient_id: str) -> str:
        """What stands for a PatientID."""
        return b32encode(self._digest(f"patient {patient_id}")).decode()[:PATIENT_ID_LENGTH]

    def patient_name(self, patient_id: str) -> str:
        """What stands for the name of the patient with that ID."""
        return f"Anonymized^{self.patient_id(patient_id)[:8]}"

    def _replaces(self, kind: Kind) -> bool:
        if self.alteration.method is None:  # of a copy that is only compressed: what a lossy one must not share
            return kind is Kind.INSTANCE and self.alteration.lossy
        if kind in (Kind.FRAME, Kind.OTHER) and not self.alteration.anonymous:
            return False
        kept = self.alteration.spec.get("Keep")
        return not (isinstance(kept, list) and any(kind_of(str(name)) is kind for name in kept))

    def _scope(self, kind: Kind) -> str:
        # Images that lost something are other instances than those that did not; their study is the same.
        lossy = f" {self.alteration.transcode}" if self.alteration.lossy and kind is Kind.INSTANCE else ""
        return f"{self.alteration.method or 'transcode'}{lossy}"

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self.key, text.encode(), "sha256")
