"""A provider on a real socket, in a thread of its own: it answers while the test's loop stands still.

    def test_it(provider: Provider) -> None:
        provider.answers(status_reply(500), sse_reply(*chat_events("hel", "lo")))   # the last one again and again
        client = phase1.OpenAI(base_url=provider.url, api_key="sk-…")

Without a script it answers every path as the API would. Nothing in it takes time: what has to wait waits for a `Gate`,
or, with `party(50)`, until fifty requests are there.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

from .answers import Reply, usual_answer

__all__ = ["Fault", "Gate", "Provider", "Providers", "Request"]

BOUND = 10.0
"""Seconds after which whoever waits here gives up, so that a failing test ends."""

T = TypeVar("T")
Script = Reply | Callable[["Request"], Reply]


class Fault(Enum):
    """What may stand among the parts of a reply."""

    CUT = auto()
    """The connection is closed in the middle."""


class Gate:
    """Stands among the parts of a reply, and holds it until it is opened."""

    def __init__(self) -> None:
        self.opened: Future[None] = Future()

    def open(self) -> None:
        """From any thread, and more than once."""
        if not self.opened.done():
            self.opened.set_result(None)


@dataclass
class Request:
    """One request as it came over the wire; `path` begins after the provider's base URL."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    lost: asyncio.Event
    """The client has closed the connection."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    finished: bool = False
    """The answer has been sent to its end."""
    proxied: bool = False
    """It came as to a proxy, with the whole address."""

    def header(self, name: str) -> str | None:
        """The value of one field."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        """The body, read."""
        return json.loads(self.body)

    async def gone(self) -> bool:
        """Wait until the client has closed the connection; whether the answer was unfinished then."""
        await asyncio.wait_for(asyncio.wrap_future(_on(self.loop, self.lost.wait())), BOUND)
        return not self.finished


class Provider:
    """One provider, known by its base URL."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.requests: list[Request] = []
        self._loop = loop
        self._script: list[Script] = [usual_answer]
        self._party = 0
        self._complete = Gate()
        self._changed: list[tuple[int, Future[None]]] = []
        self._lock = threading.Lock()

    @property
    def paths(self) -> list[str]:
        """What was asked."""
        return [f"{request.method} {request.path}" for request in self.requests]

    @property
    def keys(self) -> list[str | None]:
        """With which credentials."""
        return [request.header("authorization") or request.header("api-key") for request in self.requests]

    def answers(self, *script: Script) -> None:
        """What to answer from now on; nothing = as the API would."""
        self._script = list(script) or [usual_answer]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, it answers as usual, and remembers nothing of it."""
        script, self._script = self._script, [usual_answer]
        seen = list(self.requests)
        yield
        self._script = script
        self.requests[:] = seen

    def party(self, number: int) -> None:
        """Answer nobody until so many requests are there at the same time."""
        self._party, self._complete = number, Gate()

    async def arrived(self, number: int) -> Request:
        """Wait until so many requests are there; the last of them."""
        await asyncio.wait_for(asyncio.wrap_future(self._arrival(number)), BOUND)
        return self.requests[number - 1]

    def has_arrived(self, number: int) -> Request:
        """The same for a thread."""
        self._arrival(number).result(BOUND)
        return self.requests[number - 1]

    def _arrival(self, number: int) -> Future[None]:
        reached: Future[None] = Future()
        with self._lock:
            self._changed.append((number, reached))
        self._look()
        return reached

    def _look(self) -> None:
        with self._lock:
            for number, reached in self._changed:
                if len(self.requests) >= number and reached.set_running_or_notify_cancel():
                    reached.set_result(None)
            self._changed = [(number, reached) for number, reached in self._changed if not reached.done()]

    async def reply_to(self, request: Request) -> Reply:
        """Called by the server."""
        self.requests.append(request)
        self._look()
        script = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if self._party:
            if len(self.requests) >= self._party:
                self._complete.open()
            await _until_open(self._complete, request.lost)
        return script if isinstance(script, Reply) else script(request)


class Providers:
    """The server of all providers of a test session. Each has its own path below one port."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="providers", daemon=True)
        self._thread.start()
        self._by_name: dict[str, Provider] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._server = _on(self._loop, self._listen()).result(BOUND)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def new(self, path: str = "/v1", *, host: str = "127.0.0.1") -> Provider:
        """One more provider; `path` ends its base URL."""
        name = f"p{len(self._by_name)}"
        base = f"/{name}{path}"
        self._by_name[name] = Provider(f"http://{host}:{self.port}{base}", self._loop)
        return self._by_name[name]

    async def reply_to(self, request: Request) -> Reply:
        """Called by a connection."""
        request.proxied = request.path.startswith("http://")
        request.path = request.path.removeprefix("http://").removeprefix(request.header("host") or "")
        found = self._by_name[request.path.split("/")[1]]
        request.path = request.path.removeprefix(found.url.partition(f":{self.port}")[2])
        return await found.reply_to(request)

    def serve(self, connection: _Connection) -> None:
        """A connection has come."""
        self._connections.add(connection)
        task = self._loop.create_task(connection.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, connection: _Connection) -> None:
        """It has gone."""
        self._connections.discard(connection)

    def close(self) -> None:
        """Close everything."""
        _on(self._loop, self._close()).result(BOUND)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._reader = asyncio.StreamReader()
        self.lost = asyncio.Event()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._providers.serve(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._reader.feed_eof()
        self._providers.forget(self)

    def close(self) -> None:
        """At once."""
        self._transport.abort()

    async def serve(self) -> None:
        """Answer one request after the other."""
        try:
            while True:
                request = await self._read()
                await self._send(await self._providers.reply_to(request), request)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has gone
        finally:
            self._transport.close()

    async def _read(self) -> Request:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        fields = dict(headers)
        if fields.get("transfer-encoding") == "chunked":
            body = await self._read_chunks()
        else:
            body = await self._reader.readexactly(int(fields.get("content-length", "0")))
        return Request(method, path, headers, body, self.lost)

    async def _read_chunks(self) -> bytes:
        body = b""
        while size := int((await self._reader.readuntil(b"\r\n")).strip(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return body

    async def _send(self, reply: Reply, request: Request) -> None:
        chunked = not any(name == "content-length" for name, _ in reply.headers)
        self._write_head(reply, chunked=chunked)
        for part in reply.parts:
            if isinstance(part, Gate):
                await _until_open(part, request.lost)
            elif part is Fault.CUT:
                raise ConnectionError
            elif part:
                self._transport.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if request.lost.is_set():
            raise ConnectionError
        if chunked:
            self._transport.write(b"0\r\n\r\n")
        request.finished = True

    def _write_head(self, reply: Reply, *, chunked: bool) -> None:
        fields = [*reply.headers, *([("transfer-encoding", "chunked")] if chunked else [])]
        lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in fields)]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))


async def _until_open(gate: Gate, lost: asyncio.Event) -> None:
    """Raises `ConnectionError` when the client goes away meanwhile."""
    going = asyncio.ensure_future(lost.wait())
    opening = asyncio.ensure_future(asyncio.shield(asyncio.wrap_future(gate.opened)))
    await asyncio.wait({going, opening}, return_when=asyncio.FIRST_COMPLETED)
    going.cancel()
    if lost.is_set() and not gate.opened.done():
        opening.cancel()
        raise ConnectionError


def _on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    return asyncio.run_coroutine_threadsafe(coroutine, loop)
