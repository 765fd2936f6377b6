"""Has the app's own client gone while its request waits for an upstream? Then nobody needs the answer: cancel the call.

A server tells of it by `http.disconnect`, to whoever calls `receive`, and an endpoint that waits for a model does not.
So the middleware calls it, only while a call waits and the app does not itself. Nothing is taken away: what comes is
kept for the app's next `receive`, and of a body that nobody has read yet no more than one message is fetched ahead. A
response that is complete ends the watch, for then servers say `http.disconnect` to everybody.

The task that waits is cancelled, as Starlette cancels a stream that nobody reads: `CancelledError` passes through the
endpoint, whose `finally` and `async with` do their work. In a thread (a `def` endpoint) the call raises it. What is
left is a response with status 499, nginx's word for it, which only other middleware and the access log see.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from phase1.events import CallerLeft

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from phase1.events import Events

__all__ = ["Departure"]

_SOON: Final = 0.05
"""Seconds that a call waits before anybody is watched: quick answers pay for a timer and no more."""
_CLIENT_CLOSED_REQUEST: Final = 499
_NO_RESPONSE: Final = "No response returned."
_LAST: Final = frozenset({"http.response.body", "http.response.pathsend"})


class Departure:
    """Watches the client of one HTTP request; the app gets `receive` and `send` in the place of the server's."""

    __slots__ = (
        "_answered",
        "_asking",
        "_cut",
        "_events",
        "_expects",
        "_gone",
        "_held",
        "_reading",
        "_receive",
        "_send",
        "_started",
        "_timer",
        "_waiting",
        "loop",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, events: Events) -> None:
        self.loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._events = events
        # Whoever asks for the body of such a request makes the client send it: that is the app's to decide.
        self._expects = any(name == b"expect" for name, _ in scope["headers"])
        self._held: deque[Message] = deque()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        self._reading: asyncio.Task[Message] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asking = self._gone = self._started = self._answered = False

    def begin(self) -> asyncio.Task[Any] | None:
        """The running task waits for an upstream from now on."""
        task = asyncio.current_task()
        if task is not None:
            self._waiting.add(task)
            self._soon()
        return task

    def end(self, task: asyncio.Task[Any] | None) -> None:
        """It does not wait any more."""
        if task is not None:
            self._waiting.discard(task)
        if self._timer is not None and not self._waiting:
            self._timer.cancel()
            self._timer = None

    async def receive(self) -> Message:
        """For the app: what was kept for it, else what the server says next."""
        if self._reading is not None:
            await asyncio.wait({self._reading})
        if self._held:
            return self._taken()
        self._asking = True
        try:
            message = await self._receive()
        finally:
            self._asking = False
        self._note(message)
        return message

    async def send(self, message: Message) -> None:
        """For the app: to the server, and take note of the end."""
        self._started = True
        if message["type"] in _LAST and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    def _taken(self) -> Message:
        if self._held[0]["type"] == "http.disconnect":
            return self._held[0]  # a server says so again and again
        message = self._held.popleft()
        if self._waiting:
            self._soon()
        return message

    def _soon(self) -> None:
        if self._timer is None and not self._answered:  # in no request's context: the task that reads is nobody's child
            self._timer = self.loop.call_later(_SOON, self._watch, context=Context())

    def _watch(self) -> None:
        self._timer = None
        if self._gone:
            self._leave()
        elif self._may_read():
            self._reading = self.loop.create_task(_message(self._receive))
            self._reading.add_done_callback(self._read)

    def _may_read(self) -> bool:
        if self._answered or self._asking or self._expects or self._reading is not None:
            return False
        return not (self._held and self._held[-1].get("more_body", False))

    def _read(self, reading: asyncio.Task[Message]) -> None:
        self._reading = None
        if reading.cancelled() or reading.exception() is not None:
            return  # the app will hear it from the server itself
        self._held.append(reading.result())
        self._note(reading.result())

    def _note(self, message: Message) -> None:
        self._expects = False
        if message["type"] == "http.disconnect":
            self._gone = True
            self._leave()
        elif self._waiting:
            self._soon()

    def _leave(self) -> None:
        """The client has gone: cancel what waits on its behalf."""
        if self._answered or not self._waiting:
            return
        for task in self._waiting:
            task.cancel("the app's client has gone")
        self._cut |= self._waiting
        self._events.notify(CallerLeft(len(self._waiting)))
        self._waiting.clear()

    def close(self) -> None:
        """The request is over."""
        self._answered = True
        if self._timer is not None:
            self._timer.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def excuses(self, error: BaseException) -> bool:
        """Whether the app has failed with nothing but our cancellation. Ask once."""
        task = asyncio.current_task()
        if task is None or not self._cut or not _is_of_cancelling(error):
            return False
        return (task.uncancel() if task in self._cut else task.cancelling()) == 0

    async def answer(self) -> None:
        """Something for middleware and access log, if there is no response because the client has gone."""
        if self._cut and not self._started:
            headers = [(b"content-length", b"0")]
            await self.send({"type": "http.response.start", "status": _CLIENT_CLOSED_REQUEST, "headers": headers})
            await self.send({"type": "http.response.body", "body": b""})


def _is_of_cancelling(error: BaseException) -> bool:
    """The cancellation itself, or what Starlette's `BaseHTTPMiddleware` says when the app inside has ended with it."""
    return isinstance(error, asyncio.CancelledError) or (type(error) is RuntimeError and str(error) == _NO_RESPONSE)


async def _message(receive: Receive) -> Message:
    return await receive()
