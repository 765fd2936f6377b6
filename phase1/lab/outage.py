"""What do users notice when the pool's upstream fails?

While users keep asking, the upstream answers the pool with errors for a few seconds. The breaker is expected to switch
the pool off, to try it again with single requests, and to bring it back; the legacy client answers meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

import httpx

from phase1.lab.apps import Faults, chat_target
from phase1.lab.load import Sample, Summary, drive, summarize
from phase1.lab.processes import Server

__all__ = ["Moment", "Outage", "show_outage"]

_POLL: Final = 0.05
_PATIENCE: Final = 30.0
"""Seconds to wait for each state of the breaker, beside what answers take: more than two open times."""
_ANSWERS: Final = 6
"""Latencies that may go by until then: all attempts of a request, and two probes."""

_SHORT: Final = 1.0
"""Seconds that the outage goes on after the pool was switched off: it is over before the first probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was to be seen `seconds` after the beginning. The counts are of answers since then, `failed` of requests."""

    seconds: float
    event: str
    breaker: str
    by_pool: int
    fell_back: int
    by_legacy: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The whole story. `states`: how often the breaker became what; `stuck`: the state that never came."""

    timeline: tuple[Moment, ...]
    users: Summary
    states: dict[str, int]
    stuck: str | None


async def show_outage(
    app: Server, faults: Faults, *, users: int, timeout: float, latency: float, tell: Callable[[Moment], None]
) -> Outage:
    """Let `users` ask `app` all the while; `tell` hears of every moment worth a line."""
    over = asyncio.Event()
    async with _Watch(app, tell, patience=_PATIENCE + _ANSWERS * latency) as watch:
        asking = drive(
            chat_target(app),
            users=users,
            timeout=timeout,
            spread=latency,
            goes_on=lambda _: not over.is_set(),
            tell=watch.count,
        )
        load = asyncio.create_task(asking)
        try:
            stuck = await _plot(watch, faults, latency=latency)
        except BaseException:
            load.cancel()
            raise
        over.set()
        run = await load
        await watch.note("the last users are answered")
    return Outage(timeline=tuple(watch.timeline), users=summarize(run), states=watch.states, stuck=stuck)


async def _plot(watch: _Watch, faults: Faults, *, latency: float) -> str | None:
    """The story; returns the state that it got stuck before."""
    await asyncio.sleep(2 * latency)
    await watch.note("all is well")
    await faults.begin()
    await watch.note("upstream fails for the pool")
    off = await watch.reached("disabled", "pool is off, legacy answers")
    await asyncio.sleep(min(latency, _SHORT))
    await faults.end()
    if not off:
        return "disabled"
    await watch.note("upstream answers again")
    if not await watch.reached("half_open", "single requests try the pool"):
        return "half_open"
    if not await watch.reached("ramping", "pool comes back bit by bit"):
        return "ramping"
    await asyncio.sleep(2 * latency)
    return None


class _Watch:
    """Looks at the app's debug page, and takes notes. All counts begin with the block."""

    def __init__(self, app: Server, tell: Callable[[Moment], None], *, patience: float) -> None:
        self.timeline: list[Moment] = []
        self.states: dict[str, int] = {}
        self._client = httpx.AsyncClient(base_url=app.url, trust_env=False)
        self._tell = tell
        self._patience = patience
        self._failed = 0
        self._begun = time.perf_counter()
        self._before = _Counts()

    def count(self, sample: Sample) -> None:
        """Take note of what a user saw."""
        self._failed += not sample.answered

    async def reached(self, state: str, event: str) -> bool:
        """Wait until the breaker has been in `state`, and note `event` then. False: it was not, for too long."""
        try:
            async with asyncio.timeout(self._patience):
                while not self.states.get(state):
                    await asyncio.sleep(_POLL)
                    await self._look()
        except TimeoutError:
            return False
        await self.note(event)
        return True

    async def note(self, event: str) -> None:
        """Write down what is to be seen now."""
        now, breaker = await self._look()
        moment = Moment(
            seconds=time.perf_counter() - self._begun,
            event=event,
            breaker=breaker,
            by_pool=now.by_pool - self._before.by_pool,
            fell_back=now.fell_back - self._before.fell_back,
            by_legacy=now.by_legacy - self._before.by_legacy,
            failed=self._failed,
        )
        self.timeline.append(moment)
        self._tell(moment)

    async def _look(self) -> tuple[_Counts, str]:
        response = await self._client.get("/debug/llm-system", headers={"accept": "application/json"}, timeout=10.0)
        status = response.raise_for_status().json()
        counts = _Counts.of(status["metrics"])
        self.states = dict(counts.states - self._before.states)
        return counts, str(status["breaker"]["state"])

    async def __aenter__(self) -> Self:
        self._before, _ = await self._look()
        self.states = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the app has counted since its start."""

    by_pool: int = 0
    fell_back: int = 0
    by_legacy: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, metrics: dict[str, dict[str, int]]) -> _Counts:
        return cls(
            by_pool=metrics["calls"].get("ok", 0),
            fell_back=sum(metrics["fallbacks"].values()),
            by_legacy=metrics["legacy_calls"].get("ok", 0),
            states=Counter(metrics["breaker_transitions"]),
        )
