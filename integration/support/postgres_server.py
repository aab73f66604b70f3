# SPDX-License-Identifier: AGPL-3.0-or-later
"""A PostgreSQL server of our own, from Debian's binaries, in a temporary folder and on loopback."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from .network import free_port
from .waiting import wait_until

USER, PASSWORD = "router", "p@ss/word"
ESCAPED_PASSWORD = "p%40ss%2Fword"
START_SECONDS = 60
MISSING = "PostgreSQL's server is missing (Debian's package is postgresql; `make test-postgresql` installs it)"

# A test's data need not outlive a power cut.
QUICK = ("fsync=off", "full_page_writes=off", "max_connections=300")


def binaries() -> Path:
    """The folder of `initdb` and `postgres`: `POSTGRESQL_BIN`, or Debian's of the highest version."""
    told = os.environ.get("POSTGRESQL_BIN")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    folder = Path(told) if told else (found or [Path("missing")])[-1]
    assert (folder / "initdb").exists(), MISSING
    return folder


def _unprivileged() -> dict[str, object]:
    """The server refuses to run as root."""
    if os.getuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class PostgresServer:
    """The server; each database in it is made by `database`."""

    def __init__(self, settings: Sequence[str] = QUICK) -> None:
        self.port = free_port()
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="router-postgres-"))
        self._as = _unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._as:
            for path in (self._folder, password):
                os.chown(path, self._as["user"], self._as["group"])  # type: ignore[arg-type]
        auth = ["--username", USER, "--pwfile", str(password), "--auth", "scram-sha-256"]
        self._run(
            "initdb", "--pgdata", str(self._data), "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", *auth
        )
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start, and return once it answers."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=", *self._settings]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binaries() / "postgres", "-D", self._data, *[f"-c{each}" for each in settings]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                process_group=0,
                **self._as,  # type: ignore[call-overload]
            )
        wait_until(self._answers, START_SECONDS, "PostgreSQL answers")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, and all its connections. SIGQUIT: as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql://{USER}:{ESCAPED_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def database(self, template: str = "template1", encoding: str = "UTF8") -> str:
        """Make a database; its name."""
        name = f"test_{next(self._numbers)}"
        locale = "" if encoding == "UTF8" else f" ENCODING '{encoding}' LOCALE 'C'"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}{locale}")
        return name

    def empty(self, name: str) -> None:
        """Take everything out of a database of the router, for the next test. (TRUNCATE takes a second.)"""
        tables = self.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)
        forget = [f"DELETE FROM {table}" for (table,) in tables if table != "meta"]
        count = "SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'"
        self.execute("; ".join([*forget, "DELETE FROM meta WHERE key <> 'schema_version'", count]), name)

    def execute(self, sql: str, name: str = "postgres") -> list[tuple[object, ...]]:
        """One statement; its rows, if it has any."""
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [binaries() / program, *arguments],
            cwd=self._folder,
            capture_output=True,
            check=False,
            **self._as,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr.decode()
