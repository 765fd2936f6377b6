"""A transport over the HTTP library that the installed OpenAI SDK itself uses: always there.

Below httpx's client, which would add what each call pays for and none may have: cookies of one user for the next, and
default headers. Redirects and proxies are the transports' own (`redirects`, `proxies`), so that both follow the same.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, cast

from phase1.engine.transport.base import KEEP_ALIVE, Broken, NeverSent, WireRequest, WireResponse
from phase1.engine.transport.family import httpx
from phase1.engine.transport.fields import Fields
from phase1.engine.transport.proxies import Proxies, Proxy
from phase1.engine.transport.redirects import REDIRECTS, follow
from phase1.engine.transport.signature import signed
from phase1.engine.transport.tls import ssl_context

__all__ = ["HttpxTransport"]

_Handle = Callable[[httpx.AsyncHTTPTransport, httpx.Request], Awaitable[httpx.Response]]


@lru_cache(maxsize=1)
def _decodable() -> str:
    """The codings that the installed httpx can decode, as it names them to servers."""
    nobody = httpx.AsyncClient(transport=httpx.AsyncBaseTransport(), trust_env=False)
    return nobody.headers["accept-encoding"]


@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _untraced() -> _Handle:
    """Httpx's own method: what a tracer has put around it would tell each attempt as a call."""
    return cast("_Handle", inspect.unwrap(httpx.AsyncHTTPTransport.handle_async_request))


class HttpxTransport:
    """One httpx connection pool, and one more for each proxy.

    `connections` are kept alive when idle. More are opened for more calls: how many calls there may be is the engine's
    business, and httpx must not make one wait that has been admitted. `connect_timeout` is in seconds and covers DNS,
    TCP, the way through a proxy, and TLS.
    """

    __slots__ = ("_closed", "_connect_timeout", "_limits", "_offer", "_pools", "_proxies", "_undone")

    def __init__(self, *, connections: int, connect_timeout: float, proxies: Proxies | None = None) -> None:
        self._proxies = Proxies.from_environment() if proxies is None else proxies
        self._limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=connections, keepalive_expiry=KEEP_ALIVE
        )
        self._connect_timeout = connect_timeout
        self._offer = ("accept-encoding", _decodable())
        self._undone = frozenset(_decodable().encode().split(b", "))
        self._pools: dict[Proxy | None, httpx.AsyncHTTPTransport] = {None: self._pool(None)}
        self._closed = False

    def _pool(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        context = ssl_context()
        if proxy is None:
            return httpx.AsyncHTTPTransport(verify=context, limits=self._limits)
        to_proxy = context if proxy.url.startswith("https") else None
        between = httpx.Proxy(proxy.url, ssl_context=to_proxy)
        return httpx.AsyncHTTPTransport(verify=context, limits=self._limits, proxy=between)

    async def send(self, request: WireRequest) -> WireResponse:
        """Send and return at the headers."""
        response = await self._exchange(request)
        return await follow(self._exchange, request, response) if response.status in REDIRECTS else response

    async def _exchange(self, request: WireRequest) -> HttpxResponse:
        if self._closed:
            raise NeverSent("closed")
        if "@" in request.url:
            request = signed(request)
        proxy = self._proxies.of(request.url)
        if proxy not in self._pools:
            self._pools[proxy] = self._pool(proxy)
        witness = _Witness()
        try:
            return HttpxResponse(await self._witnessed(request, proxy, witness), self._undone)
        finally:
            await witness.close_unused()

    async def _witnessed(self, request: WireRequest, proxy: Proxy | None, witness: _Witness) -> httpx.Response:
        try:
            outgoing = self._outgoing(request, witness)
            async with asyncio.timeout(self._connect_timeout) as witness.clock:
                return await _untraced()(self._pools[proxy], outgoing)
        except (httpx.LocalProtocolError, httpx.InvalidURL) as exc:
            raise NeverSent(type(exc).__name__) from exc
        except (httpx.RequestError, OSError) as exc:  # broken TLS is an OSError
            raise (Broken if witness.sent else NeverSent)(type(exc).__name__) from exc

    def _outgoing(self, request: WireRequest, witness: _Witness) -> httpx.Request:
        headers = httpx.Headers([*request.headers, self._offer], encoding="utf-8")
        return httpx.Request(
            request.method, _parsed(request.url), headers=headers, content=request.body, extensions={"trace": witness}
        )

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._closed = True
        await asyncio.shield(asyncio.gather(*(pool.aclose() for pool in self._pools.values())))


class _Witness:
    """Sees the request go out, as httpx's `trace`. Until then nothing was sent, and the clock of connecting runs."""

    __slots__ = ("_stream", "clock", "sent")

    clock: asyncio.Timeout

    def __init__(self) -> None:
        self.sent = False
        self._stream: _Closable | None = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            self.sent = True
            self.clock.reschedule(None)

    async def close_unused(self) -> None:
        """Close a connection that was made for nothing: httpx forgets it when it is cancelled in the TLS handshake."""
        if self._stream is not None and not self.sent:
            await asyncio.shield(self._stream.aclose())


class _Closable(Protocol):
    async def aclose(self) -> None: ...


class HttpxResponse:
    """An open httpx response as a `WireResponse`."""

    __slots__ = ("_response", "_undone", "headers", "status")

    def __init__(self, response: httpx.Response, undone: frozenset[bytes]) -> None:
        response.stream = _ClosedWhole(response.stream)
        self._response = response
        self._undone = undone
        self.status = response.status_code
        self.headers = Fields(response.headers.raw, undone, response.headers.get)

    @property
    def ended(self) -> bool:
        """Whether httpx has closed it."""
        return self._response.is_closed

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.body()])

    async def body(self) -> AsyncIterator[bytes]:
        """Decoded chunks as they come."""
        left_coded = any(name == "content-encoding" for name, _ in self.headers)
        try:
            async for chunk in self._response.aiter_raw() if left_coded else self._response.aiter_bytes():
                yield chunk
        except (httpx.RequestError, httpx.StreamError, OSError) as exc:
            raise Broken(type(exc).__name__) from exc

    async def aclose(self) -> None:
        """Close the upstream connection, or give it back."""
        await self._response.aclose()


class _ClosedWhole(httpx.AsyncByteStream):
    """A body that is closed to the end even when the caller is cancelled meanwhile.

    httpx closes it by itself at its end, too; closed by half, the connection would be lost to httpx's pool for ever.
    """

    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        self._stream = cast("httpx.AsyncByteStream", stream)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        await asyncio.shield(self._stream.aclose())
