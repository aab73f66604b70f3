# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/studies/{id}: send now, and why it was or was not sent."""

from functools import partial
from typing import Any

from dicom_router.api.history import delivery_answer
from dicom_router.api.http import Call, Endpoint, HttpError, not_found, orthanc_id
from dicom_router.api.schemas import ExplainAnswer, RouteAnswer, RouteBody, StoredDecisionAnswer, iso
from dicom_router.api.services import Services
from dicom_router.deliveries.delivery import Delivery
from dicom_router.orthanc_rest import OrthancError
from dicom_router.problems import Problem, nearest
from dicom_router.routing.explanation import sentences
from dicom_router.routing.outlook import Sending
from dicom_router.routing.routing import BY_HAND, COPY, Routing
from dicom_router.store.history import Filter
from dicom_router.studies.study import ResourceFacts, exists
from dicom_router.users import by

DELIVERIES_SHOWN = 50
DECISIONS_SHOWN = 20
DECISIONS_READ = 500  # a rule for instances makes one of each


class StudyRoutes:
    """What can be done with a study of Orthanc."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(
                "POST", "/studies/{id}/route", "Send a study now", self.route, RouteAnswer, RouteBody, errors=(404, 503)
            ),
            *(
                Endpoint(
                    "POST",
                    f"/{plural}/{{id}}/route",
                    f"Send a {level.lower()} now",
                    partial(self.route, level=level),
                    RouteAnswer,
                    RouteBody,
                    errors=(404, 503),
                )
                for plural, level in (("series", "Series"), ("patients", "Patient"))
            ),
            Endpoint(
                "GET",
                "/studies/{id}/explain",
                "Why a study was or was not sent",
                self.explain,
                ExplainAnswer,
                errors=(404, 503),
            ),
        ]

    def route(self, call: Call, level: str = "Study") -> RouteAnswer:
        """To destinations by hand, or through rules; neither named: through all rules."""
        body: RouteBody = call.body
        study_id = orthanc_id(call.path["id"], level.lower())
        for key, names in (("Rules", body.rules), ("Destinations", body.destinations)):
            if names == []:
                raise HttpError(400, f"Name at least one of the {key}.", [Problem(key, "must not be empty.")])
        routing = self._services.need_engine().routing
        if body.rules is not None and body.destinations is not None:
            raise HttpError(400, "Name rules or destinations, not both.")
        _known("Destinations", body.destinations, list(self._services.nameable()), "destination")
        _known("Rules", body.rules, [rule.name for rule in self._services.shelf.all()], "rule")
        try:
            if not exists(routing.rest, level, study_id):
                raise not_found(f"{level.lower()} {study_id[:64]}")
            if body.destinations is not None:
                routed = routing.send_now(study_id, body.destinations, level)
            else:
                routed = routing.look_at(study_id, BY_HAND, only_rules=body.rules, level=level)
        except OrthancError as problem:
            raise _of_orthanc(problem, study_id) from None
        if not routed.found:
            raise not_found(f"{level.lower()} {study_id[:64]}")
        for delivery_id in routed.deliveries:
            self._services.need_store().queue.remark(delivery_id, self._services.clock(), f"Routed {by(call.user)}")
        self._services.ring()
        return RouteAnswer(deliveries=routed.deliveries, decision=routed.verdicts)

    def explain(self, call: Call) -> ExplainAnswer:
        """The decisions of the past, and what the rules of now would do."""
        study_id = orthanc_id(call.path["id"], "study")
        store = self._services.need_store()
        stored = store.journal.decisions(study_id, DECISIONS_READ)
        items, _, _ = store.history.page(Filter(study=study_id), DELIVERIES_SHOWN, None)
        now: list[dict[str, Any]] = []
        if self._services.engine is not None or not stored:
            routing = self._services.need_engine().routing
            facts = ResourceFacts(routing.rest, study_id)
            try:
                now = self._now(routing, facts)
                stored += [each for each in store.journal.decisions(facts.patient_id) if each.level == "Patient"]
            except OrthancError as problem:
                if not (problem.not_found and stored):  # deleted since: the stored decisions still tell
                    raise _of_orthanc(problem, study_id) from None
        return ExplainAnswer(
            resource_id=study_id,
            sentences=[*sentences(stored), *map(_of_delivery, items)],
            stored=[
                StoredDecisionAnswer(made_at=each.made_at, trigger=each.trigger, rules=each.verdicts)
                for each in stored[:DECISIONS_SHOWN]
            ],
            now=now,
            deliveries=[delivery_answer(item, self._services) for item in items],
        )

    def _now(self, routing: Routing, facts: ResourceFacts) -> list[dict[str, Any]]:
        """What the rules of now would do, and what they would not in spite of matching."""
        if facts.is_copy():
            return [{"Rule": "", "Matched": False, "Skipped": COPY}]
        found = routing.looks(facts)
        told: list[dict[str, Any]] = routing.verdicts(found, facts)
        for sending in routing.sendings(found):
            why = sending.why_not or ("It came from there." if self._came_from(sending) else "")
            if why:
                entry = {"Destination": sending.target.send.label, "Why": why}
                for verdict in told:
                    if verdict["Rule"] == sending.target.rule.name and verdict["Matched"]:
                        verdict.setdefault("NotSent", []).append(entry)
        return told

    def _came_from(self, sending: Sending) -> bool:
        """All of it did from the only destination that it could go to."""
        members = sending.target.send.members
        return len(members) == 1 and all(map(self._services.destinations[members[0]].gave, sending.instances))


def _of_delivery(delivery: Delivery) -> str:
    text = f"Delivery {delivery.id} to {delivery.destination} of {iso(delivery.created_at)}: {delivery.status}"
    why = delivery.error_message or delivery.reason
    return f"{text}. {why}" if why else f"{text}."


def _known(key: str, names: list[str] | None, legal: list[str], what: str) -> None:
    problems = [
        Problem(f"{key}[{index}]", f'There is no {what} "{name}".{nearest(name, legal)}')
        for index, name in enumerate(names or [])
        if name not in legal
    ]
    if problems:
        raise HttpError(400, problems[0].message, problems)


def _of_orthanc(problem: OrthancError, study_id: str) -> HttpError:
    if problem.not_found:
        return not_found(f"study {study_id[:64]}")
    return HttpError(503, f"Orthanc could not be asked: {problem.details}")
