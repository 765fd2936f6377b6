"""Does the transport tell what happened on the wire? On real sockets, with the HTTP library of the installed SDK."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from phase1.engine.attempt import Clocks, try_once
from phase1.engine.call import AnswerStream
from phase1.engine.deadlines import Deadlines
from phase1.engine.node import Node, NodeSpec
from phase1.engine.transport import Broken, NeverSent, WireRequest, WireResponse
from phase1.engine.transport.family import httpx
from phase1.engine.transport.httpx import HttpxTransport
from phase1.policy.classify import Kind, Outcome

from .providers import CHAT, STREAMED_CHAT
from .upstream import (
    Fault,
    Reply,
    Upstream,
    chat_events,
    completion,
    gzipped,
    json_reply,
    refusing_url,
    sse_reply,
    status_reply,
)

BOUND = 10.0
"""Seconds after which what should happen at once has failed."""


@pytest_asyncio.fixture
async def transport() -> AsyncIterator[HttpxTransport]:
    """One client, with room for one idle connection."""
    transport = HttpxTransport(connections=1, connect_timeout=5.0)
    yield transport
    await transport.aclose()


def post(url: str, *headers: tuple[str, str], body: bytes = b"{}") -> WireRequest:
    """A request."""
    return WireRequest("POST", url, headers, body)


async def read(response: WireResponse) -> bytes:
    """The body; the response is closed."""
    try:
        return b"".join([chunk async for chunk in response.body()])
    finally:
        await response.aclose()


async def ask(transport: HttpxTransport, url: str) -> bytes:
    """One exchange."""
    return await read(await transport.send(post(url)))


# -- what comes back


async def test_request_and_answer_pass_as_they_are(transport: HttpxTransport, upstream: Upstream) -> None:
    """Method, path, query, headers and body there; status, headers and body back."""
    upstream.script(json_reply({"a": 1}, status=201, headers={"X-Request-ID": "r1"}))
    response = await transport.send(post(f"{upstream.url}/x?y=1", ("authorization", "Bearer k"), body=b"hello"))
    assert (response.status, dict(response.headers)["x-request-id"]) == (201, "r1")
    assert await read(response) == b'{"a": 1}'
    seen = await upstream.request()
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/x?y=1", b"hello")
    assert seen.headers["authorization"] == "Bearer k"


async def test_headers_about_the_connection_stay_behind(transport: HttpxTransport, upstream: Upstream) -> None:
    """What decoding has undone and what belongs to the connection would be a lie further on."""
    upstream.script(gzipped(json_reply(completion(), headers={"connection": "keep-alive", "keep-alive": "timeout=5"})))
    response = await transport.send(post(upstream.url))
    assert {name for name, _ in response.headers} == {"content-type"}
    assert b"hello" in await read(response)


async def test_answer_comes_at_its_headers(transport: HttpxTransport, upstream: Upstream) -> None:
    """Before there is a body."""
    upstream.script(sse_reply(Fault.HANG))
    response = await asyncio.wait_for(transport.send(post(upstream.url)), BOUND)
    assert response.status == 200
    await response.aclose()


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_body_arrives_whole_however_it_is_cut(transport: HttpxTransport, upstream: Upstream, size: int) -> None:
    """Byte by byte, too."""
    events = chat_events("hel", "lö")
    upstream.script(sse_reply(*events, cut=size))
    assert await ask(transport, upstream.url) == b"".join(events)


async def test_connection_is_used_again(transport: HttpxTransport, upstream: Upstream) -> None:
    """After a whole body; three exchanges, one connection."""
    for _ in range(3):
        await ask(transport, upstream.url)
    assert upstream.connections == 1


async def test_answer_that_is_not_read_closes_its_connection(transport: HttpxTransport, upstream: Upstream) -> None:
    """The rest of it can only be thrown away."""
    upstream.script(sse_reply(*chat_events("a")[:2], Fault.HANG))
    response = await transport.send(post(upstream.url))
    await response.aclose()
    await response.aclose()
    await asyncio.wait_for((await upstream.request()).gone.wait(), BOUND)


async def test_closing_the_transport_closes_idle_connections(upstream: Upstream) -> None:
    """None stays behind."""
    transport = HttpxTransport(connections=5, connect_timeout=5.0)
    await asyncio.gather(*(ask(transport, upstream.url) for _ in range(5)))
    await transport.aclose()
    await asyncio.wait_for(asyncio.gather(*(seen.gone.wait() for seen in upstream.requests)), BOUND)
    assert upstream.open_connections == 0


async def test_more_calls_than_idle_connections_wait_for_nobody(transport: HttpxTransport, upstream: Upstream) -> None:
    """The engine has admitted them: a node that is left alone gets the calls of all."""
    upstream.script(Reply(before=Fault.HANG))
    tasks = [asyncio.create_task(ask(transport, upstream.url)) for _ in range(20)]
    await asyncio.wait_for(upstream.request(19), BOUND)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_redirect_is_followed_as_the_sdk_does(transport: HttpxTransport, upstream: Upstream) -> None:
    """On the same host with the key; to another host without it."""
    async with Upstream() as other:
        for target, key in ((f"{upstream.url}/there", "Bearer k"), (f"{other.url}/there", None)):
            upstream.script(json_reply({}, status=307, headers={"location": target}), json_reply({"moved": True}))
            answer = await transport.send(post(f"{upstream.url}/here", ("authorization", "Bearer k")))
            assert b"hello" in (body := await read(answer)) or b"moved" in body
            seen = (other.requests or upstream.requests)[-1]
            assert (seen.path, seen.headers.get("authorization")) == ("/v1/there", key)


# -- what goes wrong


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "ftp://127.0.0.1/v1", "http://[/v1", "/v1"])
async def test_request_that_never_left_is_never_sent(transport: HttpxTransport, upstream: Upstream, url: str) -> None:
    """Refused, or no address that could be asked."""
    with pytest.raises(NeverSent):
        await transport.send(post(url))


async def test_refused_connection_is_never_sent(transport: HttpxTransport, upstream: Upstream) -> None:
    """And says which error it was."""
    with pytest.raises(NeverSent, match="ConnectError") as caught:
        await transport.send(post(refusing_url()))
    assert caught.value.__cause__ is not None


async def test_failed_handshake_is_never_sent(transport: HttpxTransport, upstream: Upstream) -> None:
    """TLS with a server that speaks none."""

    async def rude(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no")
        writer.close()

    async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NeverSent, match="ConnectError"):
            await transport.send(post(f"https://127.0.0.1:{port}/v1"))


async def test_connecting_takes_no_longer_than_its_clock(upstream: Upstream) -> None:
    """A server that never answers the handshake."""
    transport = HttpxTransport(connections=1, connect_timeout=0.1)
    with pytest.raises(NeverSent, match="Timeout"):
        await asyncio.wait_for(transport.send(post(upstream.url.replace("http:", "https:"))), BOUND)
    await transport.aclose()


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT])
async def test_connection_that_ends_before_the_headers_is_broken(
    transport: HttpxTransport, upstream: Upstream, fault: Fault
) -> None:
    """The request had been sent: the upstream may have worked on it."""
    upstream.script(Reply(before=fault))
    with pytest.raises(Broken):
        await transport.send(post(upstream.url))


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT])
@pytest.mark.parametrize("length", [None, "1000"], ids=["chunked", "of known length"])
async def test_body_that_ends_early_is_broken(
    transport: HttpxTransport, upstream: Upstream, fault: Fault, length: str | None
) -> None:
    """What came before it is handed out."""
    headers = {"content-type": "audio/mpeg", **({"content-length": length} if length else {})}
    upstream.script(Reply([b"begin", fault], headers=headers))
    response = await transport.send(post(upstream.url))
    chunks = response.body()
    assert await anext(chunks) == b"begin"
    with pytest.raises(Broken):
        await anext(chunks)
    await response.aclose()


async def test_body_that_cannot_be_decoded_is_broken(transport: HttpxTransport, upstream: Upstream) -> None:
    """It says gzip and is not."""
    upstream.script(json_reply({"a": 1}, headers={"content-encoding": "gzip"}))
    with pytest.raises(Broken, match="DecodingError"):
        await ask(transport, upstream.url)


async def test_answer_that_is_no_http_is_broken(transport: HttpxTransport, upstream: Upstream) -> None:
    """Whatever it is."""
    upstream.script(Reply(headers={"bad header": "x"}))
    with pytest.raises(Broken):
        await ask(transport, upstream.url)


# -- cancellation


async def test_cancelled_before_the_headers_closes_the_connection(
    transport: HttpxTransport, upstream: Upstream
) -> None:
    """A call that nobody waits for must not cost money any longer."""
    upstream.script(Reply(before=Fault.HANG))
    task = asyncio.create_task(transport.send(post(upstream.url)))
    seen = await asyncio.wait_for(upstream.request(), BOUND)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(seen.gone.wait(), BOUND)


async def test_cancelled_in_the_body_closes_the_connection(transport: HttpxTransport, upstream: Upstream) -> None:
    """In the middle of a stream."""
    upstream.script(sse_reply(*chat_events("a")[:2], Fault.HANG))
    task = asyncio.create_task(ask(transport, upstream.url))
    seen = await asyncio.wait_for(upstream.request(), BOUND)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(seen.gone.wait(), BOUND)


@pytest.mark.parametrize("before", [0, 1], ids=["on a new connection", "on a used connection"])
async def test_cancellation_at_any_moment_loses_no_connection(upstream: Upstream, before: int) -> None:
    """Cancelled in each turn of the loop that an exchange takes: the next exchange goes through, none is left open."""
    moment, finished = 0, False
    while not finished:
        transport = HttpxTransport(connections=1, connect_timeout=1.0)
        for _ in range(before):
            await ask(transport, upstream.url)
        task = asyncio.create_task(ask(transport, upstream.url))
        for _ in range(moment):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert b"hello" in await asyncio.wait_for(ask(transport, upstream.url), BOUND)
        await transport.aclose()
        moment += 1
    assert moment > 3
    await asyncio.wait_for(asyncio.gather(*(seen.gone.wait() for seen in upstream.requests)), BOUND)


async def test_cancelled_closing_goes_on_to_its_end(transport: HttpxTransport, upstream: Upstream) -> None:
    """The caller is cancelled a second time while the response is being closed."""
    upstream.script(sse_reply(*chat_events("a")[:2], Fault.HANG))
    response = await transport.send(post(upstream.url))
    closing = asyncio.create_task(_close(response))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.wait_for((await upstream.request()).gone.wait(), BOUND)


async def _close(response: WireResponse) -> None:
    await response.aclose()


# -- an attempt on real sockets

FAULTS: dict[str, tuple[Reply, Kind]] = {
    "answer": (json_reply(completion()), Kind.OK),
    "compressed answer": (gzipped(json_reply(completion())), Kind.OK),
    "hang before the headers": (Reply(before=Fault.HANG), Kind.FIRST_TOKEN_TIMEOUT),
    "hang before the first token": (sse_reply(chat_events()[0], Fault.HANG), Kind.FIRST_TOKEN_TIMEOUT),
    "reset before the headers": (Reply(before=Fault.RESET), Kind.BROKEN),
    "reset before the first token": (sse_reply(chat_events()[0], Fault.RESET), Kind.BROKEN),
    "cut before the first token": (sse_reply(chat_events()[0], Fault.CUT), Kind.BROKEN),
    "empty stream": (sse_reply(), Kind.EMPTY),
    "wrong content type": (Reply([b"<html>"], headers={"content-type": "text/html"}), Kind.BROKEN),
    "500": (status_reply(500), Kind.SERVER_ERROR),
    "429": (status_reply(429, headers={"retry-after": "3"}), Kind.RATE_LIMIT),
    "quota": (status_reply(429, code="insufficient_quota"), Kind.NODE_REFUSED),
    "400": (status_reply(400), Kind.CALLER_ERROR),
}


@pytest.mark.parametrize(("reply", "kind"), FAULTS.values(), ids=FAULTS)
async def test_each_fault_has_its_name(transport: HttpxTransport, upstream: Upstream, reply: Reply, kind: Kind) -> None:
    """And afterwards the same client is as good as new."""
    upstream.script(reply, json_reply(completion()))
    node = Node(NodeSpec("n", upstream.url, "k"), [transport], client_concurrency=1)
    clocks = Clocks(first_token=0.2, idle=0.2)
    expires_at = asyncio.get_running_loop().time() + BOUND
    attempt = await try_once(
        transport, node.aim(STREAMED_CHAT), STREAMED_CHAT, clocks=clocks, expires_at=expires_at, deadlines=Deadlines()
    )
    assert attempt.outcome.kind is kind
    again = await try_once(transport, node.aim(CHAT), CHAT, clocks=clocks, expires_at=expires_at, deadlines=Deadlines())
    assert again.outcome.kind is Kind.OK


async def test_connection_refused_is_connect(transport: HttpxTransport, upstream: Upstream) -> None:
    """Free of charge, anywhere."""
    node = Node(NodeSpec("n", refusing_url(), "k"), [transport], client_concurrency=1)
    expires_at = asyncio.get_running_loop().time() + BOUND
    attempt = await try_once(
        transport, node.aim(CHAT), CHAT, clocks=Clocks(1.0, 1.0), expires_at=expires_at, deadlines=Deadlines()
    )
    assert attempt.outcome.kind is Kind.CONNECT


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.RESET, Fault.CUT])
async def test_stream_that_breaks_on_the_wire_ends_with_an_error(
    transport: HttpxTransport, upstream: Upstream, fault: Fault
) -> None:
    """Silence, reset, cut: what came is passed on, then the error event; the connection is closed."""
    events = chat_events("hel", "lo")[:3]
    upstream.script(sse_reply(*events, fault))
    node = Node(NodeSpec("n", upstream.url, "k"), [transport], client_concurrency=1)
    expires_at = asyncio.get_running_loop().time() + BOUND
    attempt = await try_once(
        transport,
        node.aim(STREAMED_CHAT),
        STREAMED_CHAT,
        clocks=Clocks(BOUND, 0.2),
        expires_at=expires_at,
        deadlines=Deadlines(),
    )
    assert attempt.stream is not None
    ends: list[Outcome] = []
    received = b"".join([chunk async for chunk in AnswerStream(attempt.stream, ends.append)])
    assert received.startswith(b"".join(events))
    assert b"phase1_stream_broken" in received
    assert [outcome.kind for outcome in ends] == [Kind.BROKEN_AFTER_TOKEN]
    await asyncio.wait_for((await upstream.request()).gone.wait(), BOUND)


async def test_tracers_of_httpx_see_no_attempts(
    transport: HttpxTransport, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instrumentation wraps httpx's transport: a call of three attempts is not three calls."""
    traced = []
    stock = httpx.AsyncHTTPTransport.handle_async_request

    @functools.wraps(stock)
    async def wrapped(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        traced.append(request)
        return await stock(self, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", wrapped)
    response = await transport.send(WireRequest("POST", upstream.url, (), b"{}"))
    await response.aclose()
    assert response.status == 200
    assert traced == []
