# SPDX-License-Identifier: AGPL-3.0-or-later
"""Finding deliveries by a part of a text: what people search is kept once for each study, and read through there."""

from collections.abc import Iterable
from typing import Any

from peewee import SQL, Database, Field, fn

from dicom_router.deliveries.delivery import Subject
from dicom_router.store import schema
from dicom_router.store.database import rows, scalar
from dicom_router.store.statement import Statement, slot

ROW = schema.Delivery
TEXT = schema.StudyText
REMEMBER = Statement(lambda _: TEXT.insert(study_id=slot(TEXT.study_id), text=slot(TEXT.text)).on_conflict_ignore())
LONGEST_PIECE = 120  # characters; PostgreSQL keeps no key above 2704 bytes, and DICOM allows 64 (PS3.5 6.2)


def remember(database: Database, subject: Subject) -> None:
    """Keep what the study is found by; in the transaction of its delivery."""
    pieces = (
        subject.patient_name,
        subject.patient_id,
        subject.accession_number,
        subject.study_description,
        subject.study_instance_uid,
    )
    REMEMBER.run(database, study_id=subject.study_id, text=searched(pieces))


def searched(pieces: Iterable[str]) -> str:
    """The text that is read through."""
    return "\n".join(piece[:LONGEST_PIECE] for piece in pieces).lower()


def forget(study_ids: Iterable[str]) -> None:
    """Those of them that have no delivery any more."""
    gone = set(study_ids)
    gone -= {found for (found,) in rows(ROW.select(ROW.study_id).where(ROW.study_id.in_(gone)).distinct().tuples())}
    TEXT.delete().where(TEXT.study_id.in_(gone)).execute()


def studies(text: str) -> Any:
    """The IDs of the studies whose text has this part."""
    return TEXT.select(TEXT.study_id).where(TEXT.text.contains(text.lower()))


def mentions(text: str, *, by_row: bool) -> Any:
    """Whether a delivery has this part in what its study is found by, in its rule, its destination or its error.

    `by_row` tells the planner to test each row instead of looking for the rows by index.
    """

    def of(column: Field) -> Any:
        return column.concat("") if by_row else column

    wrong = ROW.select(ROW.id).where(SQL(schema.HAS_FAILED), ROW.error_message.contains(text))
    found = of(ROW.study_id).in_(studies(text)) | (ROW.id + 0 if by_row else ROW.id).in_(wrong)
    for column in (ROW.rule, ROW.destination):
        names = _names(column, text)
        if names:  # an empty list would keep the planner from the indexes of the others
            found = found | of(column).in_(names)
    return found


def _names(column: Field, text: str) -> list[str]:
    """The different values of an indexed column that have this part; each costs a step into the index."""
    found = []
    value = scalar(ROW.select(fn.MIN(column)))
    while value is not None:
        if text.lower() in value.lower():
            found.append(value)
        value = scalar(ROW.select(fn.MIN(column)).where(column > value))
    return found
