# SPDX-License-Identifier: AGPL-3.0-or-later
"""An instance as a delivery sees it, and its fingerprint in the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"}  # little endian, implicit and explicit
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
    transfer_syntax: str = ""
    series_instance_uid: str = ""  # of a copy, as its destination knows it; else empty
    study_instance_uid: str = ""  # likewise

    @property
    def digest(self) -> bytes:
        """The fingerprint of this instance with this content: 16 bytes."""
        return blake2b(f"{self.id}:{self.revision}".encode(), digest_size=DIGEST_BYTES).digest()

    @property
    def context(self) -> tuple[str, str]:
        """Only instances of one context go to a destination by one job of Orthanc.

        Once an association has an uncompressed presentation context for a SOP class, Orthanc 1.12 and later proposes
        no other: it decompresses what comes, or fails where it has no decoder (measured with 1.12.7 and 1.13.0).
        """
        if self.transfer_syntax in UNCOMPRESSED or not self.transfer_syntax:
            return "", ""
        return self.sop_class_uid, self.transfer_syntax


def content_mark(instances: Iterable[Instance]) -> str:
    """A mark of just these instances with this content, in any order: 32 hexadecimal digits."""
    digests = sorted(instance.digest for instance in instances)
    return blake2b(b"".join(digests), digest_size=DIGEST_BYTES).hexdigest()
