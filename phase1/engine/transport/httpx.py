"""A transport over the HTTP library that the installed OpenAI SDK itself uses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import cast

from phase1.engine.transport.base import Broken, Headers, NeverSent, WireRequest
from phase1.engine.transport.family import httpx

__all__ = ["HttpxTransport"]

# About the connection, not about the answer; and what decoding has undone.
_HOP_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"})
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """One verifying context for all clients: building one costs 10 to 40 ms. Honours SSL_CERT_FILE and SSL_CERT_DIR."""
    return httpx.create_ssl_context()


class HttpxTransport:
    """One httpx client: its own connections, proxies from the environment as the SDK has them.

    `connections` are kept alive when idle. More are opened for more calls: how many calls there may be is the engine's
    business, and httpx must not make one wait that has been admitted. `connect_timeout` is in seconds and covers DNS,
    TCP and TLS.
    """

    __slots__ = ("_client",)

    def __init__(self, *, connections: int, connect_timeout: float) -> None:
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=connect_timeout, pool=connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=connections),
            follow_redirects=True,
            verify=_ssl_context(),
        )

    async def send(self, request: WireRequest) -> HttpxResponse:
        """Send and return at the headers."""
        try:
            outgoing = self._client.build_request(
                request.method, request.url, headers=list(request.headers), content=request.body
            )
            response = await self._client.send(outgoing, stream=True)
        except _NEVER_SENT as exc:
            raise NeverSent(type(exc).__name__) from exc
        except httpx.RequestError as exc:
            raise Broken(type(exc).__name__) from exc
        return HttpxResponse(response)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class HttpxResponse:
    """An open httpx response as a `WireResponse`."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: httpx.Response) -> None:
        response.stream = _ClosedWhole(response.stream)
        self._response = response
        self.status = response.status_code
        self.headers: Headers = [
            (name.lower(), value) for name, value in response.headers.multi_items() if name.lower() not in _HOP_HEADERS
        ]

    async def body(self) -> AsyncIterator[bytes]:
        """Decoded chunks as they come."""
        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except (httpx.RequestError, httpx.StreamError) as exc:
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
