"""Has the same been asked before, or is it being asked just now?

    the request's digest → kept answer? → the same call under way? → ask, and keep the answer

Only requests of which the provider keeps nothing, in one piece, with the same answer each time (or all of them, if the
operator says so) come here; `cache-control: no-store` in a request leaves it out, `no-cache` asks anew. Only whole
answers are kept. Callers who ask the same at the same time share one call: its answer, or the failure that the pool has
after its failover. What is one caller's own affair is not shared: his deadline, his turn in the queue, his leaving.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Protocol

from phase1.engine.answers import Store, StoreAway, packed, unpacked
from phase1.engine.call import Answer, Call
from phase1.engine.flights import Flights
from phase1.engine.node import NodeSpec
from phase1.engine.reporting import noting, report
from phase1.engine.transport import Fields
from phase1.events import CacheAsked, Events
from phase1.exceptions import DeadlineExceeded, UpstreamError
from phase1.policy.classify import Kind, Outcome
from phase1.policy.fingerprint import fingerprint
from phase1.policy.repeatable import is_deterministic, question_of

__all__ = ["CACHE_HEADER", "Repeats", "Rules"]

CACHE_HEADER: Final = "x-phase1-cache"
"""Of an answer: `hit`, `shared` (with a call that was under way) or `miss`."""
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Rules:
    """`seconds`: how long an answer is good (0: none is kept); `shares`: whether calls under way are shared.

    `by_user`: nobody gets an answer that another user has asked for. `everything`: also requests whose answers differ.
    `largest`: bytes of an answer that is kept. `deadline`: seconds of a call that names none.
    """

    seconds: float
    shares: bool
    by_user: bool
    everything: bool
    largest: int
    deadline: float


class _Ask(Protocol):
    def __call__(self, call: Call, /, *, key: str | None, share: float, fresh: bool) -> Awaitable[Answer]:
        """Ask the upstream."""


@dataclass(slots=True)
class _Result:
    """What came of a call for all who wait for it. `outcomes` are told to each of them."""

    end: Answer | Exception
    found: str = "miss"
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def is_shared(self) -> bool:
        """Whether it is the same for everybody who has asked; an answer that comes as a stream can be read once."""
        return isinstance(self.end, UpstreamError) or (isinstance(self.end, Answer) and self.end.stream is None)


class Repeats:
    """The repeated calls of one manager. `ask` asks the upstream; `nodes` are those of now."""

    def __init__(
        self,
        rules: Rules,
        store: Store,
        *,
        ask: _Ask,
        nodes: Callable[[], Sequence[NodeSpec]],
        events: Events,
    ) -> None:
        self.rules = rules
        self.store = store
        self._ask = ask
        self._nodes = nodes
        self._events = events
        self._flights: Flights[_Result] = Flights()
        self._scope: tuple[Sequence[NodeSpec], str] = ((), "")

    async def send(self, call: Call, *, key: str | None, share: float) -> Answer:
        """The answer that is kept, that somebody else is waiting for, or a new one. Raises as `Manager.send`."""
        control = _cache_control(call)
        name = None if "no-store" in control else self._name(call, key)
        if name is None:
            self._events.notify(CacheAsked("bypass", 0.0))
            return await self._ask(call, key=key, share=share, fresh=True)
        began, loop = time.perf_counter(), asyncio.get_running_loop()
        expires_at = loop.time() + (self.rules.deadline if call.timeout is None else call.timeout)
        looks = "no-cache" not in control

        async def work() -> _Result:
            return await self._work(name, call, key, share, looks=looks)

        result, joined = await self._shared(name if looks else f"{name} anew", work, expires_at)
        if joined and not result.is_shared:
            call = replace(call, timeout=max(0.0, expires_at - loop.time()))
            return await self._ask(call, key=key, share=share, fresh=True)
        return self._told(result, "shared" if joined and result.found == "miss" else result.found, began)

    async def _shared(
        self, name: str, work: Callable[[], Coroutine[Any, Any, _Result]], expires_at: float
    ) -> tuple[_Result, bool]:
        """What comes of it, and whether somebody else began it: his clock is not this caller's."""
        if not self.rules.shares:
            return await work(), False
        joins = self._flights.has(name)
        try:
            async with asyncio.timeout_at(expires_at if joins and expires_at < math.inf else None):
                return await self._flights.share(name, work)
        except TimeoutError:
            report(Outcome(Kind.TIMEOUT))
            raise DeadlineExceeded("the request's deadline ran out before an answer came") from None

    def _told(self, result: _Result, found: str, began: float) -> Answer:
        for outcome in result.outcomes:
            report(outcome)
        self._events.notify(CacheAsked(found, time.perf_counter() - began))
        if isinstance(result.end, Exception):
            raise result.end
        return replace(result.end, headers=Fields.of([*result.end.headers, (CACHE_HEADER, found)]))

    async def _work(self, name: str, call: Call, key: str | None, share: float, *, looks: bool) -> _Result:
        """Once for all who wait. Raises only cancellation."""
        kept = await self._kept(name) if looks and self.rules.seconds else None
        if kept is not None:
            return _Result(kept, found="hit", outcomes=[kept.outcome])
        outcomes: list[Outcome] = []
        try:
            with noting(outcomes):
                answer = await self._ask(call, key=key, share=share, fresh=True)
        except Exception as exc:  # noqa: BLE001 - each caller gets it
            return _Result(exc, outcomes=outcomes)
        self._keep(name, answer)
        return _Result(answer, outcomes=outcomes)

    async def _kept(self, name: str) -> Answer | None:
        try:
            kept = await self.store.get(name)
            return None if kept is None else unpacked(kept, now=time.time())
        except (StoreAway, ValueError):
            self._events.notify(CacheAsked("error", 0.0))
            return None

    def _keep(self, name: str, answer: Answer) -> None:
        rules, whole = self.rules, answer.outcome.kind is Kind.OK and answer.status == _OK and answer.stream is None
        if rules.seconds and whole and len(answer.body) <= rules.largest:
            self.store.put(name, packed(answer, now=time.time()), seconds=rules.seconds)

    def _name(self, call: Call, key: str | None) -> str | None:
        """The request's digest; `None` for one that is always asked."""
        question = None if call.streams else question_of(call.method, call.path, call.body)
        if question is None or question.get("stream"):
            return None
        if not (self.rules.everything or is_deterministic(call.path, question)):
            return None
        user = ("user", key) if self.rules.by_user and key is not None else ()
        return fingerprint(
            scope=(self._endpoints(), *user),
            path=call.path,
            question=question,
            headers=call.headers,
            credentials=call.credentials,
        )

    def _endpoints(self) -> str:
        """Which endpoints could answer, with which keys and models: others may answer differently."""
        nodes = self._nodes()
        known, digest = self._scope
        if nodes is not known:
            told = sorted((node.base_url, node.api_key, sorted(node.models.items())) for node in nodes)
            digest = sha256(repr(told).encode()).hexdigest()
            self._scope = (nodes, digest)
        return digest


def _cache_control(call: Call) -> str:
    return ",".join(value.lower() for name, value in call.headers if name == "cache-control")
