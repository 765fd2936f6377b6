"""How does a request get there? TLS, proxies, IPv6; each transport alike."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest
import trustme

from phase1.engine.transport import Broken, NeverSent, Transport, WireRequest
from phase1.engine.transport.tls import ssl_context
from phase1.exceptions import ConfigurationError

from .conftest import MakeTransport
from .upstream import Upstream, refusing_url
from .wire import BOUND, Act, Proxy, Wire, answer, chunked

AUTHORITY = trustme.CA()
BASIC = b"proxy-authorization: basic " + b64encode(b"me:s:cret").lower()


@pytest.fixture
def certified() -> ssl.SSLContext:
    """A server's context with a certificate for 127.0.0.1 of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def hashed(tmp_path: Path) -> Path:
    """A directory as `SSL_CERT_DIR` names it, with the authority in it."""
    path = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    try:
        command = ["openssl", "x509", "-hash", "-noout", "-in", str(path)]
        digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip("openssl is not installed: it makes the names of files in such a directory")
    path.rename(tmp_path / f"{digest}.0")
    return tmp_path


@pytest.fixture
def known(make_transport: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The authority is known, by `SSL_CERT_FILE`."""
    path = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


async def ask(transport: Transport, url: str, *headers: tuple[str, str]) -> bytes:
    """One exchange, which must not hang."""
    response = await asyncio.wait_for(transport.send(WireRequest("POST", url, headers, b"{}")), BOUND)
    try:
        return b"".join([chunk async for chunk in response.body()])
    finally:
        await response.aclose()


# -- TLS


async def test_certificate_of_an_unknown_authority_is_refused(
    transport: Transport, certified: ssl.SSLContext, upstream: Upstream
) -> None:
    """Nothing is sent to whom nobody vouches for."""
    async with Wire(tls=certified) as wire:
        with pytest.raises(NeverSent):
            await ask(transport, wire.url)
        assert wire.heads == []


async def test_authority_of_the_environment_is_known(
    known: Path, make_transport: MakeTransport, certified: ssl.SSLContext
) -> None:
    """By `SSL_CERT_FILE`; its connections are kept, and cut in the end."""
    transport = make_transport()
    async with Wire(tls=certified) as wire:
        for _ in range(3):
            assert await ask(transport, wire.url) == b"hello"
        assert wire.connections == 1
        await asyncio.wait_for(transport.aclose(), BOUND)
        await wire.gone()


async def test_directory_of_the_environment_is_known(
    make_transport: MakeTransport, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, hashed: Path
) -> None:
    """By `SSL_CERT_DIR`."""
    monkeypatch.setenv("SSL_CERT_DIR", str(hashed))
    async with Wire(tls=certified) as wire:
        assert await ask(make_transport(), wire.url) == b"hello"


async def test_certificate_for_another_name_is_refused(
    make_transport: MakeTransport, certified: ssl.SSLContext, known: Path
) -> None:
    """The authority is known, but vouches for somebody else."""
    async with Wire(tls=certified) as wire:
        with pytest.raises(NeverSent):
            await ask(make_transport(), wire.url.replace("127.0.0.1", "localhost"))


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_authorities_that_cannot_be_read_are_an_error_at_start(
    make_transport: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """The text names the variables."""
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
        make_transport()


def test_verification_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says, and for both: there is one context."""
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    ssl_context.cache_clear()
    context = ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert ssl_context() is context


async def test_connection_under_tls_is_closed_at_once(
    make_transport: MakeTransport, certified: ssl.SSLContext, known: Path
) -> None:
    """Cancelled before the headers, cancelled in the body, left, cut: nobody waits for the other's farewell."""
    transport = make_transport()
    stream = chunked(b"begin", Act.HANG)
    async with Wire([Act.HANG], stream, tls=certified) as wire:
        sending = asyncio.create_task(ask(transport, wire.url))
        await wire.arrived(1)
        reading = asyncio.create_task(ask(transport, wire.url))
        await wire.arrived(2)
        left = await transport.send(WireRequest("POST", wire.url, (), b"{}"))
        await left.aclose()
        last = asyncio.create_task(ask(transport, wire.url))
        await wire.arrived(4)
        for task in (sending, reading):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait_for(transport.aclose(), BOUND)
        with pytest.raises(Broken):
            await last
        await asyncio.gather(*(wire.gone(number) for number in range(4)))


async def test_kept_connection_under_tls_that_was_closed_is_not_used(
    make_transport: MakeTransport, certified: ssl.SSLContext, known: Path
) -> None:
    """The next call gets a new one."""
    transport = make_transport()
    async with Wire([*answer(b"hello"), Act.CLOSE], answer(b"again"), tls=certified) as wire:
        assert await ask(transport, wire.url) == b"hello"
        await wire.gone(0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert await ask(transport, wire.url) == b"again"


async def test_cancelled_in_the_handshake_closes_the_connection(transport: Transport, wire: Wire) -> None:
    """A server that is silent in it has a connection, and no request yet."""
    task = asyncio.create_task(ask(transport, wire.url.replace("http:", "https:")))
    await wire.connected()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wire.gone()


async def test_tls_that_breaks_in_the_body_is_broken(
    make_transport: MakeTransport, certified: ssl.SSLContext, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody on the way writes into it."""
    async with Wire(chunked(b"begin", Act.HANG), tls=certified) as wire, Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        transport = make_transport()
        response = await transport.send(WireRequest("POST", wire.url, (), b"{}"))
        chunks = response.body()
        assert await anext(chunks) == b"begin"
        proxy.clients[0].write(b"no TLS at all" * 100)
        with pytest.raises(Broken):
            await asyncio.wait_for(anext(chunks), BOUND)
        await response.aclose()


# -- addresses


async def test_address_of_ipv6_is_asked(transport: Transport, upstream: Upstream) -> None:
    """In brackets, as a URL has it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        async with Wire(host="::1") as wire:
            assert await ask(transport, wire.url) == b"hello"
            assert dict(wire.fields)["Host" if "Host" in dict(wire.fields) else "host"] == f"[::1]:{wire.port}"
    except OSError:
        pytest.skip("no IPv6 here")


# -- proxies


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_request_goes_through_the_proxy(
    make_transport: MakeTransport, wire: Wire, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """With the whole URL, and the proxy's password; the connection to it is kept."""
    async with Proxy() as proxy:
        monkeypatch.setenv(variable, proxy.address.replace("://", "://me:s%3Acret@"))
        transport = make_transport()
        for _ in range(2):
            assert await ask(transport, f"{wire.url}/x?y=1", ("authorization", "Bearer k")) == b"hello"
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(f"POST {wire.url}/x?y=1 HTTP/1.1\r\n".encode())
    assert BASIC in proxy.heads[0].lower()
    assert dict(wire.fields)["authorization"] == "Bearer k"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("secured", [False, True], ids=["plain", "under TLS"])
async def test_tls_goes_through_a_tunnel(
    make_transport: MakeTransport,
    certified: ssl.SSLContext,
    known: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    *,
    secured: bool,
) -> None:
    """The proxy sees the address, not the key; the tunnel is kept. The way to the proxy may be TLS, too."""
    async with Wire(tls=certified) as wire, Proxy(tls=certified if secured else None) as proxy:
        monkeypatch.setenv(variable, proxy.address.replace("://", "://me:s%3Acret@"))
        transport = make_transport()
        for _ in range(2):
            assert await ask(transport, wire.url, ("authorization", "Bearer k")) == b"hello"
        await transport.aclose()
        await wire.gone()
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{wire.port} HTTP/1.1\r\n".encode())
    assert BASIC in proxy.heads[0].lower()
    assert b"Bearer" not in proxy.heads[0]
    assert "proxy-authorization" not in {name.lower() for name, _ in wire.fields}


@pytest.mark.parametrize("exempt", ["127.0.0.1", "127.0.0.0/8", "*", "example.com, 127.0.0.1", "http://127.0.0.1"])
async def test_exempt_address_is_asked_directly(
    make_transport: MakeTransport, wire: Wire, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    """`NO_PROXY`."""
    monkeypatch.setenv("HTTP_PROXY", refusing_url())
    monkeypatch.setenv("NO_PROXY", exempt)
    assert await ask(make_transport(), wire.url) == b"hello"


async def test_proxy_that_refuses_the_connection_is_never_sent(
    make_transport: MakeTransport, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has heard of the request."""
    monkeypatch.setenv("ALL_PROXY", refusing_url())
    for url in (wire.url, wire.url.replace("http:", "https:")):
        with pytest.raises(NeverSent):
            await ask(make_transport(), url)
    assert wire.connections == 0


@pytest.mark.parametrize("refuses", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
async def test_proxy_that_refuses_the_tunnel_is_never_sent(
    make_transport: MakeTransport, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """It has seen the address, and nothing of the request."""
    async with Proxy(refuses=refuses) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        with pytest.raises(NeverSent):
            await ask(make_transport(), "https://127.0.0.1:1/v1")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """At the first word."""
    await reader.read(1)
    writer.transport.abort()


async def test_proxy_that_hangs_up_in_the_tunnel_is_never_sent(
    make_transport: MakeTransport, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has said anything, and in the handshake beyond it."""
    async with Wire([Act.CLOSE]) as rude:
        monkeypatch.setenv("HTTPS_PROXY", rude.address)
        with pytest.raises(NeverSent):
            await ask(make_transport(), "https://127.0.0.1:1/v1")
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as rude, Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        with pytest.raises(NeverSent):
            await ask(make_transport(), f"https://127.0.0.1:{rude.sockets[0].getsockname()[1]}/v1")


async def test_silent_proxy_takes_no_longer_than_connecting_may(
    make_transport: MakeTransport, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts, and never answers."""
    async with Proxy(silent=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        with pytest.raises(NeverSent):
            await ask(make_transport(connect_timeout=0.1), "https://127.0.0.1:1/v1")
