"""A wire that can be cut: a TCP proxy in front of a server, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Wire", "wire"]

BOUND = 10.0


class Wire:
    """Everything that comes to `port` goes to `target`, until it is cut."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """All connections end now, and new ones at once."""
        self._loop.call_soon_threadsafe(self._do_cut)

    def _do_cut(self) -> None:
        self._cut = True
        for writer in self._connections:
            writer.transport.abort()

    def mend(self) -> None:
        """As before."""
        self._cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            if not self._cut:
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                ends.add(back)
                self._connections |= ends
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
        except (OSError, asyncio.CancelledError):
            pass  # cut, or the end of the test
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    def open(self) -> None:
        """Listen."""

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._serve, "127.0.0.1", 0)

        self._server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(BOUND)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """The end."""

        async def end() -> None:
            self._do_cut()
            if self._server is not None:
                self._server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(BOUND)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextmanager
def wire(target: int) -> Iterator[Wire]:
    """A wire to the port `target`."""
    made = Wire(target)
    made.open()
    try:
        yield made
    finally:
        made.close()
