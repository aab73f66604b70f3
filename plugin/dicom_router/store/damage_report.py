# SPDX-License-Identifier: AGPL-3.0-or-later
"""What came of a damaged side database, for people: shown until the damaged file is taken away."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from peewee import Database

from dicom_router.store.database import scalar, session
from dicom_router.store.schema import Meta

KEY = "damage report"
SHOWN_SECONDS = 7 * 86400.0  # where there is no file to be taken away


@dataclass(frozen=True)
class DamageReport:
    """`aside`: the name of the damaged file now, empty where it was missing. `owed`: deliveries taken over.

    `whole`: nothing that was owed is missing. `since`: Orthanc's date from which on everything is looked at again,
    empty where nothing is. `place_known`: it is known how far the change log was acted upon.
    """

    at: float
    reason: str
    aside: str
    owed: int
    whole: bool
    since: str
    place_known: bool
    ledger_known: bool
    rules_known: bool
    key_known: bool

    def text(self) -> str:
        """All that somebody has to know or do."""
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        parts = [f"The router's database could not be used any more ({self.reason}); since {when} a fresh one is used."]
        parts.append(self._owed())
        if not self.ledger_known:
            parts.append("What destinations have is not known any more: late images bring their whole study again.")
        if not self.rules_known:
            parts.append("Rules made over REST are lost: import them again, then backfill what came meanwhile.")
        if not self.key_known:
            parts.append("The key of the pseudonyms is lost: from now on patients and studies get other ones.")
        if self.aside:
            parts.append(f"The history before lies in {self.aside}; once that is moved away this warning ends.")
        return " ".join(parts)

    def _owed(self) -> str:
        if self.whole:
            return f"Reading goes on where it was, with its {self.owed} open deliveries; nothing is to be backfilled."
        if self.since:
            return (
                f"Everything that Orthanc received since {self.since} (its own time) is looked at again, so instances"
                f" may arrive twice; {self.owed} open deliveries were taken over. Nothing is to be backfilled, but what"
                " was resent or routed by hand and is not in the history has to be asked for again."
            )
        begin = "goes on where it was" if self.place_known else "begins with what arrives now"
        return (
            f"Reading {begin}, {self.owed} open deliveries were taken over, and others may be missing: send what has"
            ' not arrived with POST /router/backfill {"Query": {"StudyDate": "YYYYMMDD-"}, "DryRun": true}, first with'
            " DryRun, from the study date of the oldest study that may have waited."
        )

    def is_shown(self, folder: Path, now: float) -> bool:
        """Somebody has yet to read it."""
        return (folder / self.aside).exists() if self.aside else now < self.at + SHOWN_SECONDS


def readable(date: str) -> str:
    """Orthanc's `20261122T010203` for people."""
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%S").strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - its own time
    except ValueError:
        return date or "its first start with the router"


def to_text(report: DamageReport) -> str:
    """As it is kept in the fresh database."""
    return json.dumps(asdict(report))


def from_text(text: str) -> DamageReport:
    """The report that was kept."""
    return DamageReport(**json.loads(text))


def kept_report(database: Database) -> DamageReport | None:
    """The last report, or None."""
    with session(database):
        told = scalar(Meta.select(Meta.value).where(Meta.key == KEY))
    return from_text(told) if told else None
