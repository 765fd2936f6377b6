"""Where does a redirect lead, and with what? As the SDK's httpx follows it, but for one thing.

The thing: to another origin no key goes, in whatever field. httpx drops `authorization` alone and would hand Azure's
`api-key` to whoever the redirect names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import SplitResult, quote, urldefrag, urljoin, urlsplit

from phase1.engine.transport.base import Broken, WireRequest, WireResponse

__all__ = ["REDIRECTS", "follow", "redirected"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses that lead elsewhere, when the answer says where."""

_MOST = 20
_PORTS = {"http": 80, "https": 443}
_KEYS = frozenset({"authorization", "api-key", "x-api-key", "proxy-authorization"})
_SAFE = "%/:=&?~#+!$,;'@()*[]"  # what is escaped stays so


async def follow(
    exchange: Callable[[WireRequest], Awaitable[WireResponse]], request: WireRequest, response: WireResponse
) -> WireResponse:
    """The response at the end of the way that begins with `response`. Raises `Broken` when it has no end."""
    try:
        for _ in range(_MOST):
            following = redirected(request, response)
            if following is None:
                return response
            await _finish(response)
            request, response = following, await exchange(following)
    except BaseException:
        await response.aclose()
        raise
    await response.aclose()
    raise Broken("too many redirects")


async def _finish(response: WireResponse) -> None:
    """Read the rest, so that the connection can be used again."""
    async for _ in response.body():
        pass
    await response.aclose()


def redirected(request: WireRequest, response: WireResponse) -> WireRequest | None:
    """What to ask next; `None` when `response` is the answer. Raises `Broken` for what cannot be followed."""
    location = response.headers.get("location")
    if response.status not in REDIRECTS or location is None:
        return None
    here, there = urlsplit(request.url), _joined(request.url, location)
    dropped = {"cookie"} if _may_know_keys(here, there) else {"cookie", *_KEYS}
    headers = [(name, value) for name, value in request.headers if name not in dropped]
    if _becomes_get(request.method, response.status):
        return WireRequest("GET", there.geturl(), headers, b"")
    return WireRequest(request.method, there.geturl(), headers, request.body)


def _joined(url: str, location: str) -> SplitResult:
    try:
        there = urlsplit(urldefrag(quote(urljoin(url, location), safe=_SAFE)).url)
        _ = there.port  # raises if it is no port
    except ValueError as exc:
        raise Broken("a redirect to what is no URL") from exc
    return there


def _may_know_keys(here: SplitResult, there: SplitResult) -> bool:
    """The same origin, or the same host by TLS on the usual ports."""
    upgraded = ("http", here.hostname, 80), ("https", here.hostname, 443)
    return _origin(here) == _origin(there) or (_origin(here), _origin(there)) == upgraded


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)


def _becomes_get(method: str, status: int) -> bool:
    """What browsers do, whatever the standard says."""
    if status == HTTPStatus.MOVED_PERMANENTLY:
        return method == "POST"
    return status in {HTTPStatus.FOUND, HTTPStatus.SEE_OTHER} and method != "HEAD"
