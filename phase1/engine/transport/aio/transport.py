"""A transport over aiohttp: a twentieth of httpx's CPU per call with 20 calls in flight, an eighth alone.

Measured by `benchmarks/transports.py`. Connections, TLS, names, proxies, the parser and the flow of a body are
aiohttp's; its session is not there (`exchange`). Where this diverges from aiohttp's ways:

- What fails in the connector's `connect` was never sent, what fails after it is broken. So aiohttp's own second try of
  GET, PUT and DELETE after a lost connection does not take place: retries are the engine's, within its budget.
- A kept connection that the server has closed meanwhile is noticed before it is used, as httpx does, and so is one on
  which something came that nobody had asked for: it would be taken for the next answer. What cannot be known is a
  request that crosses the server's FIN on the wire: no byte of an answer tells whether it was read, so it is `Broken`,
  on this transport as on the other.
- What is cancelled or left early is aborted, not closed: a close would first send the rest of the request, and under
  TLS wait for the peer.
- Cookies are neither kept nor sent. The SDK's stock client keeps them, for all calls of the process alike: in a pool
  that serves many users one user's cookie would go out with another's call.

HTTP/1.1 only, like the other transport. Names are resolved by the system and remembered for ten seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import finalize

from phase1.engine.transport.aio.connector import Connector
from phase1.engine.transport.aio.exchange import Exchanges
from phase1.engine.transport.base import NeverSent, WireRequest, WireResponse
from phase1.engine.transport.proxies import Proxies
from phase1.engine.transport.redirects import REDIRECTS, follow
from phase1.engine.transport.signature import signed

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["AiohttpTransport"]


class AiohttpTransport:
    """Connections of its own: make it on the loop that will use it.

    There may be as many connections as there are calls; idle ones are closed after `KEEP_ALIVE`. `connect_timeout` is
    in seconds and covers DNS, TCP, the way through a proxy, and TLS.
    """

    __slots__ = ("__weakref__", "_connector", "_exchanges", "_proxies")

    def __init__(self, *, connect_timeout: float, proxies: Proxies | None = None) -> None:
        self._proxies = Proxies.from_environment() if proxies is None else proxies
        self._connector = Connector()
        self._exchanges = Exchanges(self._connector, connect_timeout=connect_timeout)
        finalize(self, self._connector.forget)

    async def send(self, request: WireRequest) -> WireResponse:
        """Send and return at the headers."""
        response = await self._exchange(request)
        return await follow(self._exchange, request, response) if response.status in REDIRECTS else response

    def _exchange(self, request: WireRequest) -> Awaitable[WireResponse]:
        if self._connector.closed:
            raise NeverSent("closed")
        if "@" in request.url:
            request = signed(request)
        return self._exchanges.exchange(request, self._proxies.of(request.url))

    async def aclose(self) -> None:
        """Close every connection, also those in use."""
        await self._connector.cut()
        await self._connector.close()
