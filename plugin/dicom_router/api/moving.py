# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/rules-export and /router/rules-import: rules move to another router."""

from typing import Any

from dicom_router.api.http import Call, Endpoint, HttpError
from dicom_router.api.preview_schemas import ExportAnswer, ImportBody
from dicom_router.api.rules import RuleRoutes
from dicom_router.api.schemas import RulesAnswer
from dicom_router.api.services import Services, twice
from dicom_router.problems import Problem
from dicom_router.rules.rule import Origin


class MovingRoutes:
    """Export and import. Whatever is wrong, nothing is changed."""

    def __init__(self, services: Services, rules: RuleRoutes) -> None:
        self._services = services
        self._rules = rules

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint("GET", "/rules-export", "All rules, to be imported elsewhere", self.export, ExportAnswer),
            Endpoint(
                "POST",
                "/rules-import",
                "Take over rules",
                self.take_over,
                RulesAnswer,
                ImportBody,
                errors=(400, 409, 503),
            ),
        ]

    def export(self, _call: Call) -> ExportAnswer:
        """As they were written, those of orthanc.json first."""
        configured = [dict(rule.source) for rule in self._services.shelf.all() if rule.origin is Origin.CONFIG]
        names = {body.get("Name") for body in configured}
        kept = [dict(each.body or {}) for each in self._services.kept_rules if each.name not in names]
        return ExportAnswer(rules=configured + kept)

    def take_over(self, call: Call) -> RulesAnswer:
        """All or nothing, in the order given; one with the name of a rule made here before takes its place."""
        body: ImportBody = call.body
        with self._services.changing_rules:
            problems = self._problems(body.rules)
            if problems:
                raise HttpError(400, "Nothing was imported; the rules have problems.", problems)
            book = self._services.need_store().rule_book
            book.take_over(body.rules, self._services.clock(), call.user, replace=body.replace)
            self._services.load_rules()
            return self._rules.all(call)

    def _problems(self, rules: list[dict[str, Any]]) -> list[Problem]:
        """Each with the rule's name in front, as its place in a long file tells little."""
        found: list[Problem] = []
        again = twice(rules)
        for index, body in enumerate(rules):
            parser = self._services.rule_parser()
            parser.rule(body, f"Rules[{index}]")
            if self._services.shelf.is_configured(str(body.get("Name", ""))):
                parser.tell(f"Rules[{index}].Name", "stands in orthanc.json already; it is changed there.")
            elif index in again:
                parser.tell(f"Rules[{index}].Name", "comes twice.")
            told = f'Rule "{body.get("Name", "")}": '
            found += [Problem(each.path, told + each.message) for each in parser.problems]
        return found
