"""A transport over aiohttp: a sixth of httpx's CPU per call, or less (`benchmarks/transports.py`). Extra `fast`.

Where it diverges from aiohttp's own ways:

- What fails in the connector's `connect` was never sent, what fails after it is broken. So aiohttp's own second try of
  GET, PUT and DELETE after a lost connection does not take place: retries are the engine's, within its budget.
- A kept connection that the server has closed meanwhile is noticed before it is used, as httpx does. What cannot be
  known is a request that crosses the server's FIN on the wire: no byte of an answer tells whether it was read, so it
  is `Broken`, on this transport as on the other.
- What is cancelled or left early is aborted, not closed: a close would first send the rest of the request, and under
  TLS wait for the peer.
- Cookies are neither kept nor sent. The SDK's stock client keeps them, for all calls of the process alike: in a pool
  that serves many users one user's cookie would go out with another's call.

HTTP/1.1 only, like the other transport. Names are resolved by the system and remembered for ten seconds.
"""

from __future__ import annotations

import asyncio
import io
import os
import select
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast
from weakref import WeakSet, finalize

import aiohttp
from yarl import URL

from phase1.engine.transport.base import KEEP_ALIVE, Broken, Headers, NeverSent, WireRequest, WireResponse
from phase1.engine.transport.fields import passed_on, signed
from phase1.engine.transport.proxies import Proxies
from phase1.engine.transport.redirects import REDIRECTS, follow
from phase1.engine.transport.tls import ssl_context

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

__all__ = ["AiohttpTransport"]

_UNDONE = frozenset({b"gzip", b"deflate", b"br", b"zstd"})
_OURS = ("accept", "content-type", "user-agent")  # `accept-encoding` is aiohttp's: it knows what it can decode
_LONGEST_FIELD = 100 * 1024  # as in httpx; aiohttp's own limit is 8 KiB
_IN_ONE_PIECE = 2**20  # aiohttp warns of longer bytes, and rightly: they would be copied at once


class AiohttpTransport:
    """One aiohttp session with its own connections: make it on the loop that will use it.

    There may be as many connections as there are calls; idle ones are closed after `KEEP_ALIVE`. `connect_timeout` is
    in seconds and covers DNS, TCP, the way through a proxy, and TLS.
    """

    __slots__ = ("__weakref__", "_connector", "_proxies", "_session", "_when_dropped")

    def __init__(self, *, connect_timeout: float, proxies: Proxies | None = None) -> None:
        self._proxies = Proxies.from_environment() if proxies is None else proxies
        self._connector = _Connector()
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            skip_auto_headers=_OURS,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
            max_line_size=_LONGEST_FIELD,
            max_field_size=_LONGEST_FIELD,
        )
        self._when_dropped = finalize(self, _forget, self._session, self._connector)

    async def send(self, request: WireRequest) -> WireResponse:
        """Send and return at the headers."""
        response = await self._exchange(request)
        return await follow(self._exchange, request, response) if response.status in REDIRECTS else response

    async def _exchange(self, request: WireRequest) -> AiohttpResponse:
        if self._session.closed:
            raise NeverSent("closed")
        if "@" in request.url:
            request = signed(request)
        body = request.body
        proxy = self._proxies.of(request.url)
        try:
            response = await self._session.request(
                request.method,
                URL(request.url, encoded=request.url.isascii() and " " not in request.url),
                headers=request.headers,
                data=io.BytesIO(body) if len(body) > _IN_ONE_PIECE else body or None,
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
            )
        except (ValueError, aiohttp.ClientError) as exc:  # no URL, no header; later failures are `_Response.start`'s
            raise NeverSent(type(exc).__name__) from exc
        return AiohttpResponse(cast("_Response", response))

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        self._when_dropped.detach()
        await self._connector.cut()
        await self._session.close()


class AiohttpResponse:
    """An open aiohttp response as a `WireResponse`."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: _Response) -> None:
        self._response = response
        self.status = response.status
        self.headers: Headers = passed_on(response.raw_headers, _UNDONE)

    async def read(self) -> bytes:
        """The whole body. Most have arrived together with the headers: no generator for those."""
        content = self._response.content
        if content.is_eof() and content.exception() is None and not self._response.was_reset:
            return content.read_nowait()
        return b"".join([chunk async for chunk in self.body()])

    async def body(self) -> AsyncIterator[bytes]:
        """Decoded chunks as they come."""
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except Exception as exc:
            raise Broken(type(exc).__name__) from exc
        finally:
            if not content.is_eof():
                self._response.close()
        if self._response.was_reset:
            raise Broken("reset")

    async def aclose(self) -> None:
        """Close the upstream connection. That of a body that has come to its end was given back then."""
        self._response.close()


class _Response(aiohttp.ClientResponse):
    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        self._handler = cast("ResponseHandler", connection.protocol)
        try:
            return await super().start(connection)
        except Exception as exc:
            raise Broken(type(exc).__name__) from exc

    def close(self) -> None:
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        super().close()

    @property
    def was_reset(self) -> bool:
        """A body of unknown length ends with its connection: in good order or not, for aiohttp it is whole."""
        of_unknown_length = "content-length" not in self.headers and "transfer-encoding" not in self.headers
        return of_unknown_length and isinstance(self._handler.exception(), OSError)


class _Connector(aiohttp.TCPConnector):
    """Where connections come from, as many as are asked for."""

    def __init__(self) -> None:
        super().__init__(limit=0, ssl=ssl_context(), keepalive_timeout=KEEP_ALIVE, resolver=aiohttp.ThreadedResolver())
        self._handed_out: WeakSet[ResponseHandler] = WeakSet()
        self._pid = os.getpid()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """A connection that stands. Raises `NeverSent`."""
        try:
            while not self._is_usable(connection := await super().connect(req, traces, timeout)):
                connection.close()
        except asyncio.CancelledError:
            if self.closed and not _is_cancelled():  # aiohttp cancels its own look-ups
                raise NeverSent("closed") from None
            raise
        except Exception as exc:
            raise NeverSent(type(exc).__name__) from exc
        return connection

    def _is_usable(self, connection: Connection) -> bool:
        """New, or kept and silent: one that was idle and has something to read has come to its end."""
        protocol = cast("ResponseHandler", connection.protocol)
        if protocol in self._handed_out:
            return not _is_readable(protocol)
        self._handed_out.add(protocol)
        return True

    async def cut(self) -> None:
        """Cut every connection, whatever is still to be written to it, and let those who read from it know."""
        closed = []
        for protocol in tuple(self._handed_out):
            if protocol.transport is not None and protocol.closed is not None:
                closed.append(protocol.closed)
                protocol.transport.abort()
        await asyncio.gather(*closed, return_exceptions=True)

    def forget(self) -> bool:
        """Let go of the connections without closing them, if they are another process's or their loop is gone."""
        out_of_reach = self._loop.is_closed() or self._pid != os.getpid()
        if out_of_reach:
            self._conns.clear()
        return out_of_reach


def _forget(session: aiohttp.ClientSession, connector: _Connector) -> None:
    """The transport was dropped: no complaint of aiohttp's where nobody could have closed it."""
    if connector.forget():
        session.detach()


def _is_readable(protocol: ResponseHandler) -> bool:
    poll = select.poll()
    poll.register(cast("asyncio.Transport", protocol.transport).get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
