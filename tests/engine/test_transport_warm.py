"""Is a connection that was just used still what the next call needs? Both transports alike; `Warm` is aiohttp's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import pytest

from phase1.engine.transport import Transport, WireRequest
from phase1.engine.transport.aio import AiohttpTransport

from .wire import BOUND, Act, Wire, answer, chunked

EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
"""An answer to a question that nobody has asked."""


@pytest.fixture
async def pooled() -> AsyncIterator[AiohttpTransport]:
    """The transport over aiohttp itself."""
    transport = AiohttpTransport(connect_timeout=BOUND)
    yield transport
    await transport.aclose()


async def ask(transport: Transport, url: str, method: str = "POST", *headers: tuple[str, str]) -> bytes:
    """One exchange, to its end."""
    response = await asyncio.wait_for(transport.send(WireRequest(method, url, headers, b"{}")), BOUND)
    body = await response.read()
    await response.aclose()
    return body


class Pushing:
    """A server that answers `hello`, numbered by connection, and says more when told to."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.append(writer)
        body = b"hello %d" % len(self.writers)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"{}"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async def push(self, data: bytes) -> None:
        """Say it on the first connection, unasked."""
        self.writers[0].write(data)
        await self.writers[0].drain()


@asynccontextmanager
async def pushing() -> AsyncIterator[Pushing]:
    """Such a server."""
    serving = Pushing()
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield serving
    finally:
        server.close()
        for writer in serving.writers:
            writer.transport.abort()


@pytest.mark.parametrize("turns", [0, 20], ids=["on the wire", "read"])
async def test_what_nobody_has_asked_for_is_nobodys_answer(transport: Transport, turns: int) -> None:
    """A server, or somebody between, says more than it was asked: the next call does not get it."""
    async with pushing() as server:
        assert await ask(transport, server.url) == b"hello 1"
        await server.push(EVIL)
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await ask(transport, server.url) == b"hello 2"
        assert await ask(transport, server.url) == b"hello 2"


@pytest.mark.parametrize("turns", [0, 20], ids=["on the wire", "read"])
async def test_what_nobody_has_asked_for_is_nobodys_answer_later_either(pooled: AiohttpTransport, turns: int) -> None:
    """When aiohttp has the connection back."""
    async with pushing() as server:
        assert await ask(pooled, server.url) == b"hello 1"
        pooled._connector.warm.tidy(before=inf)
        await server.push(EVIL)
        for _ in range(turns):
            await asyncio.sleep(0)
        assert await ask(pooled, server.url) == b"hello 2"


async def test_what_follows_an_answer_is_nobodys_answer(pooled: AiohttpTransport) -> None:
    """In the same write. httpx has read it by then, and gives it to the next request."""
    async with Wire([b"".join([*answer(b"hello"), EVIL])], answer(b"again")) as wire:  # type: ignore[list-item]
        assert await ask(pooled, wire.url) == b"hello"
        assert await ask(pooled, wire.url) == b"again"
        assert wire.connections == 2


async def test_a_connection_serves_call_after_call(transport: Transport) -> None:
    """Whatever the answers are like: whole, in chunks, empty, an error."""
    empty, refused = answer(status="204 No Content"), answer(b"no", status="400 Bad Request")
    answers = [answer(b"hello"), chunked(b"he", b"llo"), empty, refused]
    async with Wire(*answers, answer(b"again")) as wire:
        got = [await ask(transport, wire.url) for _ in range(5)]
        assert got == [b"hello", b"hello", b"", b"no", b"again"]
        assert wire.connections == 1


async def test_a_head_between_posts_is_no_riddle(transport: Transport) -> None:
    """Its answer names a length and has no body; those around it have one."""
    async with Wire(answer(b"hello"), [answer(b"hello")[0]], answer(b"again")) as wire:
        got = [await ask(transport, wire.url, method) for method in ("POST", "HEAD", "POST")]
        assert got == [b"hello", b"", b"again"]


async def test_whoever_closes_twice_closes_nobody_elses(transport: Transport) -> None:
    """The connection of an answer that was read belongs to the next call."""
    async with Wire(answer(b"hello"), [*answer(b"slow")[:1], Act.HANG]) as wire:
        first = await transport.send(WireRequest("POST", wire.url, (), b"{}"))
        assert await first.read() == b"hello"
        assert first.ended
        second = await transport.send(WireRequest("POST", wire.url, (), b"{}"))
        assert not second.ended
        await first.aclose()
        await first.aclose()
        reading = asyncio.ensure_future(second.read())
        await asyncio.sleep(0)
        assert not reading.done()
        assert wire.connections == 1
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await second.aclose()
        await wire.gone()


async def test_other_fields_go_out_as_they_are(transport: Transport) -> None:
    """What was written for one call is not kept for the next one's key."""
    async with Wire() as wire:
        for key in ("one", "two", "two", "one"):
            await ask(transport, wire.url, "POST", ("authorization", f"Bearer {key}"))
        keys = [head.decode().partition("authorization: Bearer ")[2][:3] for head in wire.heads]
        assert keys == ["one", "two", "two", "one"]


async def test_what_nobody_wants_for_a_moment_is_kept_all_the_same(pooled: AiohttpTransport) -> None:
    """By aiohttp, which gives it out again, with a parser of its own."""
    async with Wire(answer(b"hello"), answer(b"again"), [answer(b"hello")[0]], answer(b"last")) as wire:
        assert await ask(pooled, wire.url) == b"hello"
        pooled._connector.warm.tidy(before=inf)
        assert await ask(pooled, wire.url) == b"again"
        pooled._connector.warm.tidy(before=0.0)  # it was used after that
        assert await ask(pooled, wire.url, "HEAD") == b""
        assert await ask(pooled, wire.url) == b"last"
        assert wire.connections == 2  # the head's is another one: the first was at hand for whoever reads


async def test_destinations_come_and_go(pooled: AiohttpTransport) -> None:
    """What is remembered of an address that nobody asks any more goes with its connection."""
    async with Wire() as wire:
        await ask(pooled, wire.url)
        pooled._exchanges._targets.clear()
        gc.collect()
        assert await ask(pooled, wire.url) == b"hello"
        assert wire.connections == 1
        pooled._exchanges._targets.clear()
        pooled._connector.warm.tidy(before=inf)
        gc.collect()
        assert not pooled._connector.warm._shelves


async def test_somebody_tidies_up(pooled: AiohttpTransport) -> None:
    """After a moment, and as long as there is something."""
    async with Wire() as wire:
        await ask(pooled, wire.url)
        await asyncio.sleep(3.0)  # of the loop's own time
        assert sum(map(len, pooled._connector._conns.values())) == 1
        assert await ask(pooled, wire.url) == b"hello"
        assert wire.connections == 1


async def test_nobody_tidies_up_after_those_who_are_gone() -> None:
    """The timer outlives the transport, and finds nothing."""
    async with Wire() as wire:
        transport = AiohttpTransport(connect_timeout=BOUND)
        await ask(transport, wire.url)
        with pytest.warns(ResourceWarning, match="Unclosed"):  # noqa: PT031 - the first of them may warn already
            del transport
            gc.collect()
        await asyncio.sleep(3.0)
        await wire.gone()


async def test_a_body_that_ends_when_it_was_left_is_given_back_to_nobody(transport: Transport) -> None:
    """Its length is unknown: closing the connection is its end."""
    async with Wire([b"HTTP/1.1 200 OK\r\n\r\nhel", Act.HANG]) as wire:
        response = await transport.send(WireRequest("POST", wire.url, (), b"{}"))
        async with contextlib.aclosing(response.body()) as body:  # type: ignore[type-var]
            assert await anext(body) == b"hel"
        await wire.gone()
        for _ in range(5):
            await asyncio.sleep(0)
        await response.aclose()
        assert response.ended


async def test_a_forked_child_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections that were at hand are its parent's."""
    async with Wire(answer(b"hello"), answer(b"again")) as wire:
        transport = AiohttpTransport(connect_timeout=BOUND)
        connector = transport._connector
        assert await ask(transport, wire.url) == b"hello"
        (protocol,) = connector._handed_out
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: -1)
            del transport
            gc.collect()
        assert protocol.is_connected()
        await connector.cut()
        await connector.close()
