"""What does a provider do wrong? An upstream on a real loopback socket that fails on purpose.

    async with Upstream() as upstream:
        upstream.script(status_reply(500), sse_reply(*chat_events("Hel", "lo")))
        ...                                  # first a 500, then that stream, then that stream for ever
        seen = await upstream.request(1)     # the second request, as soon as it has arrived
        await seen.gone.wait()               # the client has closed its connection

A reply is a row of parts: bytes are sent as they are, a `Fault` is what the server does instead of going on.
It runs on the test's own event loop and needs nothing of ours.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import TracebackType
from typing import Self

__all__ = [
    "DONE",
    "Fault",
    "Reply",
    "Seen",
    "Upstream",
    "chat_events",
    "completion",
    "error_body",
    "gzipped",
    "json_reply",
    "refusing_url",
    "sse",
    "sse_reply",
    "status_reply",
]

DONE = b"data: [DONE]\n\n"


class Fault(Enum):
    """What the server does instead of sending on."""

    HANG = auto()
    """Nothing, until the client goes away."""
    CUT = auto()
    """Close the connection in good order, in the middle of the message."""
    RESET = auto()
    """Reset the connection."""


Part = bytes | Fault


@dataclass(frozen=True)
class Reply:
    """One answer. Its body is chunked unless `headers` say its length; `before` happens instead of the headers."""

    parts: Sequence[Part] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    before: Fault | None = None


@dataclass
class Seen:
    """One request as it arrived. `gone` is set when the client has closed its connection."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def json(self) -> dict[str, object]:
        """The body, read."""
        payload: dict[str, object] = json.loads(self.body)
        return payload


def json_reply(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A whole JSON answer of known length."""
    body = json.dumps(payload).encode()
    named = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    return Reply([body], status=status, headers=named)


def status_reply(status: int, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as the API writes it."""
    return json_reply(error_body(code, f"scripted {status}"), status=status, headers=headers)


def sse_reply(*parts: Part, cut: int | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """A stream of events. `cut`: the network cuts the bytes into pieces of this size."""
    return Reply(_cut(parts, cut) if cut else parts, headers={"content-type": "text/event-stream", **(headers or {})})


def gzipped(reply: Reply) -> Reply:
    """The same answer, compressed."""
    body = gzip.compress(b"".join(part for part in reply.parts if isinstance(part, bytes)))
    return replace(
        reply,
        parts=[body],
        headers={**reply.headers, "content-encoding": "gzip", "content-length": str(len(body))},
    )


def sse(payload: object, *, event: str | None = None) -> bytes:
    """One event."""
    return (f"event: {event}\n" if event else "").encode() + b"data: " + json.dumps(payload).encode() + b"\n\n"


def chat_events(*words: str, finish: str | None = "stop", done: bool = True) -> list[bytes]:
    """A chat stream: the role, the words, a finish reason and `[DONE]`; leave one out to break it."""
    events = [_chunk({"role": "assistant", "content": ""}), *(_chunk({"content": word}) for word in words)]
    return [*events, *([_chunk({}, finish)] if finish else []), *([DONE] if done else [])]


def _chunk(delta: Mapping[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def completion(text: str = "hello") -> dict[str, object]:
    """A whole chat completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}


def error_body(code: str | None, message: str = "scripted") -> dict[str, object]:
    """The body of an error."""
    return {"error": {"message": message, "type": "scripted_error", "param": None, "code": code}}


def refusing_url() -> str:
    """The base URL of a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def _cut(parts: Sequence[Part], size: int) -> list[Part]:
    pieces: list[Part] = []
    for part in parts:
        pieces += [part[at : at + size] for at in range(0, len(part), size)] if isinstance(part, bytes) else [part]
    return pieces


class Upstream:
    """The server. Answers by its script: one reply per request, the last one again and again."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        """Every request so far, in the order of arrival."""
        self.connections = 0
        """How many connections there have been."""
        self.open_connections = 0
        """How many there are now."""
        self._script: list[Reply] = [json_reply(completion())]
        self._arrival = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *replies: Reply) -> None:
        """What to answer from now on."""
        self._script = list(replies)

    async def request(self, number: int = 0) -> Seen:
        """A request by its number; waits until it has arrived."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.requests) > number)
        return self.requests[number]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
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
        self.connections += 1
        task = asyncio.create_task(self._serve(_Connection(self.connections, reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: _Connection) -> None:
        self.open_connections += 1
        try:
            while (seen := await connection.read_request()) is not None:
                self.requests.append(seen)
                async with self._arrival:
                    self._arrival.notify_all()
                reply = self._script.pop(0) if len(self._script) > 1 else self._script[0]
                if not await connection.send(reply):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            self.open_connections -= 1
            connection.close()


class _Connection:
    """One connection of a client."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._number = number
        self._reader = reader
        self._writer = writer
        self._seen: list[Seen] = []

    async def read_request(self) -> Seen | None:
        """The next request; `None` when the client has closed."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        self._seen.append(Seen(method, path, headers, body, self._number))
        return self._seen[-1]

    async def send(self, reply: Reply) -> bool:
        """Send one answer. False when the connection is of no use any more."""
        if reply.before is not None:
            await self._fail(reply.before)
            return False
        chunked = "content-length" not in reply.headers
        self._writer.write(_head(reply, chunked=chunked))
        for part in reply.parts:
            if isinstance(part, Fault):
                await self._writer.drain()
                await self._fail(part)
                return False
            self._writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await self._writer.drain()
        if chunked:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return True

    async def _fail(self, fault: Fault) -> None:
        if fault is Fault.HANG:
            await self._reader.read()
        elif fault is Fault.RESET:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()

    def close(self) -> None:
        """Close, and tell whoever waits for it."""
        self._writer.close()
        for seen in self._seen:
            seen.gone.set()


def _head(reply: Reply, *, chunked: bool) -> bytes:
    fields = {**reply.headers, **({"transfer-encoding": "chunked"} if chunked else {})}
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
