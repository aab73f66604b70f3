# SPDX-License-Identifier: AGPL-3.0-or-later
"""A TCP proxy that makes loopback as slow and as unreliable as a wide-area link."""

import asyncio
import threading
from collections.abc import Coroutine
from enum import Enum
from typing import Any

from .network import LOOPBACK, disable_nagle, free_port

CHUNK = 65536
IN_FLIGHT_CHUNKS = 256


class Mode(Enum):
    """What happens to connections and to their data."""

    FORWARD = "forward"
    REFUSE = "refuse connections"
    BLACK_HOLE = "accept connections, swallow all data"


class LatencyProxy:
    """Forwards `port` to `target_port` on loopback; each direction is delayed by `delay` seconds, at full bandwidth."""

    def __init__(self, target_port: int, delay: float = 0.0) -> None:
        self.port = free_port()
        self.delay = delay
        self.connections = 0
        """How many were accepted so far."""
        self.mode = Mode.FORWARD
        self._target_port = target_port
        self._open: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    def forward(self) -> None:
        """Be a good network again, for new connections."""
        self.mode = Mode.FORWARD
        self._do(self._listen())

    def refuse(self) -> None:
        """Cut all connections and refuse new ones."""
        self.mode = Mode.REFUSE
        self._do(self._stop_listening())
        self.cut()

    def black_hole(self) -> None:
        """Keep connections and accept new ones, but let no byte through any more."""
        self.mode = Mode.BLACK_HOLE
        self._do(self._listen())

    def cut(self) -> None:
        """Reset all connections; new ones work as before."""
        self._do(self._cut())

    def close(self) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # In the proxy's thread

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._connected, LOOPBACK, self.port, backlog=128, reuse_address=True
            )

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        connections = list(self._open)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = asyncio.current_task()
        assert connection is not None
        self._open.add(connection)
        ends = [writer]
        try:
            if self.mode is Mode.BLACK_HOLE:
                await self._swallow(reader)
                return
            await asyncio.sleep(self.delay)
            target_reader, target = await asyncio.open_connection(LOOPBACK, self._target_port)
            ends.append(target)
            for end in ends:
                disable_nagle(end.get_extra_info("socket"))
            async with asyncio.TaskGroup() as both_ways:
                for source, sink in ((reader, target), (target_reader, writer)):
                    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT_CHUNKS)
                    both_ways.create_task(self._receive(source, due))
                    both_ways.create_task(self._deliver(due, sink))
        except* OSError:
            pass  # one side is gone: so is the other
        except* asyncio.CancelledError:
            pass  # cut
        finally:
            self._open.discard(connection)
            for end in ends:
                end.transport.abort()

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        """Tell the target nothing: a connection without a word would keep Orthanc from accepting others."""
        while await reader.read(CHUNK):
            pass

    async def _receive(self, source: asyncio.StreamReader, due: "asyncio.Queue[tuple[float, bytes]]") -> None:
        """Read at once, to be written when due: the delay is a distance, not a brake."""
        data = b"first"
        while data:
            data = await source.read(CHUNK)
            await due.put((self._loop.time() + self.delay, data))

    async def _deliver(self, due: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        data = b"first"
        while data:
            when, data = await due.get()
            await asyncio.sleep(when - self._loop.time())
            if self.mode is not Mode.BLACK_HOLE:
                sink.write(data) if data else sink.write_eof()
                await sink.drain()
        if self.mode is Mode.BLACK_HOLE:
            await asyncio.Event().wait()  # the other side does not hear of the end either
