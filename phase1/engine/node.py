"""One upstream endpoint: where it is, how a call is aimed at it, and whether it may be asked now.

A node owns `pool_size` clients, each with its own connections. Four things keep it from being asked: it is drained; it
is ejected, because it fails (`policy.ejection`); it rests, because a 503 asked for that; or it is off, because it
answers "not with this key" (401, 402, 403, no quota left). An off node is tried again after a while, because keys get
mended; the time doubles up to ten minutes. Rate limits are not the node's, but its quota domain's.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from urllib.parse import urlsplit

from pydantic_core import from_json, to_json

from phase1.engine.call import Call
from phase1.engine.clients import Client, Clients
from phase1.engine.transport import Transport, WireRequest
from phase1.policy.ejection import Ejection
from phase1.policy.latency import PeakEwma
from phase1.policy.limiter import AimdLimit
from phase1.policy.models import ModelMap
from phase1.policy.quota import Limits

__all__ = ["Client", "Node", "NodeSpec"]

_log = logging.getLogger("phase1")

_MANY = 256
_OFF_FIRST = 30.0
_OFF_LONGEST = 600.0
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_QUERY_OF_AZURE = "api-version="


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What is configured: a base URL, a key, and how much it may get.

    `models` maps the model an app asks for to the name it has here. Nodes of one `quota_domain` share rate limits;
    `rpm` and `tpm` are requests and tokens per minute, `rps` requests per second. Of nodes with different `priority`,
    the lowest number is used up first.
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
    rpm: int | None = None
    tpm: int | None = None
    rps: float | None = None


class Node:
    """A node at work. `client_concurrency` is the number of calls one of its clients may have in flight.

    `make`: makes one more transport, for a number of clients that follows the load.
    """

    def __init__(
        self,
        spec: NodeSpec,
        transports: Sequence[Transport],
        *,
        client_concurrency: int,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
        make: Callable[[], Transport] | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.clients = Clients(transports, make=make, rng=rng)
        self.in_flight = 0
        self.answers = 0
        """How many calls it has answered, to their end."""
        self.latency = PeakEwma()
        self.ejection = Ejection()
        self.limit = AimdLimit(len(self.clients) * client_concurrency)
        self.drained = False
        self._concurrency = client_concurrency
        self._clock = clock
        self.server = urlsplit(spec.base_url).hostname or ""
        """Its host: what metrics and traces call it beside its name."""
        self._off_until = 0.0
        self._off_times = 0
        self._rest_until = 0.0
        self._closed_until = 0.0
        self._configure(spec)

    def _configure(self, spec: NodeSpec) -> None:
        self.share = spec.weight
        self.models = ModelMap(spec.models)
        self.limits = Limits(spec.rps, spec.rpm, spec.tpm)
        self._own_key = _key_headers(spec)
        self._urls: dict[str, str] = {}
        self._account = spec.quota_domain or f"{spec.base_url} {spec.api_key}"

    def reconfigure(self, spec: NodeSpec) -> None:
        """Take another key, weight, priority, limit … without touching the calls under way."""
        before, self.spec = self.spec, spec
        self._configure(spec)
        if spec.api_key != before.api_key:
            self.switch_on()
        if spec.pool_size != before.pool_size:
            self.resize(spec.pool_size)

    @property
    def capacity(self) -> int:
        """Calls its clients may have in flight."""
        return len(self.clients) * self._concurrency

    def account(self, call: Call) -> str:
        """Whose quota a call uses: what is configured, else the key decides, also one of the call. Not to be shown."""
        if self._own_key or self.spec.quota_domain:
            return self._account
        return f"{self.spec.name} {blake2b(repr(call.credentials).encode(), digest_size=8).hexdigest()}"

    def model_here(self, model: str) -> str:
        """The name that the app's `model` has here."""
        return (self.models.translated(model) or model) if self.models else model

    @property
    def has_key(self) -> bool:
        """Whether it brings its own key; if not, a refused key is the caller's affair."""
        return bool(self._own_key)

    def weight(self, now: float) -> float:
        """Its weight now: less than configured while it comes back."""
        return self.share * self.ejection.warmth(now) if self.ejection.times else self.share

    def success_rate(self, now: float) -> float:
        """Of the last minute, 0 … 1."""
        return self.ejection.success_rate(now)

    def takes(self, now: float) -> bool:
        """Whether it may be asked, as far as it alone decides."""
        return now >= self._closed_until and (not self.ejection.until or self.ejection.takes(now))

    @property
    def ejected(self) -> bool:
        """Whether it is out because it fails; also while it is probed."""
        return bool(self.ejection.until)

    @property
    def up(self) -> bool:
        """Whether it is switched on: neither off nor drained."""
        return not self.drained and self.off_for() == 0.0

    @property
    def available(self) -> bool:
        """Whether it is up and not ejected."""
        return self.up and not self.ejected

    def off_for(self) -> float:
        """Seconds until it is tried again; 0 when it is on."""
        return max(0.0, self._off_until - self._clock())

    def ejected_for(self) -> float:
        """Seconds until it is probed; 0 when it is not ejected, or is to be probed now."""
        return max(0.0, self.ejection.until - self._clock())

    def rests(self) -> float:
        """Seconds that it has asked for with a 503."""
        return max(0.0, self._rest_until - self._clock())

    def rest(self, seconds: float) -> None:
        """Leave it alone for that long; a rest is only ever extended."""
        self._rest_until = max(self._rest_until, self._clock() + seconds)
        self._reckon()

    def switch_off(self) -> bool:
        """It refuses this key or model: don't ask it for a while. False when it is off already."""
        if self.off_for():
            return False  # the others of the same burst
        rest = min(_OFF_LONGEST, _OFF_FIRST * 2**self._off_times)
        self._off_times += 1
        self._off_until = self._clock() + rest
        self._reckon()
        _log.error("node %s refuses its key or model; it is off for %.0f s", self.name, rest)
        return True

    def switch_on(self) -> bool:
        """It answered: forget that it was off. True when it had been."""
        if not self._off_times:
            return False
        self._off_times, self._off_until = 0, 0.0
        self._reckon()
        return True

    def drain(self) -> None:
        """No new call, until `revive`; those under way go on."""
        self.drained = True
        self._reckon()

    def revive(self) -> None:
        """Ask it again at once, whatever kept it from being asked."""
        self.drained = False
        self._off_until = self._rest_until = 0.0
        self._off_times = 0
        if self.ejection.until:
            self.ejection.clear(self._clock())
        self._reckon()

    def retire(self) -> None:
        """No new call ever; clients are closed after their last one."""
        self.drain()
        self.clients.resize(0)

    def _reckon(self) -> None:
        self._closed_until = inf if self.drained else max(self._off_until, self._rest_until)

    def resize(self, clients: int) -> None:
        """Have that many clients from now on; nothing is closed under a running call."""
        self.clients.resize(clients)
        self.limit.resize(self.capacity)

    def take_client(self) -> Client:
        """The client with the fewest calls in flight, one more now. Give it back with `give_back`."""
        client = self.clients.take()
        self.in_flight += 1
        return client

    def give_back(self, client: Client) -> None:
        """The call on `client` is over."""
        self.clients.give_back(client, self._clock())
        self.in_flight -= 1

    def aim(self, call: Call) -> WireRequest:
        """`call` as a request to this node: its address, its key, its name for the model."""
        url = self._urls.get(call.path) or self._url(call.path)
        headers = [*call.headers, *(self._own_key or call.credentials)]
        return WireRequest(call.method, url, headers, self._translate(call.body) if self.models else call.body)

    def _url(self, path: str) -> str:
        if len(self._urls) >= _MANY:  # paths with ids in them come and go
            self._urls.clear()
        url = self._urls[path] = self._joined(path)
        return url

    def _joined(self, path: str) -> str:
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
        there = self.models.translated(model) if isinstance(model, str) else None
        return body if there is None else to_json({**payload, "model": there})

    async def aclose(self) -> None:
        """Close every client."""
        await self.clients.aclose()

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.state} in_flight={self.in_flight}/{self.capacity}>"

    @property
    def state(self) -> str:
        """In words: `up`, `drained`, `off for 30 s`, `ejected for 30 s`, `probed`."""
        if self.drained:
            return "drained"
        if off := self.off_for():
            return f"off for {off:.0f} s"
        if not self.ejected:
            return "up"
        return f"ejected for {ejected:.0f} s" if (ejected := self.ejected_for()) else "probed"


def _key_headers(spec: NodeSpec) -> tuple[tuple[str, str], ...]:
    if not spec.api_key:
        return ()
    if (urlsplit(spec.base_url).hostname or "").endswith(_AZURE_HOSTS):
        return (("api-key", spec.api_key),)
    return (("authorization", f"Bearer {spec.api_key}"),)
