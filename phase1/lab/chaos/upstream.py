"""How does an endpoint with a fault of its own look on a real socket? HTTP/1.1 by hand: nothing must be too polite.

async with Endpoint(healthy) as endpoint:
    ...                     # endpoint.url is its base URL
    endpoint.requests       # how many it has been asked
    await endpoint.behave(None)   # from now on nobody listens; the port stays taken
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

__all__ = ["Behaviour", "Endpoint", "Exchange", "Hung"]

_HOST: Final = "127.0.0.1"


class Hung(Exception):
    """The endpoint says nothing more until the client goes away."""


@dataclass(slots=True)
class Exchange:
    """One request, and the way to answer it. `number` counts the endpoint's requests from 1."""

    number: int
    streams: bool
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    keeps: bool = True
    """Whether the connection may serve another request."""

    async def head(self, status: int, content_type: str, *fields: str, length: int | None = None) -> None:
        """Status line and header; without a length the body is chunked."""
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} x", f"content-type: {content_type}", framing, *fields, "", ""]
        await self.send("\r\n".join(lines).encode())

    async def whole(self, status: int, payload: object, *fields: str, content_type: str = "application/json") -> None:
        """A whole answer."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        await self.head(status, content_type, *fields, length=len(body))
        await self.send(body)

    async def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; an empty one is its end."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def send(self, data: bytes) -> None:
        """These bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def cut(self) -> None:
        """Break the connection off."""
        self.keeps = False
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


class Endpoint:
    """A server that answers every request by `behaviour`; `None` = it refuses connections."""

    def __init__(self, behaviour: Behaviour | None) -> None:
        self._behaviour = behaviour
        self._place: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.requests = 0
        self.in_progress = 0
        """Requests that are being answered, or are hung, now."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    @property
    def open_connections(self) -> int:
        """Connections that the client holds."""
        return len(self._talks)

    async def behave(self, behaviour: Behaviour | None) -> None:
        """Be another endpoint from now on; what has begun goes on as it was, but for `None`, which cuts all off."""
        self._behaviour = behaviour
        await (self._refuse() if behaviour is None else self._listen())

    async def __aenter__(self) -> Self:
        self._place = _bound(0)  # never listens: who connects while nobody else does is refused
        self.url = f"http://{_HOST}:{self._place.getsockname()[1]}/v1"
        await self.behave(self._behaviour)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._refuse()
        if self._place is not None:
            self._place.close()

    async def _listen(self) -> None:
        if self._server is None and self._place is not None:
            place = _bound(self._place.getsockname()[1])
            self._server = await asyncio.start_server(self._talk, sock=place, backlog=1024)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(tuple(self._talks))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._behaviour is None:
            writer.close()
            return
        self._talks.add(task)
        try:
            while (exchange := await self._request(reader, writer)) is not None:
                await self._answer(exchange)
                if not exchange.keeps:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the run is over
        finally:
            self._talks.discard(task)
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        if self._behaviour is None:
            return
        self.in_progress += 1
        try:
            await self._behaviour(exchange)
        except Hung:
            with contextlib.suppress(ConnectionError):
                while await exchange.reader.read(65536):
                    pass
            exchange.keeps = False
        finally:
            self.in_progress -= 1

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
        body = await reader.readexactly(length)
        self.requests += 1
        return Exchange(self.requests, b'"stream":true' in body.replace(b" ", b""), reader, writer)


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind((_HOST, port))
    return place
