# SPDX-License-Identifier: AGPL-3.0-or-later
"""What only PostgreSQL has: several Orthancs that write at the same time, and a server that comes and goes."""

import builtins
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import peewee
import pytest

from builders import ARCHIVE, BROKEN, NOW, claimed, enqueued, fill, found, new_delivery
from dicom_router.deliveries.delivery import Status
from dicom_router.postgres_address import read_address
from dicom_router.store import database as database_module
from dicom_router.store.database import (
    LOST,
    MIGRATIONS,
    SCHEMA_VERSION,
    NewerSchemaError,
    StoreError,
    UnreachableError,
    session,
    transaction,
)
from dicom_router.store.postgres import Presence, ServerClock, open_postgres
from dicom_router.store.store import Store, open_store
from support.network import free_port
from support.postgres_server import PASSWORD, PostgresServer

LIMIT = 30.0


@pytest.fixture
def address(server: PostgresServer) -> str:
    return server.url(server.database())


@pytest.fixture
def opened(address: str) -> Iterator[Callable[[str], Store]]:
    """Stores as different Orthancs have them; each thread has its own connection."""
    database = open_postgres(read_address(address))
    made: list[Store] = []

    def opened_by(owner: str) -> Store:
        made.append(Store(database, owner, ServerClock(database), Presence(database, owner)))
        return made[-1]

    yield opened_by
    for store in made:
        store.close()
    database.close_all()  # type: ignore[no-untyped-call]


Opened = Callable[[str], Store]


def at_once(*works: Callable[[], object]) -> list[Any]:
    """What each of them answers, all begun at the same moment."""
    begin = threading.Barrier(len(works))
    answers: list[Any] = [None] * len(works)

    def run(place: int, work: Callable[[], object]) -> None:
        begin.wait()
        try:
            answers[place] = work()
        except Exception as problem:  # noqa: BLE001 - the test looks at it
            answers[place] = problem

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    return answers


def drain(store: Store, lease: str) -> list[int]:
    """Claim and end all there is; the IDs."""
    mine = []
    with session(store.database):
        while (delivery := store.queue.claim(ARCHIVE, f"{lease}-{len(mine)}", NOW)) is not None:
            mine.append(delivery.id)
            assert store.queue.succeed(delivery, 3, 0, "Accepted", NOW)
    return mine


def test_no_delivery_is_claimed_by_two(opened: Opened) -> None:
    one, two, three = opened("one"), opened("two"), opened("three")
    fill(one, 0, 60)
    mine, yours, theirs = at_once(lambda: drain(one, "a"), lambda: drain(two, "b"), lambda: drain(three, "c"))
    assert sorted([*mine, *yours, *theirs]) == sorted({*mine, *yours, *theirs})
    assert len([*mine, *yours, *theirs]) == 60


def test_a_study_is_sent_to_a_destination_by_one_at_a_time(opened: Opened) -> None:
    one, two = opened("one"), opened("two")
    for number in range(20):
        for options in ("{}", '{"other": 1}'):  # two rules send different instances of it
            made = new_delivery(f"s{number}", options=options)
            assert one.queue.enqueue(made, NOW + number) is not None
    for number in range(20):
        claims = at_once(
            partial(one.queue.claim, ARCHIVE, f"one-{number}", NOW),
            partial(two.queue.claim, ARCHIVE, f"two-{number}", NOW),
        )
        assert all(each is None or not isinstance(each, Exception) for each in claims), claims
    with session(one.database):
        sending = one.database.execute_sql(
            "SELECT study_id, COUNT(*) FROM delivery WHERE status = 'Sending' GROUP BY study_id"
        ).fetchall()
    assert len(sending) == 20
    assert {count for _, count in sending} == {1}


def test_a_resource_waits_for_a_destination_once_whoever_adds_it(opened: Opened) -> None:
    one, two = opened("one"), opened("two")
    for number in range(15):
        made = at_once(*(partial(each.queue.enqueue, new_delivery(f"s{number}"), NOW) for each in (one, two)))
        assert sorted(each is None for each in made) == [False, True]


def test_what_a_dead_one_left_is_adopted_by_one(opened: Opened) -> None:
    dead, one, two = opened("dead"), opened("one"), opened("two")
    for number in range(20):
        claimed(dead, f"s{number}", lease=f"lease-{number}")
    later = NOW + 61
    adopted = at_once(lambda: one.queue.adopt(later), lambda: two.queue.adopt(later))
    assert len({delivery.id for each in adopted for delivery in each}) == sum(len(each) for each in adopted) == 20


def test_a_cancel_through_another_orthanc_is_not_overwritten_by_the_end_of_the_attempt(opened: Opened) -> None:
    one, two = opened("one"), opened("two")
    for number in range(15):
        delivery = claimed(one, f"s{number}", lease=f"lease-{number}")
        at_once(
            partial(one.queue.fail, delivery, BROKEN, 0, 0, NOW + 30, NOW), partial(two.queue.cancel, delivery.id, NOW)
        )
        assert found(one, delivery.id).status is Status.CANCELED


def test_a_paused_destination_is_paused_for_all(opened: Opened) -> None:
    one, two = opened("one"), opened("two")
    one.switches.pause_destination(ARCHIVE, paused=True)
    one.switches.pause_router(paused=True)
    assert two.switches.read()
    assert two.switches.destination_paused(ARCHIVE)
    assert two.switches.router_paused()
    one.switches.pause_router(paused=False)
    assert two.switches.read()
    assert not two.switches.router_paused()
    assert not two.switches.read()


def test_a_rule_saved_elsewhere_shows(opened: Opened) -> None:
    one, two = opened("one"), opened("two")
    before = two.rule_book.state()
    one.rule_book.put({"Name": "r", "Send": [ARCHIVE]}, NOW)
    first = two.rule_book.state()
    one.rule_book.put({"Name": "r", "Send": []}, NOW)
    assert len({tuple(before), tuple(first), tuple(two.rule_book.state())}) == 3


def test_only_the_reader_moves_the_cursor(opened: Opened) -> None:
    one, two = opened("one"), opened("two")
    assert one.reader is not None
    assert two.reader is not None
    held = at_once(lambda: one.reader.hold(NOW), lambda: two.reader.hold(NOW))  # type: ignore[union-attr]
    assert sorted(each is None for each in held) == [False, True]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_one_of_several_makes_the_tables(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def slow(_database: peewee.Database) -> None:
        steps.append(1)
        threading.Event().wait(0.3)

    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, slow))
    monkeypatch.setattr(database_module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    opened = at_once(*(lambda: open_postgres(read_address(address)) for _ in range(3)))
    assert [type(each).__name__ for each in opened] == ["Postgres"] * 3
    assert steps == [1]
    for each in opened:
        each.close_all()


def test_a_newer_schema_is_refused(address: str) -> None:
    database = open_postgres(read_address(address))
    with session(database):
        database.execute_sql("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(NewerSchemaError, match="schema 99"):
        open_postgres(read_address(address))
    database.close_all()  # type: ignore[no-untyped-call]


def test_an_encoding_that_cannot_hold_every_name_is_refused(server: PostgresServer) -> None:
    name = server.database("template0", encoding="LATIN1")
    with pytest.raises(StoreError, match="LATIN1"):
        open_postgres(read_address(server.url(name)))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda url: url.replace("/test_", "/missing_"), "does not exist"),
        (lambda url: url.replace("router:", "stranger:"), "password authentication failed"),
        (lambda url: url.replace("@127.0.0.1", "x@127.0.0.1"), "password authentication failed"),
        (lambda url: re.sub(r":[0-9]+/", f":{free_port()}/", url), "refused"),
        (lambda url: url + "?sslmode=require", "SSL"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    address: str, wrong: Callable[[str], str], text: str
) -> None:
    with pytest.raises(StoreError, match=text) as raised:
        open_postgres(read_address(wrong(address)))
    assert "The router's database, PostgreSQL " in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_its_driver_the_remedy_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StoreError, match=r"psycopg.*postgres"):
        open_postgres(read_address(address))


# --- text ------------------------------------------------------------------------------------------------------------


def test_what_no_text_of_a_database_holds_is_left_out(opened: Opened) -> None:
    store = opened("one")
    subject = new_delivery("s").subject
    made = store.queue.enqueue(
        new_delivery("s", subject=subject.__class__(**{**vars(subject), "patient_name": "D\0OE^\ud800 山田"})), NOW
    )
    assert made is not None
    assert found(store, made).patient_name == "DOE^? 山田"


# --- time, and who is there ------------------------------------------------------------------------------------------


def test_the_time_is_the_servers(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened("one")
    with session(store.database):
        told = float(store.database.execute_sql("SELECT EXTRACT(EPOCH FROM clock_timestamp())").fetchone()[0])
    assert abs(store.clock() - told) < 5
    monkeypatch.setattr(time, "time", lambda: 0.0)  # an administrator sets this machine's clock
    assert abs(store.clock() - told) < 5
    clock = ServerClock(store.database)
    before = clock()
    assert clock() >= before


def test_of_two_living_with_one_name_the_second_knows_it(opened: Opened) -> None:
    one, namesake, other = opened("one"), opened("one"), opened("other")
    assert one.only_bearer_of_its_name()
    assert not namesake.only_bearer_of_its_name()
    assert other.only_bearer_of_its_name()
    delivery = claimed(one)
    assert namesake.queue.adopt(NOW, restarted=True) == []
    one.close()  # its process died
    assert namesake.only_bearer_of_its_name(patient=True)
    assert [each.id for each in namesake.queue.adopt(NOW, restarted=True)] == [delivery.id]


# --- a server that comes and goes ------------------------------------------------------------------------------------


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    made = PostgresServer()
    yield made
    made.close()


def test_a_server_that_comes_back_is_used_again(own_server: PostgresServer) -> None:
    address = read_address(own_server.url(own_server.database()))
    store = open_store(address, "one", lambda: 0.0)
    assert store.only_bearer_of_its_name()
    enqueued(store)
    own_server.stop(signal.SIGQUIT)
    with pytest.raises(LOST):
        store.history.counts()
    with pytest.raises(LOST):
        enqueued(store, "not written")
    with pytest.raises(UnreachableError):
        open_postgres(address)
    own_server.start()
    end = time.monotonic() + LIMIT
    while True:
        try:
            counts = store.history.counts()
            break
        except LOST:
            assert time.monotonic() < end
            threading.Event().wait(0.05)
    assert counts["Scheduled"] == 1
    assert store.only_bearer_of_its_name()
    store.close()
    store.database.close_all()  # type: ignore[attr-defined]


def test_a_connection_that_breaks_in_a_transaction_leaves_nothing(opened: Opened, server: PostgresServer) -> None:
    store = opened("one")

    def broken() -> None:
        with transaction(store.database):
            enqueued(store)
            pid = store.database.execute_sql("SELECT pg_backend_pid()").fetchone()[0]
            server.execute(f"SELECT pg_terminate_backend({pid})")
            enqueued(store, "other")

    with pytest.raises(LOST):
        broken()
    assert sum(store.history.counts().values()) == 0


def test_one_that_stands_still_in_a_transaction_holds_up_the_others_only_for_a_while(
    opened: Opened,
) -> None:
    asleep, awake = opened("one"), opened("two")
    begun, over = threading.Event(), threading.Event()
    told: list[BaseException] = []

    def sleep() -> None:
        try:
            with transaction(asleep.database):
                asleep.database.execute_sql("SET LOCAL idle_in_transaction_session_timeout = '300ms'")
                begun.set()
                over.wait(LIMIT)
                enqueued(asleep, "asleep")
        except LOST as problem:
            told.append(problem)

    thread = threading.Thread(target=sleep)
    thread.start()
    assert begun.wait(LIMIT)
    enqueued(awake)
    over.set()
    thread.join(LIMIT)
    assert len(told) == 1
    assert awake.history.counts()["Scheduled"] == 1


# --- the cost of a long queue ----------------------------------------------------------------------------------------

LOOP: dict[str, Callable[[Store], object]] = {
    "wake_due": lambda store: store.queue.wake_due(NOW),
    "next_due": lambda store: store.queue.next_due(),
    "first_rank": lambda store: store.queue.first_rank(ARCHIVE),
    "claim": lambda store: store.queue.claim(ARCHIVE, "lease", NOW),
    "adopt": lambda store: store.queue.adopt(NOW),
    "renew_leases": lambda store: store.queue.renew_leases(["lease"], NOW),
    "enqueue": lambda store: store.queue.enqueue(new_delivery("another"), NOW),
    "failover.due": lambda store: store.failover.due(NOW, [ARCHIVE]),
    "failover.next_due": lambda store: store.failover.next_due(),
}


@pytest.mark.parametrize("name", LOOP)
def test_no_question_of_the_loop_reads_the_whole_table(
    opened: Opened, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened("one")
    claimed(store, "busy")
    fill(store, 0, 3000)
    fill(store, 10_000, 3000, Status.COMPLETED)
    asked: list[tuple[str, Any]] = []
    execute = store.database.execute_sql
    with session(store.database):
        execute("ANALYZE")
        monkeypatch.setattr(store.database, "execute_sql", lambda *given: (asked.append(given), execute(*given))[1])
        LOOP[name](store)
        monkeypatch.undo()
        for sql, *params in asked:
            if sql.split(maxsplit=1)[0] in {"SELECT", "UPDATE", "DELETE"} and '"delivery"' in sql:
                told = "\n".join(row[0] for row in execute(f"EXPLAIN {sql}", *params).fetchall())
                assert "Seq Scan on delivery" not in told, f"{sql}\n{told}"
