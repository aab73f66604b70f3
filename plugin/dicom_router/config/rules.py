# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading rules."""

import re
from collections.abc import Sequence
from datetime import datetime

from pydantic.alias_generators import to_pascal

from dicom_router.alteration import Alteration, Method, alteration_of
from dicom_router.config.alterations import alteration_problems, transcode_problems
from dicom_router.config.destinations import DestinationReader
from dicom_router.config.reading import depth, mapping
from dicom_router.config.sections import ProcessSection, RuleSection, SendSection
from dicom_router.deliveries.delivery import Priority
from dicom_router.destination import Destination, Format, Kind, Verify, process_name
from dicom_router.rules.given import run_tests
from dicom_router.rules.match import Match, compile_match
from dicom_router.rules.rule import Choice, Origin, Process, Rule, Send

CHOICE_KEYS = frozenset({"To", "FirstOf", "OneOf", "By", "After", "AndWhenBack"})
DEFAULT_AFTER = 600.0  # seconds
LEAST_MEMBERS = 2
DEEPEST = 64  # a rule; what shows it as JSON has a limit, too
UNNAMED = "unnamed"  # while the rest of a rule without a right name is looked at
# A rule sends what triggers it: what comes with a single instance is that instance (docs/decisions.md).
OWN_LEVEL = {"StableStudy": "Study", "StableSeries": "Series", "StablePatient": "Patient", "NewInstance": "Instance"}


class RuleReader(DestinationReader):
    """Reads `Rules`."""

    def rules(self, entries: object, destination_names: Sequence[str]) -> tuple[Rule, ...]:
        """The rules of orthanc.json that have no problems."""
        found: list[Rule] = []
        names: set[str] = set()
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            path = f"Router.Rules[{index}]"
            name = entry.get("Name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in names:
                self.tell(f"{path}.Name", f'There is a rule "{name}" already.')
            names.add(str(name))
            rule = self.rule(entry, path, Origin.CONFIG, 1, destination_names)
            if rule is not None:
                found.append(rule)
        return tuple(found)

    def rule(
        self, entry: object, path: str, origin: Origin, version: int, destination_names: Sequence[str] = ()
    ) -> Rule | None:
        """A rule as a user wrote it; None when it has problems, which are collected."""
        before = len(self.problems)
        if depth(entry) > DEEPEST:
            self.tell(path, f"is nested more than {DEEPEST} deep.")
            return None
        shape = self.model(RuleSection, entry, path, instead={"Name": UNNAMED})
        raw = mapping(entry)
        match = self._match(raw.get("Match", {}), f"{path}.Match")
        names = {*destination_names, *self.destinations}
        sends = [
            self._send(each, f"{path}.Send[{index}]", names)
            for index, each in enumerate(raw["Send"] if isinstance(raw.get("Send"), list) else [])
        ]
        if shape is None:
            return None
        said = shape.schedule is not None and shape.schedule != ""
        schedule = self.schedule(shape.schedule, f"{path}.Schedule") if said else None
        instances = self._instances(shape.instances, f"{path}.Instances")
        self._deleting(shape, path)
        self._altered(shape, sends, path)
        kept = tuple(send for send in sends if send is not None)
        process = self._process(shape, kept, path)
        if match is not None and self.testing:
            self.problems += run_tests(match, shape.tests, f"{path}.Tests", datetime.now(self.zone))
        if len(self.problems) > before or match is None:
            return None
        return Rule(
            name=shape.name,
            match=match,
            sends=(Send((process_name(shape.name),)),) if process else kept,
            process=process,
            source=raw,
            origin=origin,
            version=version,
            enabled=shape.enabled,
            schedule=schedule,
            delay=shape.delay,
            priority=Priority(shape.priority) if shape.priority else None,
            stop=shape.stop,
            trigger=shape.trigger,
            level=shape.level or OWN_LEVEL[shape.trigger],
            instances=instances,
            sample_every=shape.sample == "Every",
            delete_after_send=shape.delete_after_send,
        )

    def _match(self, spec: object, path: str) -> Match | None:
        match, problems = compile_match(spec, path)
        self.problems += problems
        return match

    def _instances(self, spec: object, path: str) -> Match | None:
        """Which instances are sent; None for all of them."""
        return self._match(spec, path) if spec else None

    def _deleting(self, shape: RuleSection, path: str) -> None:
        """When DeleteAfterSend would be unsafe."""
        if not shape.delete_after_send:
            return
        # A patient's other studies may be under way, and so may the rest of the instance's study.
        if shape.trigger in {"StablePatient", "NewInstance"}:
            self.tell(f"{path}.DeleteAfterSend", "goes with the triggers StableStudy and StableSeries only.")
        elif shape.level == "Patient":
            self.tell(f"{path}.DeleteAfterSend", 'goes with the levels Study and Series only: what "Match" looks at.')

    def _altered(self, shape: RuleSection, sends: Sequence[Send | None], path: str) -> None:
        """What is said of the copies that are sent."""
        if shape.modify and shape.anonymize:
            text = 'A rule modifies or anonymizes: "Anonymize" knows "Replace", "Remove" and "Keep" as well.'
            self.tell(f"{path}.Modify", text)
        for method, spec in ((Method.MODIFY, shape.modify), (Method.ANONYMIZE, shape.anonymize)):
            self.problems += alteration_problems(method, spec, f"{path}.{method.key}")
        source = {Method.MODIFY.key: shape.modify, Method.ANONYMIZE.key: shape.anonymize}
        for index, send in enumerate(sends):
            alteration = alteration_of(source, send.options) if send else None
            if send is not None and alteration is not None:
                self._verifiable(send, alteration, f"{path}.Send[{index}]")
                self._of_folders(send, f"{path}.Send[{index}]")
                self._under_own_title(send, f"{path}.Send[{index}]")

    def _verifiable(self, send: Send, alteration: Alteration, path: str) -> None:
        """A lossy copy has another SOP Instance UID, and what is no image is sent as it is: nobody knows which."""
        own = send.options.get("Verify")
        wanted = {Verify(str(own))} if own else {each.verify for each in self._named(send)}
        if alteration.method is None and alteration.lossy and wanted - {Verify.ACCEPTED}:
            text = 'is lossy: which images got another SOP Instance UID is not known, so Verify can be "Accepted" only.'
            self.tell(f"{path}.Transcode", text)

    def _of_folders(self, send: Send, path: str) -> None:
        """An altered copy is a file that is nowhere else: it is not rendered, zipped, or looked for by its tags."""
        for destination in self._named(send):
            if destination.kind is not Kind.FOLDER:
                continue
            if destination.format is not Format.DICOM:
                text = f'{destination.name} gets {destination.format}; altered copies go into a folder as "Dicom" only.'
                self.tell(path, text)
            if Verify(str(send.options.get("Verify") or destination.verify)) is not Verify.ACCEPTED:
                self.tell(path, f'Altered copies in the folder of {destination.name} cannot be looked for: "Accepted".')

    def _under_own_title(self, send: Send, path: str) -> None:
        """Orthanc takes no AE title for a file that it does not store, but for the modality's own."""
        for destination in self._named(send):
            if send.options.get("LocalAet", destination.local_aet):
                instead = f"give {destination.target} a LocalAet in DicomModalities instead."
                self.tell(path, f"LocalAet of {destination.name} cannot be had for altered copies: {instead}")
            if send.options.get("MoveOriginator", destination.move_originator):
                self.tell(path, f"MoveOriginator of {destination.name} cannot be had for altered copies.")

    def _named(self, send: Send) -> list[Destination]:
        """Its destinations, but for those whose entry cannot be read."""
        return [self.destinations[name] for name in send.members if name in self.destinations]

    def _send(self, entry: object, path: str, names: set[str]) -> Send | None:
        if isinstance(entry, str):
            return Send((entry,)) if self.target(entry, path, names) else None
        shape = self.model(SendSection, entry, path)
        if shape is None:
            return None
        if shape.transcode is not None:
            self.problems += transcode_problems(shape.transcode, f"{path}.Transcode")
        self.unsupported_options(shape, path)
        if shape.enabled is False:
            text = "An entry of Send cannot be switched off. Leave it out, or switch off the rule or the destination."
            self.tell(f"{path}.Enabled", text)
        if shape.schedule is not None:
            self.schedule(shape.schedule, f"{path}.Schedule")
        members = self._members(shape, path, names)
        if members is None:
            return None
        named = [self.destinations[name] for name in members[1] if name in self.destinations]
        for destination in {each.kind: each for each in named}.values():
            self.unfit_options(destination, shape, path)
        options = {key: value for key, value in mapping(entry).items() if key not in CHOICE_KEYS}
        return Send(
            members[1],
            options,
            choice=members[0],
            by_patient=shape.by == "Patient",
            after=DEFAULT_AFTER if shape.after is None else shape.after,
            and_when_back=bool(shape.and_when_back),
            instances=self._instances(shape.instances, f"{path}.Instances"),
            when=self._pattern(shape.when, f"{path}.When"),
            from_input=shape.from_ == "Input",
        )

    def _process(self, shape: RuleSection, sends: tuple[Send, ...], path: str) -> Process | None:
        """The command of a rule, which is a destination of its own to the router."""
        if not shape.process:
            self._without_process(shape, sends, path)
            return None
        self._beside_process(shape, path)
        said = self.model(ProcessSection, shape.process, f"{path}.Process")
        if said is None:
            return None
        if any("\0" in word for word in said.command):
            self.tell(f"{path}.Process.Command", "may hold no NUL.")
        name, command = process_name(shape.name), tuple(said.command)
        made = Destination(name, command[0], kind=Kind.PROCESS, command=command, timeout=said.timeout, retry=self.retry)
        self.destinations[name] = made
        return Process(command, said.timeout, sends, shape.reroute)

    def _without_process(self, shape: RuleSection, sends: tuple[Send, ...], path: str) -> None:
        """What means nothing where there is no process."""
        said = [f"{path}.Reroute"] if shape.reroute else []
        for index, send in enumerate(sends):
            said += [f"{path}.Send[{index}].{key}" for key in ("When", "From") if key in send.options]
        for place in said:
            self.tell(place, "goes with a Process only.")

    def _beside_process(self, shape: RuleSection, path: str) -> None:
        """What a rule with a process cannot have."""
        if shape.level == "Patient" or (shape.trigger == "StablePatient" and shape.level is None):
            self.tell(f"{path}.Process", "gets the files of a study or a series; Level must be one of them.")
        for method, spec in ((Method.MODIFY, shape.modify), (Method.ANONYMIZE, shape.anonymize)):
            if spec:
                self.not_yet(f"{path}.{method.key}", f"{method.key} beside a Process")
        if shape.delete_after_send:
            self.tell(f"{path}.DeleteAfterSend", "does not go with a Process, which may have to run again.")

    def _pattern(self, text: str | None, path: str) -> re.Pattern[str] | None:
        try:
            return re.compile(text) if text is not None else None
        except (re.error, OverflowError, RecursionError) as problem:
            self.tell(path, f'"{text}" is not a regular expression: {problem}.')
            return None

    def _members(self, shape: SendSection, path: str, names: set[str]) -> tuple[Choice, tuple[str, ...]] | None:
        """Whom an entry of Send names, and how it chooses among them."""
        said: dict[Choice, list[str]] = {
            choice: [value] if isinstance(value, str) else value
            for choice, value in (
                (Choice.ONLY, shape.to),
                (Choice.FIRST_OF, shape.first_of),
                (Choice.ONE_OF, shape.one_of),
            )
            if value is not None
        }
        if len(said) != 1:
            self.tell(path, 'needs exactly one of "To", "FirstOf", "OneOf".')
            return None
        ((choice, members),) = said.items()
        for key, needs in (("after", Choice.FIRST_OF), ("and_when_back", Choice.FIRST_OF), ("by", Choice.ONE_OF)):
            if getattr(shape, key) is not None and choice is not needs:
                self.tell(f"{path}.{to_pascal(key)}", f'goes with "{needs}" only.')
        if choice is not Choice.ONLY and (len(members) < LEAST_MEMBERS or len(set(members)) < len(members)):
            self.tell(f"{path}.{choice}", "needs at least two different destinations.")
        place = f"{path}.{choice}"
        known = [
            self.target(name, place if choice is Choice.ONLY else f"{place}[{index}]", names)
            for index, name in enumerate(members)
        ]
        return (choice, tuple(members)) if all(known) else None
