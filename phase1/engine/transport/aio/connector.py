"""Where connections come from, as many as are asked for; which of them can be used again, and how all are cut."""

from __future__ import annotations

import asyncio
import os
from math import inf
from typing import TYPE_CHECKING, cast
from weakref import WeakSet

import aiohttp

from phase1.engine.transport.aio.warm import Warm, is_usable
from phase1.engine.transport.base import KEEP_ALIVE, NeverSent
from phase1.engine.transport.tls import ssl_context

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

__all__ = ["LONGEST_FIELD", "UNDONE", "Connector"]

UNDONE = frozenset({b"gzip", b"deflate", b"br", b"zstd"})
"""Content codings that aiohttp's parser decodes."""
LONGEST_FIELD = 100 * 1024
"""Bytes, as in httpx; aiohttp's own limit is 8 KiB."""


class Connector(aiohttp.TCPConnector):
    """One per transport: connections have an owner that can cut them."""

    def __init__(self) -> None:
        super().__init__(limit=0, ssl=ssl_context(), keepalive_timeout=KEEP_ALIVE, resolver=aiohttp.ThreadedResolver())
        self._handed_out: WeakSet[ResponseHandler] = WeakSet()
        self._pid = os.getpid()
        self.warm = Warm()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection that stands. Raises `NeverSent`."""
        try:
            while not self._is_usable(connection := await super().connect(req, traces, timeout)):
                connection.close()
        except asyncio.CancelledError:
            if self.closed and not _is_cancelled():  # aiohttp cancels its own look-ups
                raise NeverSent("closed") from None
            raise
        except Exception as exc:
            raise NeverSent(type(exc).__name__) from exc
        return connection

    def _is_usable(self, connection: Connection) -> bool:
        """New, or as good as new."""
        protocol = cast("ResponseHandler", connection.protocol)
        if protocol in self._handed_out:
            return is_usable(protocol)
        self._handed_out.add(protocol)
        return True

    async def cut(self) -> None:
        """Cut every connection, whatever is still to be written to it, and let those who read from it know."""
        closed = []
        for protocol in tuple(self._handed_out):
            if protocol.transport is not None and protocol.closed is not None:
                closed.append(protocol.closed)
                protocol.transport.abort()
        await asyncio.gather(*closed, return_exceptions=True)
        self.warm.tidy(before=inf)

    def forget(self) -> None:
        """Let go of the connections without closing them, if they are another process's or their loop is gone."""
        if self._loop.is_closed() or self._pid != os.getpid():
            self._conns.clear()
            self.warm.forget()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
