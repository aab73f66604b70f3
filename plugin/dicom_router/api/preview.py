# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/rules-preview: what a rule would do, before it is saved."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from dicom_router.api.http import Call, Endpoint, HttpError, not_found, orthanc_id
from dicom_router.api.preview_schemas import (
    DifferenceAnswer,
    PreviewAnswer,
    PreviewBody,
    PreviewItemAnswer,
    PreviewSendAnswer,
)
from dicom_router.api.services import Services
from dicom_router.api.status import answers
from dicom_router.api.warnings import RuleWarnings, among
from dicom_router.destination import Destination
from dicom_router.intake.settling import PAGE
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.routing.outlook import Look, Sending
from dicom_router.routing.routing import Routing
from dicom_router.rules.decision import decide
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.given import unread_tags
from dicom_router.rules.rule import Rule
from dicom_router.rules.wording import sentence
from dicom_router.studies.study import ResourceFacts, exists

YEARS = range(1900, 9001)  # of the moment at which tags are looked at; time zones need room at the ends
MOST_PAGES = 500  # of the change log
Change = Literal["NoLonger", "New", "Otherwise"]
CHANGES: dict[Change, str] = {
    "NoLonger": "{} would no longer go to {}.",
    "New": "{} would go to {} too.",
    "Otherwise": "{} would go to {} with other instances.",
}
Found = tuple[list[PreviewItemAnswer], list[DifferenceAnswer]]
Reach = dict[str, set[str]]  # label of a destination -> the instances that go there


class PreviewRoutes:
    """A dry run."""

    def __init__(self, services: Services, rule_warnings: RuleWarnings) -> None:
        self._services = services
        self._rule_warnings = rule_warnings

    def endpoints(self) -> list[Endpoint]:
        """The route."""
        summary = "What a rule would do"
        return [
            Endpoint(
                "POST", "/rules-preview", summary, self.preview, PreviewAnswer, PreviewBody, errors=(400, 404, 503)
            )
        ]

    def preview(self, call: Call) -> PreviewAnswer:
        """On tags, on chosen studies, or on the last ones; nothing is written and nothing is sent."""
        body: PreviewBody = call.body
        if sum(each is not None for each in (body.studies, body.last, body.tags)) != 1:
            raise HttpError(400, 'Say exactly one of "Studies", "Last" and "Tags".')
        if body.now is not None and body.tags is None:
            raise HttpError(400, '"Now" goes with "Tags" only.')
        if body.now is not None and body.now.year not in YEARS:
            raise HttpError(400, f'The year of "Now" must be {YEARS.start} to {YEARS.stop - 1}.')
        rule = self._rule(body.rule)
        if body.tags is not None:
            now = body.now or datetime.fromtimestamp(self._services.clock(), UTC)
            items, differences = self._on_tags(rule, body.tags, now.astimezone(self._services.zone))
        else:
            items, differences = self._on_studies(rule, self._studies(body))
        warnings = self._rule_warnings.of(among(self._services.shelf.all(), {rule.name: rule}))[rule.name]
        return PreviewAnswer(
            rule=rule.name,
            matched=sum(item.matched for item in items),
            items=items,
            difference=differences,
            sentences=[each.sentence for each in differences],
            warnings=answers(warnings),
        )

    def _rule(self, body: Mapping[str, Any]) -> Rule:
        parser = self._services.rule_parser()
        rule = parser.rule({"Name": "Preview", **body}, "Rule")
        if rule is None:
            raise HttpError(400, "The rule has problems.", parser.problems)
        return rule

    def _on_tags(self, rule: Rule, tags: Mapping[str, object], now: datetime) -> Found:
        unread = [*unread_tags(tags, "Tags")]
        if unread:
            raise HttpError(400, "The tags cannot be read.", unread)
        (verdict,) = decide([rule], TagFacts(tags), now).verdicts
        told, sends = verdict.to_json(), rule.sends if verdict.matched else ()
        item = PreviewItemAnswer(
            matched=verdict.matched,
            sentence=sentence(told),
            verdicts=[told],
            send=[PreviewSendAnswer(destination=send.label, instances_count=0) for send in sends],
        )
        return [item], []

    # Studies

    def _studies(self, body: PreviewBody) -> list[str]:
        if body.studies is not None:
            return [orthanc_id(each, "study") for each in body.studies]
        return newest_studies(self._services.need_engine().routing.rest, body.last or 0)

    def _on_studies(self, rule: Rule, studies: Sequence[str]) -> Found:
        active = self._services.shelf.all()
        changed = among(active, {rule.name: rule})
        items: list[PreviewItemAnswer] = []
        before: dict[str, Reach] = {}
        after: dict[str, Reach] = {}
        for study_id in studies:
            try:
                item, before[study_id], after[study_id] = self._on_study(rule, study_id, active, changed)
            except OrthancError as problem:
                if problem.not_found:
                    raise not_found(f"study {study_id[:64]}") from None
                raise HttpError(503, f"Orthanc could not be asked: {problem.details}") from None
            items.append(item)
        return items, [*_differences(before, after)]

    def _on_study(
        self, rule: Rule, study_id: str, active: Sequence[Rule], changed: Sequence[Rule]
    ) -> tuple[PreviewItemAnswer, Reach, Reach]:
        routing = self._services.need_engine().routing
        facts = ResourceFacts(routing.rest, study_id)
        if facts.is_copy():
            text = "It is a modified copy of another study: no rule looks at it."
            return PreviewItemAnswer(study=study_id, matched=False, sentence=text, verdicts=[], send=[]), {}, {}
        found = routing.looks(facts, changed)
        sent = routing.sendings(found)
        item = self._item(rule, facts, found, sent, routing)
        return item, self._reach(routing.sendings(routing.looks(facts, active))), self._reach(sent)

    def _item(
        self, rule: Rule, facts: ResourceFacts, found: Sequence[Look], sent: Sequence[Sending], routing: Routing
    ) -> PreviewItemAnswer:
        verdicts = [each for each in routing.verdicts(found, facts) if each["Rule"] == rule.name]
        matched = [each for each in verdicts if each["Matched"]]
        subject = facts.subject(patient_data=routing.patient_data)
        reach = self._reach([each for each in sent if each.target.rule.name == rule.name])
        return PreviewItemAnswer(
            study=facts.id,
            study_instance_uid=subject.study_instance_uid,
            patient_id=subject.patient_id,
            patient_name=subject.patient_name,
            study_date=subject.study_date,
            study_description=subject.study_description,
            modalities=subject.modalities.split("\\") if subject.modalities else [],
            matched=bool(matched),
            sentence=sentence((matched or verdicts)[0]) if verdicts else "There is nothing that the rule looks at.",
            verdicts=verdicts,
            send=[PreviewSendAnswer(destination=label, instances_count=len(ids)) for label, ids in reach.items()],
        )

    def _destination(self, name: str) -> Destination:
        """A rule that is not saved yet may be the first to name it."""
        aet = self._services.neighbours.modalities.get(name, "")
        return self._services.destinations.get(name) or Destination(name, name, aet)

    def _reach(self, sent: Sequence[Sending]) -> Reach:
        """What would go where, but for what came from there."""
        reach: Reach = {}
        for each in sent:
            givers = [self._destination(name) for name in each.target.send.members]
            ids = {it.id for it in each.instances if len(givers) > 1 or not givers[0].gave(it)}
            if ids and not each.why_not:
                reach.setdefault(each.target.send.label, set()).update(ids)
        return reach


def newest_studies(rest: OrthancRest, count: int) -> list[str]:
    """The studies that became stable last, by the change log read from its end."""
    found: dict[str, None] = {}
    until = int(rest.get("/changes?last")["Last"])
    for _ in range(MOST_PAGES):
        since = max(0, until - PAGE)
        rows = rest.get(f"/changes?since={since}&limit={PAGE}")["Changes"]
        stable = (row["ID"] for row in reversed(rows) if row["ChangeType"] == "StableStudy" and row["Seq"] <= until)
        found |= dict.fromkeys(study_id for study_id in stable if study_id not in found)
        until = since
        if len(found) >= count or not since:
            break
    return [study_id for study_id in found if exists(rest, "Study", study_id)][:count]


def _differences(before: Mapping[str, Reach], after: Mapping[str, Reach]) -> Iterator[DifferenceAnswer]:
    labels = dict.fromkeys(label for reach in (*before.values(), *after.values()) for label in reach)
    for label in labels:
        changed: dict[Change, list[str]] = {}
        for study_id, was in before.items():
            change = _change(was.get(label, set()), after[study_id].get(label, set()))
            if change is not None:
                changed.setdefault(change, []).append(study_id)
        for change, studies in changed.items():
            which = "This study" if len(studies) == 1 else f"These {len(studies)} studies"
            text = CHANGES[change].format(which, label)
            yield DifferenceAnswer(destination=label, change=change, studies=studies, sentence=text)


def _change(old: set[str], new: set[str]) -> Change | None:
    if old == new:
        return None
    if not new:
        return "NoLonger"
    return "Otherwise" if old else "New"
