# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a destination really has what it accepted: `Counted` asks it by C-FIND, `Committed` by storage commitment.

Only the receiver can prove completeness: C-STORE says that an instance was taken, not that it was kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination, Verify
from dicom_router.transports.transport import Transport

# An archive may index what it accepted only some seconds later.
LOOK_AGAIN_AFTER = (0.5, 2.0, 5.0)  # seconds


@dataclass(frozen=True)
class Verification:
    """What the destination says: the instances that it lacks, or why it could not be asked.

    `unasked`: Orthanc no longer knows what to ask for.
    """

    missing: tuple[Instance, ...] = ()
    error: SendError | None = None
    unasked: bool = False


def verify(
    transport: Transport,
    destination: Destination,
    expected: Sequence[Instance],
    wait: Callable[[float], bool],
) -> Verification:
    """Ask `destination` for `expected`. `wait` pauses for seconds and answers True when the router stops. Blocks."""
    ask = transport.commit if destination.verify is Verify.COMMITTED else transport.find
    found = ask(destination, expected, wait)
    for pause in LOOK_AGAIN_AFTER:
        if isinstance(found, SendError) or not _missing(expected, found) or wait(pause):
            break
        found = ask(destination, expected, wait)
    if isinstance(found, SendError):
        return Verification(error=found)
    return Verification(_missing(expected, found))


def _missing(expected: Sequence[Instance], found: set[str]) -> tuple[Instance, ...]:
    return tuple(instance for instance in expected if instance.sop_instance_uid not in found)


def not_kept() -> SendError:
    """The destination accepted an instance twice and still does not have it."""
    return SendError.refusal("NotKept", "The destination accepted the instance, twice, and does not have it.")
