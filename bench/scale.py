# SPDX-License-Identifier: AGPL-3.0-or-later
"""The side database as it grows, on SQLite and PostgreSQL: claiming, closing, the history's pages, counts, size.

PYTHONPATH=plugin:integration:bench .venv/bin/python bench/scale.py [--counts 10000,100000,1000000] [--no-postgresql]

A history of that many ended deliveries, and a tenth as many that wait. Milliseconds are medians.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from delivery_queue import claiming, copy, fill

from dicom_router.postgres_address import read_address
from dicom_router.store.database import session
from dicom_router.store.history import Filter
from dicom_router.store.store import Store, open_store
from dicom_router.store.tallies import RECOUNT
from support.long_history import write_long_history

ROUNDS = 20
ONE_BY_ONE = 1000  # enqueued through the queue, on PostgreSQL; the rest is copied
PAGE = 50


def measure(counts: list[int], *, postgresql: bool) -> list[dict[str, Any]]:
    """One row for each database and size."""
    rows = [_sqlite(count) for count in counts]
    return rows + ([_postgresql(count) for count in counts] if postgresql else [])


def _sqlite(count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "router.db"
        open_store(path, "bench", time.time).close()
        empty = path.stat().st_size
        write_long_history(path, count)
        size = (path.stat().st_size - empty) / count
        store = open_store(path, "bench", time.time)
        with session(store.database):
            fill(store, count // 10)
            told = _measured(store)
        store.close()
    return {"Database": "SQLite", "Deliveries": count, "BytesPerDelivery": round(size)} | told


def _postgresql(count: int) -> dict[str, Any]:
    with _server() as store, session(store.database):
        fill(store, ONE_BY_ONE)
        _ask(
            store,
            "UPDATE delivery SET status = CASE WHEN mod(id, 20) = 2 THEN 'Failed' ELSE 'Completed' END, "
            "completed_at = due_at WHERE mod(id, 10) <> 1",  # most of them have ended
        )
        with _without_indexes(store):
            copy(store, max(2, count // ONE_BY_ONE))
        for statement in RECOUNT:
            _ask(store, statement)
        _ask(store, "ANALYZE")  # as autovacuum does after a while
        ((size,),) = _ask(store, "SELECT pg_total_relation_size('delivery')")
        told = _measured(store)
    return {"Database": "PostgreSQL", "Deliveries": count, "BytesPerDelivery": round(size / count)} | told


@contextmanager
def _without_indexes(store: Store) -> Iterator[None]:
    """Millions of rows are written in a tenth of the time when the indexes are made afterwards."""
    indexes = _ask(
        store,
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'delivery' "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint)",
    )
    for name, _ in indexes:
        _ask(store, f'DROP INDEX "{name}"')
    yield
    for _, definition in indexes:
        _ask(store, definition)


def _ask(store: Store, statement: str) -> list[Any]:
    cursor = store.database.execute_sql(statement)  # type: ignore[no-untyped-call]
    return cursor.fetchall() if cursor.description else []


@contextmanager
def _server() -> Iterator[Store]:
    from support.postgres_server import PostgresServer  # noqa: PLC0415 - only where there is one

    server = PostgresServer(settings=())
    try:
        with closing(open_store(read_address(server.url(server.database())), "bench", time.time)) as store:
            yield store
    finally:
        server.close()


def _measured(store: Store) -> dict[str, float]:
    told = claiming(store)
    history = store.history
    questions: dict[str, Callable[[], object]] = {
        "FirstPageMs": lambda: history.page(Filter(), PAGE, None),
        "FailedMs": lambda: history.page(Filter(statuses=["Failed"]), PAGE, None),
        "DestinationMs": lambda: history.page(Filter(destination="A"), PAGE, None),
        "CountsMs": history.counts,
    }
    for name, ask in questions.items():
        told[name] = _milliseconds(ask)
    return told


def _milliseconds(ask: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        taken.append(1000 * (time.perf_counter() - began))
    return round(median(taken), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="10000,100000,1000000")
    parser.add_argument("--no-postgresql", action="store_true")
    chosen = parser.parse_args()
    wanted = [int(each) for each in chosen.counts.split(",")]
    for each in measure(wanted, postgresql=not chosen.no_postgresql):
        print(json.dumps(each))
