"""One exchange over one of aiohttp's connections: a write, then aiohttp's parser, no session in between.

A session makes some twenty objects and a task for each request (cookies, redirects, tracing, a timer, a writer): two
thirds of what a call costs there. Here a request is bytes, and an answer is what the parser hands out.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, cast

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from phase1.engine.transport.aio.connector import LONGEST_FIELD, UNDONE, Connector
from phase1.engine.transport.base import Broken, Headers, NeverSent, WireRequest
from phase1.engine.transport.fields import Fields

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_parser import RawResponseMessage
    from aiohttp.streams import StreamReader

    from phase1.engine.transport.proxies import Proxy

__all__ = ["AiohttpResponse", "Exchanges"]

_INTERIM = range(100, 200)
_SWITCHED = 101
_BODILESS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "TRACE"})
_MOST_TARGETS = 256


class _Target:
    """An address and the way to it: what aiohttp finds a connection by, and the fixed parts of a request.

    Raises `ValueError` when it is none.
    """

    __slots__ = ("_fields", "_headers", "_offer", "_start", "key", "shelf")

    def __init__(self, url: str, proxy: Proxy | None, connector: Connector) -> None:
        parsed = URL(url, encoded=url.isascii() and " " not in url)
        if parsed.scheme not in {"http", "https"} or not parsed.raw_host:
            raise ValueError("no address of an HTTP server")
        between, signature = _between(proxy)
        host = parsed.host_port_subcomponent or ""
        to_proxy = {"Host": host, **signature} if signature else None  # aiohttp tells connections apart by it
        loop = asyncio.get_running_loop()
        self.key = aiohttp.ClientRequest("GET", parsed, loop=loop, proxy=between, proxy_headers=to_proxy)
        self.shelf = connector.warm.shelf(self.key.connection_key)
        fields = {"Host": self.key.headers["Host"]}
        path = parsed.raw_path_qs
        if between is not None and parsed.scheme == "http":
            path, fields = str(parsed), fields | signature
        self._start = f" {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._offer = f"Accept-Encoding: {self.key.headers['Accept-Encoding']}\r\n"
        self._headers: Headers = ()
        self._fields = ""

    def head(self, request: WireRequest) -> bytes:
        """The request up to its body. Raises `ValueError` for a field that would be two."""
        if request.headers != self._headers:  # mostly the same as before, to the object
            self._fields, self._headers = _fields_of(request.headers), request.headers
        body = request.body
        length = f"Content-Length: {len(body)}\r\n" if body or request.method not in _BODILESS else ""
        return f"{request.method}{self._start}{self._fields}{self._offer}{length}\r\n".encode()


def _fields_of(headers: Headers) -> str:
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if not len(headers) == fields.count("\r") == fields.count("\n") or "\0" in fields:
        raise ValueError("a header field with a line break or a NUL in it")
    return fields


def _between(proxy: Proxy | None) -> tuple[URL | None, dict[str, str]]:
    """Where a proxy is, and the field that tells it who we are."""
    if proxy is None:
        return None, {}
    url = URL(proxy.url)
    if url.user is None and url.password is None:
        return url, {}
    token = b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return url.with_user(None), {"Proxy-Authorization": f"Basic {token}"}


class Exchanges:
    """Requests and answers over the connections of `connector`."""

    __slots__ = ("_connector", "_targets", "_timeout")

    def __init__(self, connector: Connector, *, connect_timeout: float) -> None:
        self._connector = connector
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        self._targets: dict[tuple[str, Proxy | None], _Target] = {}

    async def exchange(self, request: WireRequest, proxy: Proxy | None) -> AiohttpResponse:
        """Send `request`, return at the headers of the answer. Raises `NeverSent` or `Broken`."""
        try:
            target = self._target(request.url, proxy)
            head = target.head(request)
        except ValueError as exc:
            raise NeverSent(type(exc).__name__) from exc
        bodiless = request.method == "HEAD"  # a parser knows for which requests it is
        connection = None if bodiless else target.shelf.take()
        if connection is None:
            connection = await self._connector.connect(target.key, [], self._timeout)
            _expect_answers(connection, bodiless=bodiless)
        protocol = cast("ResponseHandler", connection.protocol)
        try:
            cast("asyncio.Transport", protocol.transport).writelines((head, request.body))
            message, payload = await protocol.read()
            while message.code in _INTERIM and message.code != _SWITCHED:
                message, payload = await protocol.read()
        except Exception as exc:
            _cut(connection)
            raise Broken(type(exc).__name__) from exc
        except BaseException:
            _cut(connection)
            raise
        return AiohttpResponse(connection, message, payload, Connection.release if bodiless else target.shelf.keep)

    def _target(self, url: str, proxy: Proxy | None) -> _Target:
        target = self._targets.get((url, proxy))
        if target is None:
            if len(self._targets) >= _MOST_TARGETS:  # addresses with ids in them come and go
                self._targets.clear()
            target = self._targets[url, proxy] = _Target(url, proxy, self._connector)
        return target


class AiohttpResponse:
    """An answer whose body is being parsed. Its connection is given back when the body has come to its end."""

    __slots__ = ("_connection", "_give_back", "_payload", "_protocol", "_until_eof", "headers", "status")

    def __init__(
        self,
        connection: Connection,
        message: RawResponseMessage,
        payload: StreamReader,
        give_back: Callable[[Connection], None],
    ) -> None:
        self._connection: Connection | None = connection
        self._give_back = give_back
        self._protocol = connection.protocol
        self._payload = payload
        self.status = message.code
        self.headers = Fields(message.raw_headers, UNDONE, message.headers.get)
        self._until_eof = not message.chunked and "content-length" not in message.headers
        payload.on_eof(self._ended)

    def _ended(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._give_back(connection)

    @property
    def ended(self) -> bool:
        """Whether its connection is not ours any more."""
        return self._connection is None

    async def read(self) -> bytes:
        """The whole body. Most have arrived together with the headers: no generator for those."""
        payload = self._payload
        if payload.is_eof() and payload.exception() is None and not self._was_reset:
            return payload.read_nowait()
        return b"".join([chunk async for chunk in self.body()])

    async def body(self) -> AsyncIterator[bytes]:
        """Decoded chunks as they come."""
        payload = self._payload
        try:
            while chunk := await payload.readany():
                yield chunk
        except Exception as exc:
            raise Broken(type(exc).__name__) from exc
        finally:
            if not payload.is_eof():
                self._cut()
        if self._was_reset:
            raise Broken("reset")

    @property
    def _was_reset(self) -> bool:
        """A body of unknown length ends with its connection: in good order or not, for aiohttp it is whole."""
        return self._until_eof and self._protocol is not None and isinstance(self._protocol.exception(), OSError)

    async def aclose(self) -> None:
        """Close the upstream connection, unless the body has come to its end and it was given back."""
        if not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientConnectionError("closed"))
        self._cut()

    def _cut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _cut(connection)


def _expect_answers(connection: Connection, *, bodiless: bool) -> None:
    """Give it a parser, which serves every exchange until aiohttp has the connection back."""
    cast("ResponseHandler", connection.protocol).set_response_params(
        skip_payload=bodiless, read_until_eof=True, max_line_size=LONGEST_FIELD, max_field_size=LONGEST_FIELD
    )


def _cut(connection: Connection) -> None:
    """Close it if it is still ours, without sending what is left to send."""
    if connection.transport is not None:
        connection.transport.abort()
    connection.close()
