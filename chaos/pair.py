# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two routers over one index and one side database in PostgreSQL, each with a link of its own to the database."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.ground import SABOTAGE, Ground, Orders, destinations, rules
from support.latency_proxy import LatencyProxy, Mode
from support.orthanc import merge
from support.postgres_server import ESCAPED_PASSWORD, USER, PostgresServer
from support.router import Router
from support.sharing import shared_config

AETS = ("ROUTER1", "ROUTER2")


class Pair(Ground):
    """What a trial acts on. `links[n]` is the way of `routers[n]` to the side database; that to the index is safe."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        super().__init__(folder)
        self.links = [LatencyProxy(server.port) for _ in AETS]
        self.orders = [Orders(folder / f"orders-{aet}.json") for aet in AETS]
        index, database = server.database(), server.database()
        shared = merge(shared_config(server, index, folder / "storage"), SABOTAGE)
        self._routers = [
            Router(
                folder / aet,
                self.nodes,
                rules=rules(),
                section={"Destinations": destinations()},
                config=shared,
                aet=aet,
                database=f"postgresql://{USER}:{ESCAPED_PASSWORD}@127.0.0.1:{link.port}/{database}",
            )
            for aet, link in zip(AETS, self.links, strict=True)
        ]
        for router, orders in zip(self._routers, self.orders, strict=True):
            router.environment |= orders.environment
        self._frozen: list[Router] = []

    @property
    def routers(self) -> list[Router]:
        return self._routers

    def freeze(self, router: Router) -> None:
        """The process stands still, as a machine that is moved or out of memory does."""
        os.kill(router.pid, signal.SIGSTOP)
        self._frozen.append(router)

    def heal(self) -> None:
        for orders in self.orders:
            orders.give()
        for router in self._frozen:
            os.kill(router.pid, signal.SIGCONT)
        self._frozen.clear()
        for link in self.links:
            link.delay = 0.0
            if link.mode is Mode.BLACK_HOLE:
                link.cut()  # as of `proxy`
            link.forward()
        super().heal()

    def close(self) -> None:
        super().close()
        for link in self.links:
            link.close()


@contextmanager
def pair() -> Iterator[Pair]:
    """A fresh pair with a PostgreSQL server of its own, closed at the end."""
    with tempfile.TemporaryDirectory(prefix="chaos-pair-") as name:
        server = PostgresServer()
        made = Pair(Path(name), server)
        try:
            made.start()
            yield made
        finally:
            made.close()
            server.close()
