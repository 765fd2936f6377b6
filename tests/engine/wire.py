"""What exactly is on the wire? A server that sends the bytes a test has written, and a proxy; both tell what they saw.

    async with Wire(answer(b"hello")) as wire:
        ...                                  # ask wire.url
        wire.heads[0]                        # the first request's head, byte by byte
        await wire.gone(0)                   # the client has closed the first connection

One answer per request, the last one again and again. An answer is a row of bytes and of what the server does between.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Sequence
from enum import Enum, auto
from types import TracebackType
from typing import Self

__all__ = ["BOUND", "Act", "Answer", "Proxy", "Wire", "answer", "chunked"]

BOUND = 10.0
"""Seconds after which what should happen at once has failed."""


class Act(Enum):
    """What the server does between two writes."""

    HANG = auto()
    """Nothing, until the client goes away."""
    CLOSE = auto()
    """Close the connection, without having said so."""
    RESET = auto()
    """Reset the connection."""
    DEAF = auto()
    """As the first act: read no body until the test says `wire.listens.set()`; then all that comes, into `late`."""


Answer = Sequence[bytes | Act]


def answer(body: bytes = b"", *fields: str, status: str = "200 OK") -> Answer:
    """A whole answer of known length."""
    return [_head(status, *fields, f"content-length: {len(body)}"), body]


def chunked(*parts: bytes | Act, fields: Sequence[str] = (), ends: bool = True) -> Answer:
    """An answer in chunks, each written by itself."""
    pieces = [b"%x\r\n%b\r\n" % (len(part), part) if isinstance(part, bytes) else part for part in parts]
    return [_head("200 OK", *fields, "transfer-encoding: chunked"), *pieces, *([b"0\r\n\r\n"] if ends else [])]


def _head(status: str, *fields: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *fields, "")).encode("latin-1")


class Server:
    """What `Wire` and `Proxy` share: a listening socket, and the tasks of its connections."""

    def __init__(self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._host = host
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._guarded(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        raise NotImplementedError


class Wire(Server):
    """The server."""

    def __init__(self, *answers: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(host=host, tls=tls)
        self.answers = list(answers) or [answer(b"hello")]
        self.heads: list[bytes] = []
        """The heads of all requests so far."""
        self.bodies: list[bytes] = []
        self.connections = 0
        self.listens = asyncio.Event()
        self.late = 0
        """How many bytes came after `listens`."""
        self._gone: list[asyncio.Event] = []
        self._arrival = asyncio.Condition()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self.address}/v1"

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The header fields of the last request, as they were written."""
        lines = self.heads[-1].decode("utf-8").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    @property
    def line(self) -> str:
        """The first line of the last request."""
        return self.heads[-1].partition(b"\r\n")[0].decode()

    async def arrived(self, number: int = 1) -> None:
        """Wait until so many requests have arrived."""
        async with self._arrival:
            await asyncio.wait_for(self._arrival.wait_for(lambda: len(self.heads) >= number), BOUND)

    async def connected(self) -> None:
        """Wait until somebody has connected."""
        async with self._arrival:
            await asyncio.wait_for(self._arrival.wait_for(lambda: self.connections > 0), BOUND)

    async def gone(self, connection: int = 0) -> None:
        """Wait until the client has closed that connection."""
        await asyncio.wait_for(self._gone[connection].wait(), BOUND)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer request after request."""
        gone = asyncio.Event()
        self._gone.append(gone)
        self.connections += 1
        async with self._arrival:
            self._arrival.notify_all()
        try:
            while await self._answer(reader, writer):
                pass
        finally:
            gone.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        acts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if acts[:1] != [Act.DEAF]:
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.bodies.append(await reader.readexactly(int(length or 0)))
        self.heads.append(head)
        async with self._arrival:
            self._arrival.notify_all()
        for act in acts:
            if not isinstance(act, bytes):
                await self._do(act, reader, writer)
                return False
            writer.write(act)
            await writer.drain()
        return True

    async def _do(self, act: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if act is Act.HANG:
            await reader.read()
        elif act is Act.DEAF:
            await self.listens.wait()
            while data := await reader.read(65536):
                self.late += len(data)
        elif act is Act.RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        else:
            writer.close()


class Proxy(Server):
    """A proxy: tunnels for `CONNECT`, forwards the rest. With `refuses` it answers everything with that status line."""

    def __init__(self, *, refuses: str = "", silent: bool = False, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self.heads: list[bytes] = []
        """The heads of what it was asked, tunnels and requests."""
        self.clients: list[asyncio.StreamWriter] = []
        """The ways back."""
        self._refuses = refuses
        self._silent = silent

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self.clients.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._silent:
            await reader.read()
        elif self._refuses:
            writer.write(_head(self._refuses, "content-length: 0"))
            await writer.drain()
        else:
            await self._pass_on(head, reader, writer)

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(b" ", 2)
        authority = target if method == b"CONNECT" else target.split(b"/", 3)[2]
        host, _, port = authority.decode().rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(_head("200 Connection established"))
        else:
            there_writer.write(head.replace(target, b"/" + target.split(b"/", 3)[3], 1))
        ways = [asyncio.create_task(_pipe(reader, there_writer)), asyncio.create_task(_pipe(there_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
