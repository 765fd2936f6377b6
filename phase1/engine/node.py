"""One upstream endpoint: where it is, how a call is aimed at it, and whether it may be asked now.

A node owns `pool_size` clients, each with its own connections; a call takes the one with the fewest calls in flight.
A node that answers "not with this key" (401, 402, 403, no quota left, no such model) is switched off with an alarm and
tried again after a while, because keys get mended; the time doubles up to ten minutes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from urllib.parse import urlsplit

from pydantic_core import from_json, to_json

from phase1.engine.call import Call
from phase1.engine.transport import Transport, WireRequest

__all__ = ["Client", "Node", "NodeSpec"]

_log = logging.getLogger("phase1")

_OFF_FIRST = 30.0
_OFF_LONGEST = 600.0
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_QUERY_OF_AZURE = "api-version="


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What is configured: a base URL, a key, and how much it may get.

    `models` maps the model an app asks for to the name it has here. Nodes of one `quota_domain` share rate limits.
    Of nodes with different `priority`, the lowest number is used up first.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)
    pool_size: int = 5
    weight: float = 1.0
    priority: int = 0
    region: str | None = None
    quota_domain: str | None = None
    models: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Client:
    """One transport of a node, and how many calls are on it."""

    transport: Transport
    in_flight: int = 0


class Node:
    """A node at work. `client_concurrency` is the number of calls one of its clients may have in flight."""

    def __init__(
        self,
        spec: NodeSpec,
        transports: Sequence[Transport],
        *,
        client_concurrency: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.clients = [Client(transport) for transport in transports]
        self._domain = spec.quota_domain or f"{spec.base_url} {spec.api_key}"
        self.capacity = len(self.clients) * client_concurrency
        self.in_flight = 0
        self._clock = clock
        self.server = urlsplit(spec.base_url).hostname or ""
        """Its host: what metrics and traces call it beside its name."""
        self.drained = False
        """Whether an operator has taken it out of use: calls in flight end, nobody new is sent there."""
        self._off_until = 0.0
        self._off_times = 0
        self._own_key = _key_headers(spec)

    @property
    def name(self) -> str:
        """The configured name."""
        return self.spec.name

    def domain(self, call: Call) -> str:
        """The quota domain: what is configured, else the key decides, also one of the call. Never to be shown."""
        if self._own_key:
            return self._domain
        return f"{self.spec.name} {blake2b(repr(call.credentials).encode(), digest_size=8).hexdigest()}"

    @property
    def has_key(self) -> bool:
        """Whether it brings its own key; if not, a refused key is the caller's affair."""
        return bool(self._own_key)

    @property
    def up(self) -> bool:
        """Whether it is switched on."""
        return not self.drained and self.off_for() == 0.0

    def off_for(self) -> float:
        """Seconds until it is tried again; 0 when it is up."""
        return max(0.0, self._off_until - self._clock())

    def switch_off(self) -> bool:
        """It refuses this key or model: don't ask it for a while. False when it is off already."""
        if not self.up:
            return False  # the others of the same burst
        rest = min(_OFF_LONGEST, _OFF_FIRST * 2**self._off_times)
        self._off_times += 1
        self._off_until = self._clock() + rest
        _log.error("node %s refuses its key or model; it is off for %.0f s", self.name, rest)
        return True

    def switch_on(self) -> bool:
        """It answered: forget that it was off. True when it had been."""
        was_off, self._off_times, self._off_until = self._off_times > 0, 0, 0.0
        return was_off

    def drain(self) -> bool:
        """An operator takes it out of use. False when that had been done."""
        was, self.drained = self.drained, True
        return not was

    def revive(self) -> bool:
        """An operator puts it back, also one that was switched off. False when it was in use anyway."""
        was, self.drained = self.drained, False
        return self.switch_on() or was

    def take_client(self) -> Client:
        """The client with the fewest calls in flight, one more now. Give it back with `give_back`."""
        client = min(self.clients, key=_in_flight)
        client.in_flight += 1
        self.in_flight += 1
        return client

    def give_back(self, client: Client) -> None:
        """The call on `client` is over."""
        client.in_flight -= 1
        self.in_flight -= 1

    def aim(self, call: Call) -> WireRequest:
        """`call` as a request to this node: its address, its key, its name for the model."""
        return WireRequest(
            method=call.method,
            url=self._url(call.path),
            headers=[*call.headers, *(self._own_key or call.credentials)],
            body=self._translate(call.body) if self.spec.models else call.body,
        )

    def _url(self, path: str) -> str:
        base, mark, query = self.spec.base_url.partition("?")
        url = base.rstrip("/") + path
        if not mark or _QUERY_OF_AZURE in path:
            return url
        return f"{url}{'&' if '?' in path else '?'}{query}"

    def _translate(self, body: bytes) -> bytes:
        try:
            payload = from_json(body)
        except ValueError:
            return body  # multipart, or nothing at all
        model = payload.get("model") if isinstance(payload, dict) else None
        if not isinstance(model, str) or model not in self.spec.models:
            return body
        return to_json({**payload, "model": self.spec.models[model]})

    async def aclose(self) -> None:
        """Close every client."""
        async with AsyncExitStack() as stack:  # one that fails does not keep the others open
            for client in self.clients:
                stack.push_async_callback(client.transport.aclose)

    def __repr__(self) -> str:
        off = "drained" if self.drained else f"off for {self.off_for():.0f} s"
        state = "up" if self.up else off
        return f"<Node {self.name} {state} in_flight={self.in_flight}/{self.capacity}>"


def _key_headers(spec: NodeSpec) -> tuple[tuple[str, str], ...]:
    if not spec.api_key:
        return ()
    if (urlsplit(spec.base_url).hostname or "").endswith(_AZURE_HOSTS):
        return (("api-key", spec.api_key),)
    return (("authorization", f"Bearer {spec.api_key}"),)


def _in_flight(client: Client) -> int:
    return client.in_flight
