# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/rules."""

from typing import Any

from dicom_router.api.http import Call, Endpoint, HttpError, not_found
from dicom_router.api.schemas import (
    CheckAnswer,
    EmptyBody,
    OrderBody,
    RestoreBody,
    RuleAnswer,
    RuleBody,
    RulesAnswer,
    RulesBody,
    RuleVersionAnswer,
    RuleVersionsAnswer,
)
from dicom_router.api.services import Services, twice
from dicom_router.api.status import answers
from dicom_router.api.warnings import RuleWarnings, among
from dicom_router.problems import Problem
from dicom_router.rules.rule import Origin, Rule
from dicom_router.store.rule_book import KeptRule

CHANGE_ERRORS = (400, 404, 409, 503)


class RuleRoutes:
    """Rules: those of orthanc.json to read, those made here to change."""

    def __init__(self, services: Services, rule_warnings: RuleWarnings) -> None:
        self._services = services
        self._rule_warnings = rule_warnings

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        one = "/rules/{name}"
        return [
            Endpoint("GET", "/rules", "All rules, in order", self.all, RulesAnswer, errors=(503,)),
            Endpoint("POST", "/rules", "Add a rule", self.add, RuleAnswer, RuleBody, errors=CHANGE_ERRORS),
            Endpoint("GET", one, "One rule", self.one, RuleAnswer, errors=(404, 503)),
            Endpoint("PUT", one, "Replace or make a rule", self.put, RuleAnswer, RuleBody, errors=CHANGE_ERRORS),
            Endpoint("DELETE", one, "Delete a rule", self.delete, EmptyBody, errors=CHANGE_ERRORS),
            Endpoint(
                "PUT",
                "/rules-order",
                "Order the rules made here",
                self.order,
                RulesAnswer,
                OrderBody,
                errors=(400, 503),
            ),
            Endpoint(
                "GET", f"{one}/versions", "All versions of a rule", self.versions, RuleVersionsAnswer, errors=(404, 503)
            ),
            Endpoint(
                "POST",
                f"{one}/restore",
                "Go back to a version",
                self.restore,
                RuleAnswer,
                RestoreBody,
                errors=CHANGE_ERRORS,
            ),
            Endpoint("POST", "/rules-check", "Check rules without saving", self.check, CheckAnswer, RulesBody),
        ]

    def all(self, _call: Call) -> RulesAnswer:
        """Those of orthanc.json first."""
        services = self._services
        configured = [rule for rule in services.shelf.all() if rule.origin is Origin.CONFIG]
        kept = [each for each in services.kept_rules if not services.shelf.is_configured(each.name)]
        return RulesAnswer([*map(self._answer, configured), *map(self._kept_answer, kept)])

    def one(self, call: Call) -> RuleAnswer:
        """By name."""
        name = call.path["name"]
        for each in self._services.kept_rules:
            if each.name == name and not self._services.shelf.is_configured(name):
                return self._kept_answer(each)
        return self._answer(self._find(call))

    def add(self, call: Call) -> RuleAnswer:
        """At the end."""
        body: dict[str, Any] = call.body.root
        name = body.get("Name")
        with self._services.changing_rules:
            known = {*(rule.name for rule in self._services.shelf.all()), *self._services.unfit_rules}
            if isinstance(name, str) and name in known:
                raise HttpError(409, f'There is a rule "{name}" already.')
            return self._save(body, call.user)

    def put(self, call: Call) -> RuleAnswer:
        """In its place, as a new version."""
        name = call.path["name"]
        self._refuse_configured(name)
        body: dict[str, Any] = {"Name": name} | call.body.root
        if body["Name"] != name:
            message = f'The body names the rule "{body["Name"]}", the address "{name}".'
            raise HttpError(400, message, [Problem("Name", message)])
        return self._save(body, call.user)

    def delete(self, call: Call) -> EmptyBody:
        """Its versions stay and can be restored."""
        name = call.path["name"]
        self._refuse_configured(name)
        with self._services.changing_rules:
            if not self._services.need_store().rule_book.delete(name, self._services.clock(), call.user):
                raise not_found(f'rule "{name[:64]}"')
            self._services.load_rules()
        return EmptyBody()

    def order(self, call: Call) -> RulesAnswer:
        """All of them must be named; those of orthanc.json may be, and stay where they are."""
        configured = self._services.shelf.is_configured
        book = self._services.need_store().rule_book
        with self._services.changing_rules:
            living = [kept.name for kept in book.living()]
            giving_way = [name for name in living if configured(name)]
            if not book.order([*(name for name in call.body.root if not configured(name)), *giving_way]):
                told = ", ".join(name for name in living if name not in giving_way) or "there are none"
                raise HttpError(400, f"Name exactly the rules made over REST: {told}.")
            self._services.load_rules()
            return self.all(call)

    def versions(self, call: Call) -> RuleVersionsAnswer:
        """Newest first."""
        return RuleVersionsAnswer(
            [
                RuleVersionAnswer(version=kept.version, made_at=kept.made_at, made_by=kept.made_by, rule=kept.body)
                for kept in self._kept_versions(call.path["name"])
            ]
        )

    def restore(self, call: Call) -> RuleAnswer:
        """As a new version with the old text."""
        name, version = call.path["name"], call.body.version
        self._refuse_configured(name)
        for kept in self._kept_versions(name):
            if kept.version == version and kept.body is not None:
                return self._save(kept.body, call.user)
        raise not_found(f'version {version} of the rule "{name[:64]}"')

    def check(self, call: Call) -> CheckAnswer:
        """As saving would; the warnings tell what the rules would do among the active ones."""
        body: RulesBody = call.body
        parser = self._services.rule_parser()
        parsed = [parser.rule(rule, f"Rules[{index}]") for index, rule in enumerate(body.rules)]
        for index in twice(body.rules):  # one of orthanc.json may be checked before it is changed there
            parser.tell(f"Rules[{index}].Name", "comes twice.")
        fresh = {rule.name: rule for rule in parsed if rule is not None}
        told = self._rule_warnings.of(among(self._services.shelf.all(), fresh))
        warnings = [
            Problem(f"Rules[{index}].{each.path}".rstrip("."), each.message)
            for index, rule in enumerate(parsed)
            if rule is not None
            for each in told[rule.name]
        ]
        return CheckAnswer(problems=answers(parser.problems), warnings=answers(warnings))

    def _save(self, body: dict[str, Any], user: str) -> RuleAnswer:
        parser = self._services.rule_parser()
        rule = parser.rule(body, "Rule")
        if rule is None:
            raise HttpError(400, "The rule was not saved; it has problems.", parser.problems)
        with self._services.changing_rules:
            self._services.need_store().rule_book.put(body, self._services.clock(), user)
            self._services.load_rules()
            saved = self._services.shelf.get(rule.name)
        return self._answer(saved or rule)

    def _refuse_configured(self, name: str) -> None:
        if self._services.shelf.is_configured(name):
            raise HttpError(409, f'The rule "{name}" stands in orthanc.json; change it there and restart Orthanc.')

    def _kept_versions(self, name: str) -> list[KeptRule]:
        found = self._services.need_store().rule_book.versions(name)
        if not found:
            raise not_found(f'rule "{name[:64]}" made over REST')
        return found

    def _find(self, call: Call) -> Rule:
        found = self._services.shelf.get(call.path["name"])
        if found is None:
            raise not_found(f'rule "{call.path["name"][:64]}"')
        return found

    def _kept_answer(self, kept: KeptRule) -> RuleAnswer:
        """Also of one that cannot be looked at: why not is its warning."""
        rule = self._services.shelf.get(kept.name)
        if rule is not None:
            return self._answer(rule)
        problems = self._services.unfit_rules.get(kept.name, [])
        prefix = f"Rules.{kept.name}."
        warnings = [{"Path": each.path.removeprefix(prefix), "Message": each.message} for each in problems]
        told = {"Name": kept.name, "Origin": Origin.DATABASE, "Version": kept.version, "Warnings": warnings}
        return RuleAnswer.model_validate((kept.body or {}) | told)

    def _answer(self, rule: Rule) -> RuleAnswer:
        warnings = [
            {"Path": each.path, "Message": each.message} for each in self._rule_warnings.active().get(rule.name, [])
        ]
        return RuleAnswer.model_validate(
            {**rule.source, "Name": rule.name, "Origin": rule.origin, "Version": rule.version, "Warnings": warnings}
        )
