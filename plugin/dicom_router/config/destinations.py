# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading destinations, and the names that rules give for them."""

from dataclasses import replace
from pathlib import PurePath
from typing import Any

from pydantic.alias_generators import to_pascal

from dicom_router.config.reading import Reader, mapping
from dicom_router.config.sections import NAME, DestinationSection, OptionsSection
from dicom_router.deliveries.delivery import Priority
from dicom_router.destination import Destination, Format, Kind, Late, Verify
from dicom_router.filing.template import parse_template
from dicom_router.problems import nearest
from dicom_router.rules.schedule import Always, Schedule, parse_schedule


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
        for kind in ("Peer", "DicomWeb"):
            if isinstance(entry, dict) and kind in entry:
                self.not_yet(f"{path}.{kind}", "A destination other than a modality")
        kinds = [kind for kind in ("Modality", "Peer", "DicomWeb", "Folder") if kind in mapping(entry)]
        if len(kinds) != 1:
            self.tell(path, "A destination needs exactly one of Modality, Peer, DicomWeb, Folder.")
        if shape.modality is not None:
            self._modality(name, shape, shape.modality, path)
        if shape.folder is not None:
            self._folder(name, shape, shape.folder, path)
        for key in ("Path", "Format"):
            if key in mapping(entry) and shape.folder is None:
                self.tell(f"{path}.{key}", "goes with a Folder only.")

    def _modality(self, name: str, shape: DestinationSection, modality: str, path: str) -> None:
        if modality not in self.known.modalities:
            hint = nearest(modality, self.known.modalities)
            self.tell(f"{path}.Modality", f'"{modality}" is not one of Orthanc\'s DicomModalities.{hint}')
            return
        plain = Destination(name, modality, self.known.modalities[modality], retry=self.retry)
        self.destinations[name] = self.with_options(plain, shape, path)

    def _folder(self, name: str, shape: DestinationSection, folder: str, path: str) -> None:
        kept = Format(shape.format or Format.DICOM)
        if "${" in folder or not PurePath(folder).is_absolute():
            self.tell(f"{path}.Folder", 'must be an absolute path, like "/srv/export".')
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
        if destination.kind is not Kind.FOLDER:
            return
        if shape.verify == Verify.COMMITTED.value:
            text = "A folder cannot commit itself to keep anything; Counted looks whether the files are there."
            self.tell(f"{path}.Verify", text)
        for key in ("local_aet", "move_originator"):
            if getattr(shape, key) is not None:
                self.tell(f"{path}.{to_pascal(key)}", "A folder knows no AE titles; this goes with a Modality only.")

    def with_options(self, destination: Destination, shape: OptionsSection, path: str) -> Destination:
        """The destination, with what `shape` says differently."""
        values: dict[str, Any] = {
            key: value
            for key in ("enabled", "associations", "timeout", "local_aet", "move_originator")
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
        """Whether a rule may send there; a modality of Orthanc needs no entry in Destinations."""
        if name in names:
            return True
        if name in self.known.modalities:
            aet = self.known.modalities[name]
            self.destinations[name] = Destination(name, name, aet, retry=self.retry)
            return True
        if name in self.known.peers or name in self.known.dicom_web:
            self.not_yet(path, "A destination other than a modality")
            return False
        every = {*names, *self.known.modalities}
        self.tell(path, f'There is no destination "{name}".{nearest(name, every)}')
        return False
