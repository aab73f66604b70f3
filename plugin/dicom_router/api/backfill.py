# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/backfill."""

from dicom_router.api.http import Call, Endpoint, HttpError
from dicom_router.api.preview_schemas import BackfillAnswer, BackfillBody
from dicom_router.api.services import Services
from dicom_router.problems import Problem, nearest
from dicom_router.routing.backfill import Backfill, BusyError, Progress


class BackfillRoutes:
    """Existing studies through the rules."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        path = "/backfill"
        return [
            Endpoint("GET", path, "How far the backfill is", self.progress, BackfillAnswer, errors=(503,)),
            Endpoint(
                "POST",
                path,
                "Existing studies through the rules",
                self.begin,
                BackfillAnswer,
                BackfillBody,
                (),
                (409, 503),
            ),
            Endpoint("DELETE", path, "End the backfill", self.cancel, BackfillAnswer, errors=(503,)),
        ]

    def progress(self, _call: Call) -> BackfillAnswer:
        """Of the one that runs, or of the last."""
        return _answer(self._backfill().progress())

    def begin(self, call: Call) -> BackfillAnswer:
        """One at a time."""
        body: BackfillBody = call.body
        legal = [rule.name for rule in self._services.shelf.all()]
        problems = [
            Problem(f"Rules[{index}]", f'There is no rule "{name}".{nearest(name, legal)}')
            for index, name in enumerate(body.rules or [])
            if name not in legal
        ]
        if problems:
            raise HttpError(400, problems[0].message, problems)
        try:
            return _answer(self._backfill().begin(body.query, body.rules, dry_run=body.dry_run))
        except BusyError as problem:
            raise HttpError(409, str(problem)) from None

    def cancel(self, _call: Call) -> BackfillAnswer:
        """After the study that is being looked at; what was made stays."""
        self._backfill().cancel()
        return self.progress(_call)

    def _backfill(self) -> Backfill:
        self._services.need_engine()
        backfill = self._services.backfill
        if backfill is None:
            raise HttpError(503, "Routing is suspended; see /router/status.", self._services.problems)
        return backfill


def _answer(progress: Progress) -> BackfillAnswer:
    return BackfillAnswer.model_validate(
        {name: getattr(progress, name) for name in BackfillAnswer.model_fields}
        | {"destinations": dict(progress.destinations)}
    )
