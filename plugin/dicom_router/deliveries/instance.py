# SPDX-License-Identifier: AGPL-3.0-or-later
"""An instance as a delivery sees it, and its fingerprint in the ledger."""

from dataclasses import dataclass
from hashlib import blake2b

DIGEST_BYTES = 16  # two of a study's instances share a fingerprint with a probability below 1e-29


@dataclass(frozen=True)
class Instance:
    """One stored instance. `revision` changes when Orthanc overwrites its content (the attachment's UUID)."""

    id: str
    revision: str
    series_id: str
    study_id: str
    sop_instance_uid: str
    size: int  # bytes
    remote_aet: str = ""  # who sent it here
    sop_class_uid: str = ""
    series_instance_uid: str = ""  # of a copy, as its destination knows it; else empty
    study_instance_uid: str = ""  # likewise

    @property
    def digest(self) -> bytes:
        """The fingerprint of this instance with this content: 16 bytes."""
        return blake2b(f"{self.id}:{self.revision}".encode(), digest_size=DIGEST_BYTES).digest()
