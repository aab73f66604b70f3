# SPDX-License-Identifier: AGPL-3.0-or-later
"""The queue with many waiting deliveries: what claiming costs, what the idle dispatcher costs, bytes per instance.

PYTHONPATH=plugin .venv/bin/python bench/delivery_queue.py [--waiting 100000]
PYTHONPATH=plugin:integration .venv/bin/python bench/delivery_queue.py --postgresql
"""

import argparse
import json
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_router.deliveries.delivery import NewDelivery, Priority, Reason, Subject
from dicom_router.destination import Destination
from dicom_router.dispatch.dispatcher import Dispatcher
from dicom_router.dispatch.outside import Outside
from dicom_router.postgres_address import read_address
from dicom_router.store import schema
from dicom_router.store.database import session, transaction
from dicom_router.store.store import Store, open_store
from dicom_router.studies.listings import Listings

DESTINATIONS = ("A", "B", "C", "D")
ROUNDS = 200
IDLE_SECONDS = 20.0
FILLED = 1000  # one by one, on PostgreSQL; the rest is copied


def fill(store: Store, waiting: int) -> None:
    now = time.time()
    with transaction(store.database):
        for number in range(waiting):
            subject = Subject("Study", f"study-{number}", f"study-{number}", f"1.2.{number}")
            late = number % 2  # one half is due, the other waits for the night
            store.queue.enqueue(
                NewDelivery(
                    subject,
                    DESTINATIONS[number % len(DESTINATIONS)],
                    "rule",
                    1,
                    Priority.NORMAL,
                    now + 36000 * late,
                    Reason.WINDOW if late else Reason.QUEUED,
                    100,
                    52_428_800,
                ),
                now,
            )


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Add how many milliseconds the block takes."""
    began = time.perf_counter()
    yield
    into.append(1000 * (time.perf_counter() - began))


def claiming(store: Store) -> dict[str, float]:
    claims: list[float] = []
    closes: list[float] = []
    for number in range(ROUNDS):
        with timed(claims):
            delivery = store.queue.claim(DESTINATIONS[2 * (number % 2)], f"lease-{number}", time.time())
        assert delivery is not None
        with timed(closes):
            store.queue.succeed(delivery, 100, 0, "Accepted", time.time())
    return {"ClaimMedianMs": round(statistics.median(claims), 2), "CloseMedianMs": round(statistics.median(closes), 2)}


def idling(store: Store) -> dict[str, float]:
    """The dispatcher with everything paused, so that nothing can be sent."""
    store.switches.pause_router(paused=True)
    outside = Outside(
        transport=None,  # type: ignore[arg-type] - nothing is sent
        rest=None,  # type: ignore[arg-type]
        effective=lambda destination, _delivery: destination,
        window=lambda _destination, now: now,
        closed=lambda: None,
        log=print,
        listings=Listings(time.monotonic),
    )
    destinations = {name: Destination(name, name) for name in DESTINATIONS}
    dispatcher = Dispatcher(store, destinations, 16, outside)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dispatcher.start()
    cpu = time.process_time()
    threading.Event().wait(IDLE_SECONDS)
    used = time.process_time() - cpu
    dispatcher.stop()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"IdleCorePercent": round(100 * used / IDLE_SECONDS, 3), "GrownKB": grown}


def ledger_size(folder: Path, studies: int = 400, instances: int = 500) -> float:
    """Bytes on disk for each instance that one destination has."""
    store = open_store(folder / "ledger.db", "bench", time.time)
    empty = (folder / "ledger.db").stat().st_size
    for number in range(studies):
        study = f"{number:08x}-11111111-22222222-33333333-44444444"
        for start in range(0, instances, 100):
            digests = [f"{number:08x}{start + index:08x}".encode() for index in range(100)]
            store.ledger.close_chunk(store.ledger.open_chunk(study, "ARCHIVE", 1, digests), 100)
    store.database.connect(reuse_if_open=True)
    store.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[no-untyped-call]
    store.database.close()
    return round(((folder / "ledger.db").stat().st_size - empty) / (studies * instances), 2)


def copy(store: Store, times: int) -> None:
    """So many times as much, of other studies."""
    table = schema.Delivery._meta  # type: ignore[attr-defined]
    changed = {"resource_id", "study_id"}
    names = [name for name in table.fields if name not in {"id", *changed}]
    added = "resource_id || '-' || n, study_id || '-' || n"
    store.database.execute_sql(  # type: ignore[no-untyped-call]
        f"INSERT INTO delivery ({', '.join(names)}, resource_id, study_id) SELECT {', '.join(names)}, {added} "
        f"FROM delivery, generate_series(2, {times}) AS n"
    )


def on_postgresql(waiting: int) -> None:
    """The same on PostgreSQL, over loopback."""
    from support.postgres_server import PostgresServer  # noqa: PLC0415 - only where there is one

    server = PostgresServer(settings=())
    try:
        store = open_store(read_address(server.url(server.database())), "bench", time.time)
        filling: list[float] = []
        with session(store.database):
            with timed(filling):
                fill(store, FILLED)
            copy(store, waiting // FILLED)
            store.database.execute_sql("ANALYZE")  # type: ignore[no-untyped-call] - as autovacuum does after a while
            told = {"Waiting": waiting, "EnqueueMs": round(filling[0] / FILLED, 3)} | claiming(store)
        print(json.dumps({"Database": "PostgreSQL"} | told | idling(store)))
        store.close()
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--postgresql", action="store_true", help="in a server of our own, with Debian's settings")
    options = parser.parse_args()
    if options.postgresql:
        on_postgresql(options.waiting)
        return
    waiting = options.waiting
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(folder / "router.db", "bench", time.time)
        filling: list[float] = []
        with session(store.database):  # as the dispatcher's thread has it
            with timed(filling):
                fill(store, waiting)
            told = {"Waiting": waiting, "EnqueueMs": round(filling[0] / waiting, 3)} | claiming(store)
        told |= idling(store)
        told["LedgerBytesPerInstance"] = ledger_size(folder)
        print(json.dumps(told))


if __name__ == "__main__":
    main()
