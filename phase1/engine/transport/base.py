"""What must a transport be able to do?

Send one request, give back status, headers and an iterator of decoded body bytes, close at once when told to. It has
no retries and no read timeout: clocks are the engine's. Redirects it follows as the SDK does, to another host without
the key. A cancelled `send` closes the upstream connection. It sees `WireRequest`, it raises `NeverSent` or `Broken`:
no HTTP library's type crosses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from phase1.engine.transport.fields import Fields
from phase1.exceptions import Phase1Error

__all__ = ["KEEP_ALIVE", "Broken", "Headers", "NeverSent", "Transport", "TransportError", "WireRequest", "WireResponse"]

KEEP_ALIVE = 15.0
"""Seconds that an idle connection is kept for the next call."""

Headers = Sequence[tuple[str, str]]


class TransportError(Phase1Error):
    """The exchange failed below HTTP. `__cause__` is the HTTP library's own exception."""


class NeverSent(TransportError):
    """Nothing reached the upstream (connect, DNS, TLS, proxy): asking again, anywhere, is free."""


class Broken(TransportError):
    """The connection broke after the request was sent: the upstream may have worked on it."""


@dataclass(slots=True)
class WireRequest:
    """One request to one upstream.

    Header names are lower case. Host, length and the codings that it can decode (`accept-encoding`) are the
    transport's to say; everything else goes out as it stands here, in this order, and nothing is added.
    """

    method: str
    url: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)


class WireResponse(Protocol):
    """One answer. Ask for its body once, by `read` or by `body`; `aclose` at any time, and more than once."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Fields:
        """Its header fields, `content-encoding` already undone."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to close: its body has come to its end, or it was closed."""

    async def read(self) -> bytes:
        """The whole body, decoded. Raises `Broken` when the connection ends early."""

    def body(self) -> AsyncIterator[bytes]:
        """Decoded chunks. Raises `Broken` when the connection ends early."""

    async def aclose(self) -> None:
        """Give the connection back, or close it when the body was not read to its end: also for a cancelled caller."""


class Transport(Protocol):
    """One client with its own connections."""

    async def send(self, request: WireRequest) -> WireResponse:
        """Send and return at the headers. Raises `NeverSent` or `Broken`."""

    async def aclose(self) -> None:
        """Close every connection."""
