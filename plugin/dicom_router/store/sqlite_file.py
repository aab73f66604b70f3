# SPDX-License-Identifier: AGPL-3.0-or-later
"""An SQLite file, and what SQLite says of it: that it is damaged, or that it cannot be written now."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import peewee
from playhouse.pool import PooledSqliteDatabase

DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
NO_TABLE = "no such table"
# What keeps SQLite from writing, and what helps.
TROUBLES = {
    sqlite3.SQLITE_FULL: "its disk is full; make room",
    sqlite3.SQLITE_READONLY: "it is read-only; let the user that Orthanc runs as write the file and its folder",
    sqlite3.SQLITE_IOERR: "its disk reports errors, or is full; look after it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look whether its folder is there and may be written",
    sqlite3.SQLITE_PERM: "it may not be used; look at its permissions",
}


class DamagedError(peewee.OperationalError):
    """The file itself is wrong: a database that does not answer, and will not by itself."""


class SqliteFile(PooledSqliteDatabase):
    """`on_damage` hears of damage once it is met; `trouble` says why the file cannot be written just now."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.on_damage: Callable[[str], None] = lambda _reason: None
        self.trouble = ""

    def try_to_write(self) -> None:
        """Something without a meaning; the trouble is over once it is written. Raises what SQLite does."""
        with self.watched(), self.connection_context(), self.atomic("IMMEDIATE"):
            run: Callable[[str], object] = self.execute_sql
            run("INSERT OR REPLACE INTO meta (key, value) VALUES ('written', hex(randomblob(8)))")
        self.trouble = ""

    def retire(self, patience: float) -> bool:
        """Close every connection, once nobody uses it; False when somebody still does after `patience` seconds.

        One that is closed while another thread executes a statement on it would end the process.
        """
        self.close()
        with self._pool_available:
            free = self._pool_available.wait_for(lambda: not self._in_use, patience)
            self.close_idle()
        return bool(free)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Remember what goes wrong. Raises DamagedError for what SQLite has several errors for."""
        try:
            yield
        except DamagedError as problem:
            self.on_damage(str(problem))
            raise
        except (peewee.DatabaseError, sqlite3.DatabaseError) as problem:
            reason = damage(problem)
            if reason:
                self.on_damage(reason)
                raise DamagedError(reason) from problem
            found = (TROUBLES.get(_code(each)) for each in _chain(problem))
            self.trouble = next(filter(None, found), self.trouble)
            if isinstance(problem, sqlite3.OperationalError):  # met while rows were read, where peewee looks away
                raise peewee.OperationalError(str(problem)) from problem
            raise


def damage(problem: BaseException) -> str:
    """What is wrong with the file, if that is what the error says."""
    for each in _chain(problem):
        text = str(each)
        if _code(each) in DAMAGE or text.startswith(NO_TABLE):
            return text
    return ""


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """The error and those behind it: a transaction that SQLite ended by itself cannot be rolled back once more."""
    while problem is not None:
        yield problem
        problem = problem.__context__


def _code(problem: BaseException) -> int:
    """SQLite's primary result code; peewee's own errors have it in that of the driver."""
    return int(getattr(getattr(problem, "orig", problem), "sqlite_errorcode", None) or 0) & 0xFF
