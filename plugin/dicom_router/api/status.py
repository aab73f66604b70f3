# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/status, /router/pause, /router/resume."""

from dicom_router import __version__
from dicom_router.api.http import Call, Endpoint
from dicom_router.api.schemas import EmptyBody, ProblemAnswer, QueueAnswer, StateAnswer, StatusAnswer
from dicom_router.api.services import Services
from dicom_router.api.warnings import RuleWarnings
from dicom_router.deliveries.delivery import Status
from dicom_router.problems import Problem
from dicom_router.store.database import LOST
from dicom_router.store.sqlite_file import DamagedError
from dicom_router.store.store import Store


class StatusRoutes:
    """Whether everything flows."""

    def __init__(self, services: Services, rule_warnings: RuleWarnings) -> None:
        self._services = services
        self._rule_warnings = rule_warnings

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint("GET", "/status", "Whether everything flows", self.status, StatusAnswer),
            Endpoint("POST", "/pause", "Send nothing any more", self.pause, StateAnswer, EmptyBody, errors=(503,)),
            Endpoint("POST", "/resume", "Send again", self.resume, StateAnswer, EmptyBody, errors=(503,)),
        ]

    def status(self, _call: Call) -> StatusAnswer:
        """Never an error: also without a database."""
        try:
            return self._status(self._services.store, self._trouble())
        except DamagedError as problem:
            text = f"The database is damaged: {problem}. Orthanc receives, and nothing is lost."
            return self._status(None, [Problem("Router.Database", text)])
        except LOST:
            text = "The database does not answer. Nothing is lost, and routing goes on by itself once it does."
            return self._status(None, [Problem("Router.Database", text)])

    def _trouble(self) -> list[Problem]:
        trouble = self._services.store.trouble() if self._services.store else ""
        text = f"The database cannot be written: {trouble}. Orthanc receives, and nothing is lost; routing goes on then"
        return [Problem("Router.Database", f"{text}.")] if trouble else []

    def _status(self, store: Store | None, more: list[Problem]) -> StatusAnswer:
        services = self._services
        counts = store.history.count_open() if store else {}
        position = store.journal.position() if store else None
        problems = [*services.problems, *more]
        return StatusAnswer(
            version=__version__,
            state="Suspended" if more else state_of(services, store),
            problems=answers(problems),
            warnings=answers([*services.all_warnings(), *self._rule_warnings.all()]),
            queue=QueueAnswer(
                scheduled=counts.get(Status.SCHEDULED, 0),
                sending=counts.get(Status.SENDING, 0),
                retrying=counts.get(Status.RETRYING, 0),
            ),
            oldest_waiting=store.history.oldest_waiting() if store else None,
            cursor=position.seq if position else None,
            database=services.database_name,
            paused_by=store.switches.paused_by() if store else "",
            orthanc=services.orthanc_version,
        )

    def pause(self, call: Call) -> StateAnswer:
        """What is on its way arrives; nothing new starts."""
        return self._switch(call, paused=True)

    def resume(self, call: Call) -> StateAnswer:
        """Go on."""
        return self._switch(call, paused=False)

    def _switch(self, call: Call, *, paused: bool) -> StateAnswer:
        self._services.need_store().switches.pause_router(paused=paused, user=call.user)
        self._services.ring()
        return StateAnswer(state=state_of(self._services, self._services.store))


def state_of(services: Services, store: Store | None) -> str:
    """The state of the router as it is shown; without a `store` the database does not answer."""
    if services.problems or store is None or store.trouble():
        return "Suspended"
    return "Paused" if store.switches.router_paused() else "Running"


def answers(problems: list[Problem]) -> list[ProblemAnswer]:
    """Problems as REST shows them."""
    return [ProblemAnswer(path=each.path, message=each.message) for each in problems]
