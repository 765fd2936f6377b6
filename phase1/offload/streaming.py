"""How does a journal flow to a client? Rendered, sent as fast as the client takes it, and ended before a proxy would.

A connection ends after five minutes, when the process shuts down, or when the client takes nothing for 30 seconds: in
each case without a last event, so that the client resumes from its cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from phase1.offload.background import apart, end
from phase1.offload.dialects import PING, Renderer
from phase1.offload.journal import START, Cursor, Entry, JournalUnavailable
from phase1.offload.reader import TaskGone, follow

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from phase1.offload.backend import Backend
    from phase1.offload.service import Offload

__all__ = ["JournalStream"]

_log = logging.getLogger("phase1")

_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}


class JournalStream:
    """An ASGI response: one reader of one task, from a cursor on."""

    def __init__(
        self,
        offload: Offload,
        backend: Backend,
        task: str,
        user: str,
        *,
        after: Cursor,
        renderer: Renderer,
        headers: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._offload = offload
        self._backend = backend
        self._task = task
        self._user = user
        self._after = after
        self._renderer = renderer
        self._headers = {**_HEADERS, **headers}
        self._clock = clock
        self._times = offload.config.times

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it."""
        self._offload.streams[self._user] += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _raw(self._headers)})
            left = await self._serve(receive, send)
        finally:
            self._offload.streams[self._user] -= 1
            if not self._offload.streams[self._user]:
                del self._offload.streams[self._user]
        if left and self._offload.config.cancel_unread:
            self._offload.later(self._cancel_if_unread())

    async def _serve(self, receive: Receive, send: Send) -> bool:
        """Until the end, the time limit, the shutdown, or the client's leaving; whether it left."""
        pump = apart(self._pump(send))
        leaving = apart(_disconnected(receive))
        closing = apart(self._offload.closing.wait())
        try:
            await asyncio.wait({pump, leaving, closing}, return_when=asyncio.FIRST_COMPLETED)
            gone = leaving.done() or (pump.done() and isinstance(pump.exception(), TimeoutError | OSError))
        finally:
            await end((pump, leaving, closing))
        if pump.done() and not pump.cancelled() and (error := pump.exception()) is not None and not gone:
            raise error
        if not gone:
            with contextlib.suppress(TimeoutError, OSError):
                await self._send(send, b"", more=False)
        return gone

    async def _pump(self, send: Send) -> None:
        until = self._clock() + self._times.connection
        sent_at = self._clock()
        async for data in self._chunks():
            now = self._clock()
            if data or now - sent_at >= self._times.ping:
                await self._send(send, data or PING)
                sent_at = self._clock()
            if self._renderer.over or now >= until:
                return

    async def _chunks(self) -> AsyncIterator[bytes]:
        """What is to be sent; nothing now and then, so that time can be looked at."""
        if self._after == START:
            yield self._renderer.opening()
        batches = follow(self._backend.journal, self._task, self._after, times=self._times)
        try:
            async with aclosing(batches):
                async for batch in batches:
                    yield self._rendered(batch)
        except TaskGone:
            yield self._renderer.broken("journal_lost", "what was written of this answer is lost")
        except JournalUnavailable:
            yield self._renderer.broken("journal_unavailable", "the answer cannot be read now; resume later")

    def _rendered(self, batch: Sequence[Entry]) -> bytes:
        parts = []
        for entry in batch:
            parts.append(self._renderer.render(entry))
            if self._renderer.over:
                break
        return b"".join(parts)

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._times.send):
            await send({"type": "http.response.body", "body": data, "more_body": more})

    async def _cancel_if_unread(self) -> None:
        await asyncio.sleep(self._times.unread)
        with contextlib.suppress(JournalUnavailable):
            if await self._backend.journal.watchers(self._task) == 0:
                await self._backend.journal.cancel(self._task, self._user)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
