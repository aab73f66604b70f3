# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers that a test starts through a fixture, end with it; when it fails, their logs are in the report."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from support.browser import Watched, running_chromium
from support.http_server import ScriptedHttpServer
from support.latency_proxy import LatencyProxy
from support.network import DicomNode
from support.orthanc import Orthanc
from support.postgres_server import PostgresServer
from support.router import Router
from support.scripted_scp import ScriptedScp
from support.side_database import on_postgresql

# Orthanc 1.10.1 alone takes 1.6 to 3.9 s, more on a busy machine; what hangs takes 30. test_stopping.py measures the
# router's own part.
MAX_STOP_SECONDS = 10
LOG_LINES = 80

_orthancs = pytest.StashKey[list[Orthanc]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for orthanc in item.stash.get(_orthancs, []):
            report.sections.append((f"log of {orthanc.name} ({orthanc.log_file})", orthanc.log_tail(LOG_LINES)))
    return report


@pytest.fixture
def orthancs(request: pytest.FixtureRequest) -> Iterator[list[Orthanc]]:
    """The Orthancs of this test. Routers that still run at its end must stop in order; the others are just killed."""
    started: list[Orthanc] = []
    request.node.stash[_orthancs] = started
    yield started
    try:
        for router in started:
            if isinstance(router, Router) and router.is_alive:
                assert router.stop() < MAX_STOP_SECONDS
                assert router.crash_signs() == []
    finally:
        for orthanc in started:
            orthanc.kill()


@pytest.fixture
def start_orthanc(tmp_path: Path, orthancs: list[Orthanc]) -> Callable[..., Orthanc]:
    """`start_orthanc("ARCHIVE")`: a plain Orthanc, running; further arguments as of `Orthanc`."""

    def start(aet: str = "ORTHANC", **arguments: Any) -> Orthanc:
        orthanc = Orthanc(tmp_path / aet, aet, **arguments)
        orthancs.append(orthanc)
        orthanc.start()
        return orthanc

    return start


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests."""
    made = PostgresServer()
    yield made
    made.close()


@pytest.fixture
def new_database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """The address of a new side database for each router."""
    if not on_postgresql():
        return lambda: ""
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda: server.url(server.database())


@pytest.fixture
def start_router(tmp_path: Path, orthancs: list[Orthanc], new_database: Callable[[], str]) -> Callable[..., Router]:
    """`start_router({"ARCHIVE": archive.node})`: the router, running; further arguments as of `Router`."""

    def start(destinations: dict[str, DicomNode] | None = None, **arguments: Any) -> Router:
        if "database" not in arguments:
            arguments["database"] = new_database()
        router = Router(tmp_path / str(arguments.get("aet", "ROUTER")), destinations, **arguments)
        orthancs.append(router)
        router.start()
        return router

    return start


@pytest.fixture
def start_scp(orthancs: list[Orthanc]) -> Iterator[Callable[..., ScriptedScp]]:
    """`start_scp("PACS")`: a scripted SCP, listening. It outlives the routers, which stop while it misbehaves."""
    del orthancs  # only the order counts
    scps: list[ScriptedScp] = []

    def start(aet: str = "SCP", **arguments: Any) -> ScriptedScp:
        scps.append(ScriptedScp(aet, **arguments))
        return scps[-1]

    yield start
    for scp in scps:
        scp.close()


@pytest.fixture
def start_proxy(orthancs: list[Orthanc]) -> Iterator[Callable[..., LatencyProxy]]:
    """`start_proxy(archive.dicom, delay=0.02)`: a slow link to that port."""
    del orthancs
    proxies: list[LatencyProxy] = []

    def start(target_port: int, delay: float = 0.0) -> LatencyProxy:
        proxies.append(LatencyProxy(target_port, delay))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser; each test gets windows of its own."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Browser, orthancs: list[Orthanc]) -> Iterator[Callable[..., Watched]]:
    """`open_page(router)`: a window, and `.go("#/history")`. No complaint may be left at the end."""
    del orthancs  # the window closes first
    opened: list[Watched] = []

    def open_window(orthanc: Orthanc, **options: Any) -> Watched:
        opened.append(Watched(chromium, orthanc.url, **options))
        return opened[-1]

    yield open_window
    complaints = [complaint for each in opened for complaint in each.complaints]
    for each in opened:
        each.close()
    assert complaints == []


@pytest.fixture
def start_http_server(orthancs: list[Orthanc]) -> Iterator[Callable[..., ScriptedHttpServer]]:
    """`start_http_server()`: a scripted peer and DICOMweb server, listening."""
    del orthancs
    servers: list[ScriptedHttpServer] = []

    def start() -> ScriptedHttpServer:
        servers.append(ScriptedHttpServer())
        return servers[-1]

    yield start
    for server in servers:
        server.close()
