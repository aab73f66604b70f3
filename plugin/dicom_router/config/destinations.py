# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading destinations, and the names that rules give for them."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from pydantic.alias_generators import to_pascal

from dicom_router.config.reading import Reader, mapping
from dicom_router.config.sections import NAME, DestinationSection, OptionsSection
from dicom_router.deliveries.delivery import Priority
from dicom_router.destination import PROCESS_SUFFIX, Destination, Format, Kind, Late, Verify
from dicom_router.filing.template import parse_template
from dicom_router.problems import Problem, nearest
from dicom_router.rules.schedule import Always, Schedule, parse_schedule

# Where Orthanc's configuration lists the systems of a kind, and what one of them is.
LISTS = {Kind.MODALITY: "DicomModalities", Kind.PEER: "OrthancPeers", Kind.DICOM_WEB: "DicomWeb.Servers"}
NOUNS = {
    Kind.MODALITY: "modality",
    Kind.PEER: "peer",
    Kind.DICOM_WEB: "DICOMweb server",
    Kind.FOLDER: "folder",
}


class DestinationReader(Reader):
    """Reads `Destinations`."""

    def destination(self, name: str, entry: object, path: str) -> None:
        """One entry of `Destinations`."""
        if not NAME.fullmatch(name):
            self.tell(path, "The name of a destination must be 1 to 64 letters, digits, spaces, or any of _ . -")
        shape = self.model(DestinationSection, entry, path)
        if shape is None:
            return
        self.unsupported_options(shape, path)
        kinds = [kind for kind in Kind if mapping(entry).get(kind) is not None]
        if len(kinds) != 1:
            self.tell(path, "A destination needs exactly one of Modality, Peer, DicomWeb, Folder.")
        if shape.modality is not None:
            self._server(Destination(name, shape.modality), shape, path)
        if shape.peer is not None:
            self._server(Destination(name, shape.peer, kind=Kind.PEER), shape, path)
        if shape.dicom_web is not None:
            self._server(Destination(name, shape.dicom_web, kind=Kind.DICOM_WEB), shape, path)
        if shape.folder is not None:
            self._folder(name, shape, shape.folder, path)
        for key in ("Path", "Format"):
            if key in mapping(entry) and shape.folder is None:
                self.tell(f"{path}.{key}", "goes with a Folder only.")

    def _server(self, plain: Destination, shape: DestinationSection, path: str) -> None:
        """A destination that is an entry of Orthanc's configuration."""
        known = self._entries(plain.kind)
        if plain.target not in known:
            hint = nearest(plain.target, known)
            self.tell(f"{path}.{plain.kind}", f'"{plain.target}" is not one of Orthanc\'s {LISTS[plain.kind]}.{hint}')
        if plain.kind is Kind.DICOM_WEB and not self.known.dicom_web_enabled:
            self.tell(f"{path}.DicomWeb", "Orthanc's DICOMweb plugin is switched off: DicomWeb.Enable is false.")
        self.unfit_options(plain, shape, path)
        aet = self.known.modalities.get(plain.target, "") if plain.kind is Kind.MODALITY else ""
        self.destinations[plain.name] = self.with_options(replace(plain, aet=aet, retry=self.retry), shape, path)

    def _entries(self, kind: Kind) -> Collection[str]:
        """The names that Orthanc's configuration has for systems of this kind."""
        entries: dict[Kind, Collection[str]] = {
            Kind.MODALITY: self.known.modalities,
            Kind.PEER: self.known.peers,
            Kind.DICOM_WEB: self.known.dicom_web,
        }
        return entries.get(kind, ())

    def _folder(self, name: str, shape: DestinationSection, folder: str, path: str) -> None:
        kept = Format(shape.format or Format.DICOM)
        if "${" in folder or not PurePath(folder).is_absolute():
            self.tell(f"{path}.Folder", 'must be an absolute path, like "/srv/export".')
        if "\0" in folder:
            self.tell(f"{path}.Folder", "may hold no NUL.")
        if shape.path is not None:
            try:
                parse_template(shape.path, one_file=kept.one_file)
            except ValueError as problem:
                self.tell(f"{path}.Path", str(problem))
        plain = Destination(name, folder, kind=Kind.FOLDER, format=kept, path=shape.path or "", retry=self.retry)
        self.unfit_options(plain, shape, path)
        self.destinations[name] = self.with_options(plain, shape, path)

    def unfit_options(self, destination: Destination, shape: OptionsSection, path: str) -> None:
        """Refuse what cannot be had from this kind of destination."""
        noun = NOUNS[destination.kind]
        if destination.kind is not Kind.MODALITY:
            if shape.verify == Verify.COMMITTED.value:
                text = f"A {noun} cannot commit itself to keep anything; Counted looks what it has."
                self.tell(f"{path}.Verify", text)
            for key in ("local_aet", "move_originator"):
                if getattr(shape, key) is not None:
                    text = f"A {noun} knows no AE titles; this goes with a Modality only."
                    self.tell(f"{path}.{to_pascal(key)}", text)
        if shape.compress is not None and destination.kind is not Kind.PEER:
            self.tell(f"{path}.Compress", f"goes with a Peer only, not with a {noun}.")

    def with_options(self, destination: Destination, shape: OptionsSection, path: str) -> Destination:
        """The destination, with what `shape` says differently."""
        values: dict[str, Any] = {
            key: value
            for key in ("enabled", "associations", "timeout", "local_aet", "move_originator", "compress")
            if (value := getattr(shape, key)) is not None
        }
        values |= {
            key: kind(value)
            for key, kind in (("priority", Priority), ("verify", Verify), ("late", Late))
            if (value := getattr(shape, key)) is not None
        }
        if shape.retry is not None:
            values["retry"] = shape.retry.over(destination.retry)
        if shape.schedule is not None:
            values["schedule"] = self.schedule(shape.schedule, f"{path}.Schedule")
        return replace(destination, **values)

    def unsupported_options(self, shape: OptionsSection, path: str) -> None:
        """Refuse the options that are not built, rather than ignore them."""
        if shape.bandwidth is not None:
            self.not_yet(f"{path}.Bandwidth", "A limit of the bandwidth")

    def schedule(self, spec: object, path: str) -> Schedule:
        """A schedule; always open when it has problems, which are told."""
        schedule, problems = parse_schedule(spec, path)
        self.problems += problems
        return schedule or Always()

    def target(self, name: str, path: str, names: set[str]) -> bool:
        """Whether a rule may send there; what Orthanc's configuration knows needs no entry in Destinations."""
        if name in names and not name.endswith(PROCESS_SUFFIX):
            return True
        kinds = [kind for kind in LISTS if name in self._entries(kind)]
        if len(kinds) > 1:
            lists = " and ".join(LISTS[kind] for kind in kinds)
            entry = f'"{name}": {{ "{kinds[0]}": "{name}" }}'
            self.tell(path, f'"{name}" is in {lists}; say which is meant by an entry in Destinations, like {entry}.')
            return False
        if kinds:
            self._server(Destination(name, name, kind=kinds[0]), DestinationSection(), path)
            return name in self.destinations
        every = {*names, *(each for kind in LISTS for each in self._entries(kind))}
        every = {each for each in every if not each.endswith(PROCESS_SUFFIX)}  # a rule cannot name a process
        problem = Problem(path, f'There is no destination "{name}".{nearest(name, every)}')
        if self.keeping and NAME.fullmatch(name):
            self.absences.append(problem)
            self.destinations[name] = Destination(name, name, gone=True, retry=self.retry)
            return True
        self.problems.append(problem)
        return False
