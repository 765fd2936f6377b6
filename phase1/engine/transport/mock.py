"""A transport without a network, for tests and examples: your function is the upstream.

def upstream(request: WireRequest) -> MockResponse: ...
manager = LLMManager(settings, transport=lambda connections, connect_timeout: MockTransport(upstream))
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from phase1.engine.transport.base import Headers, WireRequest
from phase1.engine.transport.fields import Fields

__all__ = ["MockResponse", "MockTransport"]


class MockResponse:
    """An answer made by hand. An exception among `chunks` is raised when its turn comes; an awaitable is awaited."""

    __slots__ = ("chunks", "closed", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        headers: Headers = (("content-type", "application/json"),),
        chunks: Iterable[bytes | Exception | Awaitable[None]] = (),
    ) -> None:
        self.status = status
        self.headers = Fields.of(headers)
        self.chunks = chunks
        self.closed = False

    @property
    def ended(self) -> bool:
        """Whether it was closed."""
        return self.closed

    async def read(self) -> bytes:
        """The chunks in one piece."""
        return b"".join([chunk async for chunk in self.body()])

    async def body(self) -> AsyncIterator[bytes]:
        """The chunks, one by one."""
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            if isinstance(chunk, bytes):
                yield chunk
            else:
                await chunk

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class MockTransport:
    """Calls `upstream(request)` for every request; it may be async, and may raise `NeverSent` or `Broken`."""

    __slots__ = ("_upstream", "closed", "requests")

    def __init__(self, upstream: Callable[[WireRequest], MockResponse | Awaitable[MockResponse]]) -> None:
        self._upstream = upstream
        self.requests: list[WireRequest] = []
        self.closed = False

    async def send(self, request: WireRequest) -> MockResponse:
        """Ask the function."""
        self.requests.append(request)
        answer = self._upstream(request)
        return await answer if inspect.isawaitable(answer) else answer

    async def aclose(self) -> None:
        """Remember that it was closed."""
        self.closed = True
