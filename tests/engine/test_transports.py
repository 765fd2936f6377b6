"""Do all transports do the same? Each of these on real sockets, with httpx (the SDK's) and with aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import threading
import zlib
from collections.abc import Awaitable, Callable
from gzip import compress

import pytest

from phase1.engine.transport import Broken, NeverSent, Transport, WireRequest, WireResponse

from .conftest import MakeTransport
from .upstream import Upstream, refusing_url
from .wire import BOUND, Act, Answer, Wire, answer, chunked

CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": compress, "deflate": zlib.compress}
with contextlib.suppress(ImportError):
    import brotli

    CODINGS["br"] = brotli.compress


def post(url: str, *headers: tuple[str, str], body: bytes = b"{}", method: str = "POST") -> WireRequest:
    """A request."""
    return WireRequest(method, url, headers, body)


async def read(response: WireResponse) -> bytes:
    """The body; the response is closed."""
    try:
        return await response.read()
    finally:
        await response.aclose()


async def ask(transport: Transport, url: str, *headers: tuple[str, str], body: bytes = b"{}") -> bytes:
    """One exchange, which must not hang."""
    response = await asyncio.wait_for(transport.send(post(url, *headers, body=body)), BOUND)
    return await asyncio.wait_for(read(response), BOUND)


async def fails(job: Awaitable[object], error: type[Exception]) -> Exception:
    """What `job` raises, at once."""
    with pytest.raises(error) as caught:
        await asyncio.wait_for(job, BOUND)
    assert caught.value.__cause__ is not None
    return caught.value


# -- what goes out


async def test_request_is_on_the_wire_as_it_was_made(transport: Transport, wire: Wire) -> None:
    """Target, fields in their order, twice where there are two, and body; beside them only what HTTP needs."""
    headers = [("x-b", "1"), ("authorization", "Bearer k"), ("x-a", "ä"), ("x-b", "2"), ("user-agent", "me")]
    await ask(transport, f"{wire.url}/files/a%2Fb%20c?x=a%2Bb&y=%7E&z=a+b", *headers, body=b'{"a": 1}')
    assert wire.line == "POST /v1/files/a%2Fb%20c?x=a%2Bb&y=%7E&z=a+b HTTP/1.1"
    own = [(name.lower(), value) for name, value in wire.fields]
    assert [field for field in own if field in headers] == headers
    assert {name: value for name, value in own if (name, value) not in headers} == {
        "host": f"127.0.0.1:{wire.port}",
        "content-length": "8",
        "accept-encoding": dict(own)["accept-encoding"],
    }
    assert wire.bodies == [b'{"a": 1}']


async def test_address_is_escaped_where_it_must_be(transport: Transport, wire: Wire) -> None:
    """A base URL that somebody has typed."""
    await ask(transport, f"{wire.url}/a b/ü?q=ü")
    assert wire.line == "POST /v1/a%20b/%C3%BC?q=%C3%BC HTTP/1.1"


async def test_only_codings_are_offered_that_can_be_decoded(transport: Transport, wire: Wire) -> None:
    """Each of them is tried."""
    await ask(transport, wire.url)
    offered = dict(wire.fields)["accept-encoding" if "accept-encoding" in dict(wire.fields) else "Accept-Encoding"]
    known = set(offered.split(", ")) & CODINGS.keys()
    assert known >= {"gzip", "deflate"}
    for coding in known:
        wire.answers = [answer(CODINGS[coding](b"hello" * 100), f"Content-Encoding: {coding}")]
        response = await transport.send(post(wire.url))
        assert response.headers == []
        assert await read(response) == b"hello" * 100


async def test_body_is_sent_whole_whatever_its_size(transport: Transport, wire: Wire) -> None:
    """Nothing, a form with a file in it, five megabytes."""
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa4"\r\n\r\n\x00\xff\r\n--b--\r\n'
    bodies = [b"", form, bytes(5_000_000)]
    for body in bodies:
        await ask(transport, wire.url, ("content-type", "multipart/form-data; boundary=b"), body=body)
        assert dict(wire.fields)["content-type"] == "multipart/form-data; boundary=b"
    assert wire.bodies == bodies


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PUT", "PATCH", "OPTIONS"])
async def test_every_method_passes(transport: Transport, wire: Wire, method: str) -> None:
    """With no body there is no type of one."""
    wire.answers = [answer(b"" if method == "HEAD" else b"hello", "X-A: 1")]
    response = await transport.send(post(wire.url, method=method, body=b""))
    assert (response.status, response.headers) == (200, [("x-a", "1")])
    assert await read(response) == (b"" if method == "HEAD" else b"hello")
    assert wire.line.startswith(f"{method} /v1 ")
    assert "content-type" not in {name.lower() for name, _ in wire.fields}


async def test_user_of_the_url_is_its_authorization(transport: Transport, wire: Wire) -> None:
    """As httpx does it: in place of the key."""
    url = wire.url.replace("://", "://me%40home:s%3Acret@")
    await ask(transport, f"{url}/x", ("authorization", "Bearer k"))
    assert dict(wire.fields)["authorization"] == "Basic bWVAaG9tZTpzOmNyZXQ="
    assert wire.line == "POST /v1/x HTTP/1.1"
    await ask(transport, f"{wire.url}/a@b", ("authorization", "Bearer k"))
    assert dict(wire.fields)["authorization"] == "Bearer k"


# -- what comes back


async def test_fields_come_back_as_they_were_sent(transport: Transport, wire: Wire) -> None:
    """In their order, twice where there are two, names in lower case; what belongs to the connection stays behind."""
    wire.answers = [
        answer(b"hello", "X-B: 1", "Set-Cookie: a=1", "Connection: keep-alive", "set-cookie: b=2", "X-A:   spaced  ")
    ]
    response = await transport.send(post(wire.url))
    assert response.headers == [("x-b", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-a", "spaced")]
    assert await read(response) == b"hello"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_field_that_is_not_ascii_is_read(transport: Transport, wire: Wire, encoding: str) -> None:
    """UTF-8, else Latin-1: nobody wants an exception for a name with an accent."""
    wire.answers = [[b"HTTP/1.1 200 OK\r\nx-who: " + "Zoë".encode(encoding) + b"\r\ncontent-length: 0\r\n\r\n"]]
    response = await transport.send(post(wire.url))
    assert response.headers == [("x-who", "Zoë")]
    await response.aclose()


async def test_long_and_many_fields_pass(transport: Transport, wire: Wire) -> None:
    """Proxies and tracers write a lot."""
    fields = [f"x-{number}: {number}" for number in range(100)] + [f"x-long: {'x' * 20_000}"]
    wire.answers = [answer(b"", *fields)]
    response = await transport.send(post(wire.url))
    assert [f"{name}: {value}" for name, value in response.headers] == fields
    await response.aclose()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_answer_without_a_body_is_at_its_end(transport: Transport, wire: Wire, status: str) -> None:
    """And its connection is used again."""
    wire.answers = [[f"HTTP/1.1 {status}\r\n\r\n".encode()]]
    for _ in range(2):
        assert await ask(transport, wire.url) == b""
    assert wire.connections == 1


async def test_interim_answers_are_passed_over(transport: Transport, wire: Wire) -> None:
    """100 and 103 are no answers."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    wire.answers = [[interim, *answer(b"hello")]]
    assert await ask(transport, wire.url) == b"hello"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_body_arrives_whole_however_it_is_cut(transport: Transport, wire: Wire, size: int) -> None:
    """By the chunks of HTTP and by the network."""
    body = b'data: {"a": "\xc3\xa4"}\n\n' * 20
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    whole = b"".join(part for part in chunked(*parts) if isinstance(part, bytes))
    for acts in (chunked(*parts), [whole[at : at + size] for at in range(0, len(whole), size)]):
        wire.answers = [acts]
        assert await ask(transport, wire.url) == body


async def test_chunk_is_handed_on_when_it_comes(transport: Transport, wire: Wire) -> None:
    """Not when the buffer is full, not when the next one comes; compressed, too."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(b"begin") + packer.flush(zlib.Z_SYNC_FLUSH)
    for acts in (chunked(b"begin", Act.HANG), chunked(packed, Act.HANG, fields=["content-encoding: gzip"])):
        wire.answers = [acts]
        response = await asyncio.wait_for(transport.send(post(wire.url)), BOUND)
        assert await asyncio.wait_for(anext(response.body()), BOUND) == b"begin"
        await response.aclose()


async def test_large_body_arrives_whole(transport: Transport, wire: Wire) -> None:
    """Five megabytes, read slowly at first."""
    body = bytes(range(256)) * 20_000
    wire.answers = [answer(body)]
    response = await transport.send(post(wire.url))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(read(response), BOUND) == body


async def test_body_until_the_end_of_the_connection_is_whole(transport: Transport, wire: Wire) -> None:
    """An old server says neither how long it is nor that it is at its end."""
    wire.answers = [[b"HTTP/1.0 200 OK\r\n\r\n", b"hello", Act.CLOSE]]
    assert await ask(transport, wire.url) == b"hello"


async def test_coding_that_nobody_knows_stays(transport: Transport, wire: Wire) -> None:
    """The bytes as they are, under their name."""
    wire.answers = [answer(b"\x01\x02", "content-encoding: rot13", "x-a: 1")]
    response = await transport.send(post(wire.url))
    assert response.headers == [("content-encoding", "rot13"), ("x-a", "1")]
    assert await read(response) == b"\x01\x02"


async def test_cookies_are_nobodys(transport: Transport, wire: Wire) -> None:
    """The answer's are told to who asked, and to nobody who asks later: the pool is for many users."""
    wire.answers = [answer(b"", "set-cookie: who=me; path=/")]
    response = await transport.send(post(wire.url))
    assert response.headers == [("set-cookie", "who=me; path=/")]
    await response.aclose()
    await ask(transport, wire.url)
    assert "cookie" not in {name.lower() for name, _ in wire.fields}


async def test_answer_before_the_whole_body_was_read_is_the_answer(transport: Transport, wire: Wire) -> None:
    """Too large, says the server, and hangs up."""
    wire.answers = [[*answer(b"too large", "connection: close", status="413 Too Large")], answer(b"hello")]
    response = await transport.send(post(wire.url, body=bytes(3_000_000)))
    assert (response.status, await read(response)) == (413, b"too large")
    assert await ask(transport, wire.url) == b"hello"


# -- connections


async def test_connection_is_used_again(transport: Transport, wire: Wire) -> None:
    """After a whole body, however it was delimited."""
    wire.answers = [answer(b"hello"), chunked(b"hel", b"lo"), answer(compress(b"hello"), "content-encoding: gzip")]
    for _ in range(5):
        assert await ask(transport, wire.url) in {b"hello", compress(b"hello")}
    assert wire.connections == 1


async def test_calls_at_once_use_their_connections_again(make_transport: MakeTransport, wire: Wire) -> None:
    """Twenty calls, twenty connections, for twenty more."""
    transport = make_transport(connections=20)
    for _ in range(3):
        await asyncio.gather(*(ask(transport, wire.url) for _ in range(20)))
    assert wire.connections == 20


async def test_nobody_waits_for_a_connection(make_transport: MakeTransport, wire: Wire) -> None:
    """How many calls there may be is the engine's business."""
    transport = make_transport(connections=1)
    wire.answers = [[Act.HANG]]
    tasks = [asyncio.create_task(ask(transport, wire.url)) for _ in range(50)]
    await wire.arrived(50)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(wire.gone(number) for number in range(50)))


async def test_answer_that_is_left_closes_its_connection(transport: Transport, wire: Wire) -> None:
    """Unread, or read in part; closed twice is closed."""
    wire.answers = [chunked(b"a", Act.HANG)]
    for number in range(2):
        response = await transport.send(post(wire.url))
        if number:
            assert await anext(response.body()) == b"a"
        await response.aclose()
        await response.aclose()
        await wire.gone(number)


async def test_closed_answer_cannot_be_read(transport: Transport, wire: Wire) -> None:
    """It does not pretend to have been empty."""
    wire.answers = [chunked(b"a", Act.HANG)]
    response = await transport.send(post(wire.url))
    await response.aclose()
    with pytest.raises(Broken):
        await anext(response.body())


async def test_kept_connection_that_was_closed_is_not_used(transport: Transport, wire: Wire) -> None:
    """A server closes idle connections without a word: the next call gets a new one and never learns of it."""
    wire.answers = [[*answer(b"hello"), Act.CLOSE], answer(b"again")]
    assert await ask(transport, wire.url) == b"hello"
    await wire.gone(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert await ask(transport, wire.url) == b"again"
    assert wire.connections == 2


def serve_and_hang_up(listener: socket.socket, hung_up: threading.Event, answers: list[bytes]) -> None:
    """A server with a thread of its own: one connection per answer, closed after it."""
    for body in answers:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        hung_up.set()


async def test_kept_connection_is_looked_at_before_it_is_used(transport: Transport, upstream: Upstream) -> None:
    """The app has blocked its loop, and meanwhile the server has hung up: that is seen before the request is sent."""
    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, hung_up, [b"hello", b"again"])
        thread = threading.Thread(target=serve_and_hang_up, args=arguments, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        response = await transport.send(post(url))
        chunks = [chunk async for chunk in response.body()]
        assert hung_up.wait(BOUND)  # without letting the loop run
        response = await transport.send(post(url))
        assert chunks == [b"hello"]
        assert await read(response) == b"again"
        thread.join(BOUND)


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
@pytest.mark.parametrize("used", [False, True], ids=["new", "kept"])
async def test_request_that_was_read_is_not_sent_again(
    transport: Transport, wire: Wire, method: str, *, used: bool
) -> None:
    """Closed without an answer: the server may have worked on it. Retries are the engine's, whatever the method."""
    wire.answers = [[Act.CLOSE]]
    if used:
        wire.answers = [answer(b"hello"), [Act.CLOSE]]
        await ask(transport, wire.url)
    await fails(transport.send(post(wire.url, method=method)), Broken)
    assert len(wire.heads) == 1 + used


# -- redirects


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect_on_the_same_host_keeps_everything(transport: Transport, wire: Wire, status: int) -> None:
    """Method, body and key, on the same connection."""
    wire.answers = [answer(b"moved", "location: there?x=1", status=f"{status} Moved"), answer(b"hello")]
    assert await ask(transport, f"{wire.url}/here", ("authorization", "k"), body=b"body") == b"hello"
    assert wire.line == "POST /v1/there?x=1 HTTP/1.1"
    assert dict(wire.fields)["authorization"] == "k"
    assert (wire.bodies, wire.connections) == ([b"body", b"body"], 1)


async def test_redirect_to_another_host_goes_without_the_key(transport: Transport, wire: Wire) -> None:
    """In whatever field it is; the rest goes."""
    async with Wire() as other:
        wire.answers = [answer(b"", f"location: {other.url}/there", status="307 Moved")]
        keys = [("authorization", "Bearer k"), ("api-key", "k"), ("cookie", "k")]
        assert await ask(transport, wire.url, *keys, ("x-a", "1"), body=b"body") == b"hello"
        assert {name.lower() for name, _ in other.fields} == {"host", "accept-encoding", "content-length", "x-a"}
        assert other.bodies == [b"body"]


async def test_redirect_without_end_is_broken(transport: Transport, wire: Wire) -> None:
    """Somebody has to give up, and to close."""
    wire.answers = [answer(b"", "location: /v1", status="307 Moved")]
    with pytest.raises(Broken):
        await asyncio.wait_for(transport.send(post(wire.url)), BOUND)
    assert len(wire.heads) == 21


async def test_cancelled_in_a_redirect_closes_the_connection(transport: Transport, wire: Wire) -> None:
    """While the rest of the first answer is awaited."""
    wire.answers = [[b"HTTP/1.1 307 Moved\r\nlocation: /v1\r\ncontent-length: 5\r\n\r\n", Act.HANG]]
    task = asyncio.create_task(transport.send(post(wire.url)))
    await wire.arrived()
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wire.gone()


# -- what goes wrong


async def test_refused_connection_is_never_sent(transport: Transport, upstream: Upstream) -> None:
    """Asking elsewhere is free."""
    await fails(transport.send(post(refusing_url())), NeverSent)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/v1", "http+unix://%2Ftmp%2Fx/v1", "http://[/v1", "/v1", "http://", "http://a..b/v1"]
)
async def test_address_that_is_none_is_never_sent(transport: Transport, upstream: Upstream, url: str) -> None:
    """Nobody could be asked."""
    await fails(transport.send(post(url)), NeverSent)


async def test_field_that_is_none_is_never_sent(transport: Transport, wire: Wire) -> None:
    """Nobody smuggles a second one into the first."""
    await fails(transport.send(post(wire.url, ("x-a", "1\r\nx-b: 2"))), NeverSent)
    assert wire.heads == []


async def test_name_that_is_not_found_is_never_sent(
    transport: Transport, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver says no."""

    async def nobody(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
    await fails(transport.send(post("http://nobody.example/v1")), NeverSent)


@pytest.mark.parametrize("slow", ["name", "handshake"])
async def test_connecting_takes_no_longer_than_its_clock(
    make_transport: MakeTransport, wire: Wire, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """Neither the resolver nor a server that is silent in the handshake holds a call up."""
    transport, url = make_transport(connect_timeout=0.1), wire.url.replace("http:", "https:")
    if slow == "name":

        async def silent(*args: object, **kwargs: object) -> list[object]:
            return await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
        url = "http://slow.example/v1"
    await fails(transport.send(post(url)), NeverSent)


async def test_handshake_with_a_server_that_knows_no_tls_is_never_sent(transport: Transport, wire: Wire) -> None:
    """It hangs up in the middle of it."""

    async def rude(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no")
        writer.close()

    async with await asyncio.start_server(rude, "127.0.0.1", 0) as server:
        await fails(transport.send(post(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")), NeverSent)


@pytest.mark.parametrize(
    "acts",
    [[Act.RESET], [Act.CLOSE], [b"HTTP/1.1 200", Act.CLOSE], [b"SSH-2.0\r\n\r\n", Act.HANG]],
    ids=["reset", "closed", "cut", "no HTTP"],
)
async def test_exchange_that_ends_before_the_headers_is_broken(transport: Transport, wire: Wire, acts: Answer) -> None:
    """The request had been sent: the upstream may have worked on it."""
    wire.answers = [acts]
    await fails(transport.send(post(wire.url)), Broken)
    await wire.gone()


@pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET])
@pytest.mark.parametrize("known", ["chunked", "length", "gzip in chunks"])
async def test_body_that_ends_early_is_broken(transport: Transport, wire: Wire, end: Act, known: str) -> None:
    """What came before it is handed out."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(b"begin") + packer.flush(zlib.Z_SYNC_FLUSH)
    wire.answers = [
        {
            "chunked": chunked(b"begin", end),
            "length": [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"begin", end],
            "gzip in chunks": chunked(packed, end, fields=["content-encoding: gzip"]),
        }[known]
    ]
    response = await transport.send(post(wire.url))
    chunks = response.body()
    with contextlib.suppress(Broken):  # a reset may overtake what came before it
        assert await asyncio.wait_for(anext(chunks), BOUND) == b"begin"
        with pytest.raises(Broken):
            await asyncio.wait_for(anext(chunks), BOUND)
    await response.aclose()


async def test_body_of_unknown_length_that_is_reset_is_broken(transport: Transport, wire: Wire) -> None:
    """Only an orderly end of the connection is the end of the body."""
    wire.answers = [[b"HTTP/1.0 200 OK\r\n\r\n", b"begin", Act.RESET]]
    response = await transport.send(post(wire.url))
    with pytest.raises(Broken):
        await asyncio.wait_for(read(response), BOUND)


async def test_body_that_cannot_be_decoded_is_broken(transport: Transport, wire: Wire) -> None:
    """It says gzip and is not."""
    wire.answers = [answer(b"no gzip at all", "content-encoding: gzip")]
    with pytest.raises(Broken):
        await ask(transport, wire.url)
    wire.answers = [answer(b"hello")]
    assert await ask(transport, wire.url) == b"hello"


# -- cancellation


async def test_cancelled_before_the_headers_closes_the_connection(transport: Transport, wire: Wire) -> None:
    """A call that nobody waits for must not cost money any longer."""
    wire.answers = [[Act.HANG]]
    task = asyncio.create_task(transport.send(post(wire.url)))
    await wire.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wire.gone()


async def test_cancelled_in_the_body_closes_the_connection(transport: Transport, wire: Wire) -> None:
    """The reader need not close the response for that."""
    wire.answers = [chunked(b"begin", Act.HANG)]
    response = await transport.send(post(wire.url))
    chunks = response.body()
    assert await anext(chunks) == b"begin"
    task = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wire.gone()


async def test_cancelled_in_the_upload_sends_nothing_more(transport: Transport, wire: Wire) -> None:
    """What is not sent yet is thrown away, not sent first."""
    wire.answers = [[Act.DEAF]]
    body = bytes(40_000_000)
    task = asyncio.create_task(transport.send(post(wire.url, body=body)))
    await wire.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    wire.listens.set()
    await wire.gone()
    assert wire.late < len(body)


@pytest.mark.parametrize("before", [0, 1], ids=["on a new connection", "on a used connection"])
async def test_cancellation_at_any_moment_loses_no_connection(
    make_transport: MakeTransport, wire: Wire, before: int
) -> None:
    """Cancelled in each turn of the loop that an exchange takes: the next exchange goes through, none is left open."""
    moment, finished = 0, False
    while not finished:
        transport = make_transport(connections=1)
        for _ in range(before):
            await ask(transport, wire.url)
        task = asyncio.create_task(ask(transport, wire.url))
        for _ in range(moment):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await ask(transport, wire.url) == b"hello"
        await transport.aclose()
        moment += 1
    assert moment > 3
    await asyncio.gather(*(wire.gone(number) for number in range(wire.connections)))


# -- the end


async def test_closing_cuts_everything(make_transport: MakeTransport, wire: Wire) -> None:
    """Idle connections, a call that waits for its headers, one that reads its body, one that still sends."""
    transport = make_transport()
    await asyncio.gather(*(ask(transport, wire.url) for _ in range(3)))
    idle = wire.connections
    wire.answers = [[Act.HANG], [Act.DEAF], chunked(b"begin", Act.HANG)]
    waiting = asyncio.create_task(transport.send(post(wire.url)))
    await wire.arrived(4)
    sending = asyncio.create_task(transport.send(post(wire.url, body=bytes(40_000_000))))
    await wire.arrived(5)
    response = await transport.send(post(wire.url))
    chunks = response.body()
    assert await anext(chunks) == b"begin"
    reading = asyncio.ensure_future(anext(chunks))
    await asyncio.sleep(0)
    await asyncio.wait_for(transport.aclose(), BOUND)
    for task in (waiting, sending, reading):
        with pytest.raises(Broken):
            await asyncio.wait_for(task, BOUND)
    wire.listens.set()
    await asyncio.gather(*(wire.gone(number) for number in range(idle)))
    await asyncio.gather(*(wire.gone(number) for number in range(wire.connections)))


async def test_cancelled_closing_goes_on_to_its_end(make_transport: MakeTransport, wire: Wire) -> None:
    """An impatient shutdown leaves no connection open."""
    transport = make_transport()
    await asyncio.gather(*(ask(transport, wire.url) for _ in range(5)))
    closing = asyncio.create_task(transport.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await asyncio.gather(*(wire.gone(number) for number in range(5)))


async def test_closed_transport_sends_nothing(transport: Transport, wire: Wire) -> None:
    """And may be closed again."""
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(NeverSent):
        await transport.send(post(wire.url))
    assert wire.connections == 0


async def test_nothing_is_left_behind(make_transport: MakeTransport, wire: Wire) -> None:
    """No task, and no warning of a forgotten socket when the garbage is collected."""
    before = asyncio.all_tasks()
    transport = make_transport()
    await asyncio.gather(*(ask(transport, wire.url) for _ in range(5)))
    left = await transport.send(post(wire.url))
    await left.aclose()
    await transport.aclose()
    del transport, left
    gc.collect()
    await asyncio.gather(*(wire.gone(number) for number in range(wire.connections)))
    assert asyncio.all_tasks() == before
