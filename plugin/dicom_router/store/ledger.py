# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ledger: which instances of a study a destination has accepted. One row a chunk, 16 bytes an instance."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from peewee import SQL, Database, fn

from dicom_router.deliveries.instance import DIGEST_BYTES
from dicom_router.store.database import row_transaction, rows, session
from dicom_router.store.schema import IS_SENDING, Delivery, Refusal
from dicom_router.store.schema import Ledger as Row
from dicom_router.store.statement import Statement, slot

ACCEPTED = Statement(
    lambda _: Row.select(Row.digests, Row.accepted).where(
        Row.study_id == slot(Row.study_id), Row.destination == slot(Row.destination)
    )
)
REFUSED = Statement(
    lambda _: Refusal.select(Refusal.digest).where(
        Refusal.study_id == slot(Refusal.study_id), Refusal.destination == slot(Refusal.destination)
    )
)
OPEN = Statement(
    lambda _: Row.insert(
        study_id=slot(Row.study_id),
        destination=slot(Row.destination),
        delivery_id=slot(Row.delivery_id),
        digests=slot(Row.digests),
        accepted=0,
        job_id="",
    ).returning(Row.id)
)
SUBMITTED = Statement(lambda _: Row.update(job_id=slot(Row.job_id)).where(Row.id == slot(Row.id)))
ADVANCE = Statement(
    lambda _: Row.update(accepted=slot(Row.accepted)).where(Row.id == slot(Row.id), Row.accepted < slot(Row.accepted))
)
CLOSE_WHOLE = Statement(
    lambda _: Row.update(accepted=slot(Row.accepted), job_id=None, delivery_id=None).where(
        Row.id == slot(Row.id), fn.LENGTH(Row.digests) == slot(Row.accepted) * DIGEST_BYTES
    )
)


@dataclass(frozen=True)
class OpenChunk:
    """A chunk that may be on its way: its job, and how many of its instances are known to be there.

    `job_id` also says which share of the job it is, where there are others (`dispatch.job.Share`).
    """

    id: int
    job_id: str
    count: int
    accepted: int
    delivery_id: int | None


class Ledger:
    """The accepted instances, by study and destination."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accepted(self, study_id: str, destination: str) -> set[bytes]:
        """The fingerprints of the instances that the destination is known to have."""
        with session(self._database):
            found = ACCEPTED.rows(self._database, study_id=study_id, destination=destination)
            return {digest for digests, count in found for digest in split(digests)[:count]}

    def refused(self, study_id: str, destination: str) -> set[bytes]:
        """The fingerprints of the instances that the destination has refused for good."""
        with session(self._database):
            found = REFUSED.rows(self._database, study_id=study_id, destination=destination)
            return {bytes(digest) for (digest,) in found}

    def forget(self, study_id: str, destination: str, digests: Collection[bytes]) -> None:
        """Send these again: that the destination has or has refused them is not taken for granted any more."""
        again = set(digests)
        with row_transaction(self._database):
            known = rows(
                Refusal.select(Refusal.id, Refusal.digest)
                .where(Refusal.study_id == study_id, Refusal.destination == destination)
                .tuples()
            )
            for refusal_id, digest in known:
                if bytes(digest) in again:
                    Refusal.update(digest=b"").where(Refusal.id == refusal_id).execute()
            self.remove(study_id, destination, again)

    def forget_refusals(self, owner_id: str, destination: str) -> None:
        """Try again what was refused of a study, or of the studies of a patient; the history keeps naming it."""
        with row_transaction(self._database):
            theirs = Delivery.select(Delivery.id).where(Delivery.study_id == owner_id)
            named = rows(Refusal.select(Refusal.study_id).distinct().where(Refusal.delivery.in_(theirs)).tuples())
            studies = {owner_id} | {study_id for (study_id,) in named}
            again = Refusal.update(digest=b"")
            again.where(Refusal.study_id.in_(sorted(studies)), Refusal.destination == destination).execute()

    def open_chunk(self, study_id: str, destination: str, delivery_id: int, digests: Sequence[bytes]) -> int:
        """A chunk is about to be handed to Orthanc; nothing of it is accepted yet. Answers the chunk's ID."""
        with session(self._database):
            whole = b"".join(digests)
            place = {"study_id": study_id, "destination": destination, "delivery_id": delivery_id}
            return int(OPEN.scalar(self._database, digests=whole, **place))

    def submitted(self, chunk_id: int, job_id: str) -> None:
        """Orthanc has made a job of the chunk."""
        with session(self._database):
            SUBMITTED.run(self._database, id=chunk_id, job_id=job_id)

    def advance(self, chunk_id: int, accepted: int) -> None:
        """The first `accepted` instances of a chunk under way are there."""
        with session(self._database):
            ADVANCE.run(self._database, id=chunk_id, accepted=accepted)

    def close_chunk(self, chunk_id: int, accepted: int) -> None:
        """The chunk's job has ended; the first `accepted` of its instances are there, the others perhaps not."""
        with row_transaction(self._database):
            if accepted and CLOSE_WHOLE.run(self._database, id=chunk_id, accepted=accepted):
                return
            row = Row.get_or_none(Row.id == chunk_id)
            if row is None:
                return
            accepted = max(accepted, row.accepted)
            if accepted == 0:
                Row.delete().where(Row.id == chunk_id).execute()
                return
            Row.update(
                digests=bytes(row.digests)[: accepted * DIGEST_BYTES], accepted=accepted, job_id=None, delivery_id=None
            ).where(Row.id == chunk_id).execute()

    def add(self, study_id: str, destination: str, digests: Sequence[bytes]) -> None:
        """These instances are there."""
        with session(self._database):
            Row.insert(
                study_id=study_id, destination=destination, digests=b"".join(digests), accepted=len(digests)
            ).execute()

    def remove(self, study_id: str, destination: str, digests: Collection[bytes]) -> None:
        """The destination does not have these after all."""
        gone = set(digests)
        with row_transaction(self._database):
            found = Row.select().where(Row.study_id == study_id, Row.destination == destination, Row.job_id.is_null())
            for row in rows(found):
                kept = [digest for digest in split(row.digests) if digest not in gone]
                if not kept:
                    Row.delete().where(Row.id == row.id).execute()
                elif len(kept) < row.accepted:
                    Row.update(digests=b"".join(kept), accepted=len(kept)).where(Row.id == row.id).execute()

    def open_chunks(self, delivery_ids: Iterable[int] | None = None) -> list[OpenChunk]:
        """The chunks whose end was not written: those of some deliveries, or of all that are not being sent."""
        with session(self._database):
            query = Row.select().where(Row.job_id.is_null(False))
            if delivery_ids is None:
                sending = Delivery.select(Delivery.id).where(SQL(IS_SENDING))
                query = query.where(Row.delivery_id.not_in(sending))
            else:
                query = query.where(Row.delivery_id.in_(list(delivery_ids)))
            return [
                OpenChunk(row.id, row.job_id or "", len(row.digests) // DIGEST_BYTES, row.accepted, row.delivery_id)
                for row in query
            ]

    def prune(self, study_id: str) -> None:
        """The study is gone from Orthanc."""
        with session(self._database):
            Row.delete().where(Row.study_id == study_id, Row.job_id.is_null()).execute()

    def studies(self, after: str, limit: int) -> list[str]:
        """The studies in the ledger in order of their IDs, `limit` from `after` on."""
        with session(self._database):
            found = Row.select(Row.study_id).distinct().where(Row.study_id > after).order_by(Row.study_id).limit(limit)
            return [study_id for (study_id,) in rows(found.tuples())]


def split(digests: bytes) -> list[bytes]:
    """The fingerprints of a chunk, in order."""
    data = bytes(digests)
    return [data[start : start + DIGEST_BYTES] for start in range(0, len(data), DIGEST_BYTES)]
