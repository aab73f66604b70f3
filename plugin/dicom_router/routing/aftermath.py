# SPDX-License-Identifier: AGPL-3.0-or-later
"""What follows from a process: its rule's `Send` entries whose `When` fits, each once."""

from collections.abc import Callable, Mapping, Sequence

from dicom_router.deliveries.delivery import Delivery
from dicom_router.destination import PROCESS_SUFFIX
from dicom_router.processing.outcome import Outcome
from dicom_router.routing.routing import Routing
from dicom_router.rules.rule import Process, Rule
from dicom_router.store.history import History
from dicom_router.store.runs import Runs
from dicom_router.studies.study import ResourceFacts


class Aftermath:
    """The rules of now decide, also when they were changed while the command ran."""

    def __init__(
        self,
        runs: Runs,
        history: History,
        routing: Routing,
        rules: Callable[[], Sequence[Rule]],
        clock: Callable[[], float],
        followed: Callable[[], None],
    ) -> None:
        self._runs = runs
        self._history = history
        self._routing = routing
        self._rules = rules
        self._clock = clock
        self._followed = followed

    def outcome(self, run: int) -> Outcome | None:
        """What a run came to, once it has ended."""
        stored = self._runs.finished(run)
        return Outcome(stored.outcome) if stored else None

    def info(self, run: int) -> Mapping[str, object]:
        """What the command is told of the study. Raises OrthancError."""
        delivery = self._delivery(run)
        facts = ResourceFacts(self._routing.rest, delivery.resource_id, delivery.level)
        subject = facts.subject(patient_data=True)
        tags = facts.study.get("PatientMainDicomTags", {}) | facts.study["MainDicomTags"]
        return {"CallingAET": subject.remote_aet, "CalledAET": subject.called_aet, "Tags": tags}

    def wants_output(self, run: int, outcome: Outcome) -> bool:
        """Whether the results go anywhere."""
        process = self._process(run)
        if process is None:
            return False
        goes_on = process.reroute and not outcome.failed
        return goes_on or any(not each.from_input and outcome.matches(each.when) for each in process.sends)

    def rerouted(self, run: int) -> bool:
        """Whether rules look at the results."""
        process = self._process(run)
        return process is not None and process.reroute

    def follow(self, run: int) -> None:
        """Make the deliveries that follow, unless they are. Raises OrthancError."""
        stored = self._runs.finished(run)
        if stored is None or stored.followed:
            return
        delivery, rule, outcome = self._delivery(run), self._rule(run), Outcome(stored.outcome)
        count = len(self._runs.results(run))
        text = f"The process ended with {outcome.text()}; {count} results"
        if stored.rejected:
            text += f"; not taken into Orthanc: {', '.join(stored.rejected)}"
        if rule is None or rule.process is None:
            self._runs.follow(run, [], f"{text}; its rule is gone", self._clock())
            return
        sends = [each for each in rule.process.sends if outcome.matches(each.when)]
        self._runs.follow(run, self._routing.after_process(delivery, rule, sends), text, self._clock())
        self._followed()

    def _delivery(self, run: int) -> Delivery:
        found = self._history.get(run)
        if found is None:
            raise LookupError(f"There is no delivery {run}.")
        return found

    def _rule(self, run: int) -> Rule | None:
        name = self._delivery(run).destination.removesuffix(PROCESS_SUFFIX)
        return next((rule for rule in self._rules() if rule.name == name), None)

    def _process(self, run: int) -> Process | None:
        rule = self._rule(run)
        return rule.process if rule else None
