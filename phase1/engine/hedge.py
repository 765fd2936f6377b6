"""Is a second node asked while the first one is late, and what becomes of the one that loses?

Only the first attempt of a call is hedged, and only before its first token: what comes back has either an answer or
the beginning of one. The second node is a sibling in another quota domain that could be asked at once, and the hedge
takes a place in the budget of retries. The first answer wins, or the first failure that another node could not mend;
one that it could is waited out. The loser is cancelled, which closes its connection, and says nothing about its node.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Protocol

from phase1.engine.attempt import Attempt
from phase1.engine.call import StreamSource
from phase1.engine.lessons import Flight, Lessons
from phase1.engine.node import Node
from phase1.engine.picker import Picker, Progress
from phase1.engine.retries import Retries
from phase1.events import AttemptFinished, Events, Hedged
from phase1.policy.classify import Failover, Kind, judge
from phase1.policy.hedging import Delays
from phase1.policy.quota import QuotaDomain
from phase1.policy.repeatable import question_of

__all__ = ["Hedging"]


class _Try(Protocol):
    def __call__(self, flight: Flight, progress: Progress, /) -> Awaitable[Attempt]:
        """Make the attempt."""


class Hedging:
    """The hedges of one pool. `begin` and `attempt` are the pool's own steps; `clock` is monotonic."""

    def __init__(
        self,
        quantile: float,
        *,
        begin: Callable[[Node, QuotaDomain, Progress], Flight],
        attempt: _Try,
        picker: Picker,
        lessons: Lessons,
        retries: Retries,
        max_attempts: int,
        events: Events,
        clock: Callable[[], float],
    ) -> None:
        self._delays = Delays(quantile)
        self._begin = begin
        self._attempt = attempt
        self._picker = picker
        self._lessons = lessons
        self._retries = retries
        self._max_attempts = max_attempts
        self._events = events
        self._clock = clock
        self._losers: set[asyncio.Future[Any]] = set()

    async def ask(self, flight: Flight, progress: Progress) -> tuple[Flight, Attempt]:
        """The attempt of `flight`, or of another node's that was faster.

        `flight` is the caller's to give back unless another one is returned in its place. Raises only cancellation.
        """
        call = progress.call
        if progress.attempts > 1 or progress.refers or question_of(call.method, call.path, call.body) is None:
            return flight, await self._attempt(flight, progress)
        delay = self._delays.after(_kind(flight, progress)) if self._max_attempts > 1 else None
        if delay is None:
            return self._answered(flight, await self._attempt(flight, progress), progress)
        first = asyncio.ensure_future(self._attempt(flight, progress))
        try:
            await asyncio.wait({first}, timeout=delay)
            rival = None if first.done() else self._rival(flight, progress)
            if rival is None:
                return self._answered(flight, await first, progress)
        except BaseException:
            self._drop(first)
            raise
        return await self._race(flight, first, rival, progress)

    def _rival(self, flight: Flight, progress: Progress) -> Flight | None:
        """The flight of the hedge, its place in the budget taken; `None` when nobody may be asked."""
        node = self._other(flight, progress)
        if node is None:
            self._events.notify(Hedged("no_node"))
            return None
        if not self._retries.take():
            self._events.notify(Hedged("no_budget"))
            return None
        rival = self._begin(node, self._picker.book(node, progress), progress)
        rival.hedge = True
        return rival

    def _other(self, flight: Flight, progress: Progress) -> Node | None:
        """The least busy sibling in another quota domain that is well and could be asked at once."""
        siblings = [
            node
            for node in progress.unasked(progress.tier_of(flight.node))
            if node.in_flight < node.limit.value
            and not node.ejection.streak
            and self._picker.usable(node, progress)
            and self._picker.quota(node, progress) is not flight.quota
        ]
        return min(siblings, key=lambda node: node.in_flight / node.share, default=None)

    async def _race(
        self, flight: Flight, first: asyncio.Future[Attempt], rival: Flight, progress: Progress
    ) -> tuple[Flight, Attempt]:
        second = asyncio.ensure_future(self._attempt(rival, progress))
        runners = {first: flight, second: rival}
        try:
            winner = await _winner(first, second)
        except BaseException:
            self._drop(first)
            self._lose(rival, second)
            self._retries.release()
            raise
        loser = second if winner is first else first
        if not loser.done():
            self._gave_up(runners[loser], progress)
        self._lose(runners[loser], loser)
        self._retries.release()
        self._events.notify(Hedged("won" if winner is second else "lost"))
        return self._answered(runners[winner], winner.result(), progress)

    def _answered(self, flight: Flight, attempt: Attempt, progress: Progress) -> tuple[Flight, Attempt]:
        if attempt.outcome.kind is Kind.OK:
            self._delays.observe(_kind(flight, progress), self._clock() - flight.started)
        return flight, attempt

    def _gave_up(self, flight: Flight, progress: Progress) -> None:
        """Tell of an attempt that has lost: it was one. The winner stays the last of the trail."""
        seconds = self._clock() - flight.started
        self._delays.observe(_kind(flight, progress), seconds)
        node, began = flight.node, time.perf_counter() - seconds
        lost = AttemptFinished(
            node=node.name,
            retry=False,
            kind=Kind.CANCELLED,
            status=None,
            seconds=seconds,
            began=began,
            server=node.server,
            hedge=flight.hedge,
        )
        progress.trail.insert(len(progress.trail) - 1, lost)
        self._events.notify(lost)

    def _lose(self, flight: Flight, attempt: asyncio.Future[Attempt]) -> None:
        """Cancel it, and give back what it holds."""
        if not attempt.done() or _stream_of(attempt) is not None:
            self._lessons.cancelled(flight)  # else its end has been a lesson already
        self._drop(attempt)
        flight.node.give_back(flight.client)

    def _drop(self, attempt: asyncio.Future[Attempt]) -> None:
        """Cancel it; a stream that has begun in the same moment is closed."""
        if not attempt.done():
            attempt.cancel()
        self._losers.add(attempt)
        attempt.add_done_callback(self._dropped)

    def _dropped(self, attempt: asyncio.Future[Attempt]) -> None:
        self._losers.discard(attempt)
        if (stream := _stream_of(attempt)) is not None:
            closing = asyncio.ensure_future(stream.aclose())
            self._losers.add(closing)
            closing.add_done_callback(self._losers.discard)

    async def aclose(self) -> None:
        """Wait until every loser has closed its connection."""
        while self._losers:
            await asyncio.wait(tuple(self._losers))


def _stream_of(attempt: asyncio.Future[Attempt]) -> StreamSource | None:
    if attempt.cancelled() or attempt.exception() is not None:
        return None
    return attempt.result().stream


async def _winner(first: asyncio.Future[Attempt], second: asyncio.Future[Attempt]) -> asyncio.Future[Attempt]:
    """Whose result counts: the first that is final; of two that another node might mend, the last."""
    await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
    for one in (first, second):
        if one.done() and _is_final(one.result()):
            return one
    slower = second if first.done() else first
    await asyncio.wait({slower})
    return slower


def _is_final(attempt: Attempt) -> bool:
    return judge(attempt.outcome.kind).failover is Failover.NEVER


def _kind(flight: Flight, progress: Progress) -> Hashable:
    call = progress.call
    return flight.node.name, call.path, progress.model, call.streams
