# SPDX-License-Identifier: AGPL-3.0-or-later
"""Before an attempt: which instances of the resource the destination still lacks."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_router.deliveries.delivery import Delivery
from dicom_router.deliveries.instance import Instance, content_mark
from dicom_router.destination import Destination
from dicom_router.dispatch.outside import Visible
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.store.ledger import Ledger
from dicom_router.studies.instances import list_instances
from dicom_router.studies.selection import Chosen


@dataclass(frozen=True)
class Prepared:
    """What an attempt has to send; `found` is how many instances the resource has at all.

    `content`: the mark of what the destination has afterwards.
    """

    unsent: list[Instance]
    found: int
    content: str


def accepted_instances(rest: OrthancRest, ledger: Ledger, delivery: Delivery) -> list[Instance]:
    """The instances of the resource that the destination is known to have accepted. Raises OrthancError."""
    instances = list_instances(rest, delivery.level, delivery.resource_id)
    studies = {instance.study_id for instance in instances}
    accepted = {digest for study_id in studies for digest in ledger.accepted(study_id, delivery.destination)}
    return [instance for instance in instances if instance.digest in accepted]


def prepare(visible: Visible, ledger: Ledger, delivery: Delivery, destination: Destination, listed: Chosen) -> Prepared:
    """Compare what was listed with the ledger; what came from the destination itself is not sent back there."""
    instances = visible(delivery, listed.instances)
    found = len(instances) if delivery.results_of else listed.found
    known: set[bytes] = set()
    for study_id in {instance.study_id for instance in instances}:
        if delivery.renew:
            again = {instance.digest for instance in instances if instance.study_id == study_id}
            ledger.forget(study_id, delivery.destination, again)
        known |= ledger.accepted(study_id, delivery.destination)
        known |= ledger.refused(study_id, delivery.destination)
    aet = destination.aet
    sendable = [each for each in instances if not (aet and each.remote_aet == aet)]
    unsent = [each for each in sendable if each.digest not in known]
    if destination.whole:
        unsent = _with_the_rest(ledger, destination, sendable, {each.study_id for each in unsent})
    return Prepared(unsent, found, content_mark(sendable))


def _with_the_rest(
    ledger: Ledger, destination: Destination, sendable: Sequence[Instance], studies: set[str]
) -> list[Instance]:
    """All instances of these studies, one study after the other: what the destination has of them is made anew."""
    again = sorted((each for each in sendable if each.study_id in studies), key=lambda each: each.study_id)
    for study_id in studies:
        ledger.remove(study_id, destination.name, {each.digest for each in again if each.study_id == study_id})
    return again
