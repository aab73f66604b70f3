# SPDX-License-Identifier: AGPL-3.0-or-later
"""One delivery for several rules that send the same to the same destination. Pure."""

import json
from dataclasses import replace

from dicom_router.deliveries.alternates import CHOICES, Alternates, read_alternates
from dicom_router.deliveries.delivery import NewDelivery


def with_twin(made: NewDelivery, twin: NewDelivery) -> NewDelivery | None:
    """`made`, which brings what `twin` would, with what both promise; None when one delivery cannot keep that.

    Where one of them is of a `FirstOf` and the other is not, the other still goes there when somebody took over.
    """
    mine, others = _alternates(made), _alternates(twin)
    if (mine or others) and made.subject.resource_id != twin.subject.resource_id:
        return None  # whoever takes over would get more or less than is meant for it
    if mine and others and mine.members != others.members:
        return None
    if mine and others:
        also = mine.and_when_back or others.and_when_back
        chosen = replace(mine, and_when_back=also, options=_also_chosen(mine.options, twin))
        return replace(made, options=_also_chosen(made.options, twin), alternates=chosen.to_text())
    if others:
        # Not named as its choice: until somebody takes over, that is the first member as it is.
        return replace(made, alternates=replace(others, and_when_back=True).to_text(), failover_at=twin.failover_at)
    alternates = replace(mine, and_when_back=True).to_text() if mine else ""
    return replace(made, options=_also_chosen(made.options, twin), alternates=alternates)


def _alternates(new: NewDelivery) -> Alternates | None:
    """They say whose they are: the delivery may come to be for others as well."""
    found = read_alternates(new.alternates)
    if found is None or found.rule:
        return found
    return replace(found, rule=new.rule, rule_version=new.rule_version, options=new.options)


def _also_chosen(options: str, twin: NewDelivery) -> str:
    read, new = json.loads(options), json.loads(twin.options).get(CHOICES, [])
    choices = [*read.get(CHOICES, []), *(each for each in new if each not in read.get(CHOICES, []))]
    return json.dumps(read | {CHOICES: choices}) if choices else options
