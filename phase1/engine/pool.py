"""Which node answers this call, and who is asked when it fails?

One failover loop: pick a node (`picker`) → one attempt → what is learnt from it (`lessons`) → the next move, until an
answer, or until the policies say stop. It gives back the last answer or failure as it was; whether that counts against
the pool, and whether legacy steps in, is the manager's business.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from phase1.engine.attempt import Attempt, Clocks, try_once
from phase1.engine.belongings import Belongings
from phase1.engine.call import Call
from phase1.engine.deadlines import Deadlines
from phase1.engine.hedge import Hedging
from phase1.engine.lessons import Flight, Lessons
from phase1.engine.node import Node
from phase1.engine.picker import Picker, Progress
from phase1.engine.retries import Retries
from phase1.engine.tokens import MeteredStream, model_of
from phase1.engine.transport import Fields
from phase1.engine.watch import Watch
from phase1.events import AttemptFinished, Events
from phase1.policy.balancer import Balancer, balancer_of
from phase1.policy.belongings import concerns, not_here
from phase1.policy.budget import RetryBudget
from phase1.policy.classify import Kind, Outcome, judge
from phase1.policy.failover import Move, Situation, backoff, costs_budget, next_move
from phase1.policy.quota import QuotaDomain, Quotas

__all__ = ["Pool", "PoolResult"]


_REQUEST_IDS = frozenset({"x-request-id", "apim-request-id", "request-id"})
_NAME = re.compile(r"[\w.:-]{1,80}")
_LONGEST_TURN = 10.0
"""Seconds that a call waits for its turn to be tried again."""


@dataclass(slots=True)
class PoolResult:
    """The last attempt of a call, and how many there were. `release` frees its node: call it exactly once.

    Of a stream it takes what the stream came to, which is the verdict on its node. `trail` tells of each attempt,
    `model` is the one that was asked for. `spared`: whether other nodes are well although this call has failed.
    """

    attempt: Attempt
    attempts: int
    release: Callable[..., None]
    trail: tuple[AttemptFinished, ...] = ()
    model: str = ""
    spared: Callable[[], bool] = field(default=lambda: False)


class Pool:
    """The nodes at work. `max_attempts` counts the first one too.

    `hedge_quantile`: the share of a node's answers that come before a second node is asked; `None` = none is.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        clocks: Clocks,
        max_attempts: int,
        events: Events,
        balancer: Balancer | None = None,
        rng: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        hedge_quantile: float | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self.quotas = Quotas(clock=clock)
        self.watch = Watch(clocks.first_token, clock=clock)
        self.deadlines = Deadlines()
        self.belongings = Belongings(nodes)
        self.retries = Retries(self)
        self._picker = Picker(
            nodes, balancer=balancer or balancer_of("least_busy", rng=rng), quotas=self.quotas, clock=clock, rng=rng
        )
        self._lessons = Lessons(
            nodes, events=events, watch=self.watch, patience=clocks.first_token, clock=clock, rng=rng
        )
        self._hedging = None if hedge_quantile is None else self._hedges(hedge_quantile, max_attempts, events, clock)
        self._clocks = clocks
        self._max_attempts = max_attempts
        self._retired: set[Node] = set()
        self.on_refused: Callable[[], None] = _nothing
        """Called when a node refuses its key, before that counts: perhaps there is a new one."""
        self._events = events
        self._rng = rng
        self._clock = clock

    def _hedges(self, quantile: float, attempts: int, events: Events, clock: Callable[[], float]) -> Hedging:
        return Hedging(
            quantile,
            begin=self._begin,
            attempt=self._try,
            picker=self._picker,
            lessons=self._lessons,
            retries=self.retries,
            max_attempts=attempts,
            events=events,
            clock=clock,
        )

    @property
    def capacity(self) -> int:
        """Calls that may be in flight now over the nodes that are available, or over all if none is."""
        limits = [node.limit.value for node in self.nodes if node.available]
        return sum(limits or [node.limit.value for node in self.nodes])

    @property
    def in_flight(self) -> int:
        """Calls in flight over all nodes."""
        return sum(node.in_flight for node in self.nodes)

    def on_capacity(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever `capacity` may have changed."""
        self._lessons.on_capacity = tell

    def checked(self, node: Node, *, healthy: bool) -> None:
        """An active check of `node` has come back."""
        self._lessons.checked(node, healthy=healthy)

    def typical_seconds(self) -> float:
        """What an answer takes at the fastest node, by what was seen of late."""
        now = self._clock()
        return min((node.latency.value(now) for node in self.nodes if node.latency.known), default=0.0)

    @property
    def budget(self) -> RetryBudget:
        """The retries in flight."""
        return self.retries.budget

    def changed(self) -> None:
        """Somebody has drained, revived or resized a node."""
        self._lessons.changed()

    def renew(self, nodes: Sequence[Node]) -> None:
        """Work with other nodes from now on; calls under way go on where they are."""
        left = {node for node in self._retired if node.in_flight}
        self._retired = left | (set(self.nodes) - set(nodes))
        self.nodes = self._lessons.nodes = tuple(nodes)
        self._picker.renew(nodes)
        self.belongings.renew(nodes)
        self.changed()

    def cooling_for(self, node: Node) -> float:
        """Seconds that the node rests: by its own wish, or the longest of its quota domains, one for each model."""
        return max(node.rests(), self.quotas.cooling_for(node.account(_NO_CALL)))

    async def send(self, call: Call, *, expires_at: float, key: str | None = None) -> PoolResult:
        """Ask until there is an answer or a reason to stop. `key`: whose call it is.

        Raises `NoNode` when all nodes are drained, and else nothing but cancellation.
        """
        progress = self._progress(call, expires_at, key)
        found = self._picker.choose(progress) or await self._picker.find(progress)
        if isinstance(found, float):
            return PoolResult(_still_cooling(found), 0, _nothing, (), progress.model)
        budgeted = False
        while True:
            flight = self._begin(*found, progress)
            try:
                if self._hedging is None:
                    attempt = await self._try(flight, progress)
                else:
                    flight, attempt = await self._hedging.ask(flight, progress)
            except BaseException:
                self._lessons.cancelled(flight)
                flight.node.give_back(flight.client)
                raise
            finally:
                if budgeted:
                    self.retries.release()
            move = Move.STOP if attempt.outcome.kind is Kind.OK else self._next(flight, attempt, progress)
            budgeted = move in {Move.SIBLING, Move.SAME} and costs_budget(judge(attempt.outcome.kind).failover)
            if move is Move.STOP:
                return self._result(flight, attempt, progress)
            flight.node.give_back(flight.client)
            if budgeted and not await self._may_retry(move, progress):
                return _ended(attempt, progress)
            following = await self._follow(move, flight.node, progress, budgeted=budgeted)
            if following is None:
                return _ended(attempt, progress)
            found = following

    def _progress(self, call: Call, expires_at: float, key: str | None) -> Progress:
        model = call.model or model_of(call.body)
        progress = Progress(call, expires_at, key, model, self._picker.route(model))
        if self.belongings.several and concerns(call.path, call.body):
            progress.refers = True
            progress.tiers, progress.searches = self.belongings.tiers(call, progress.tiers)
        return progress

    def _begin(self, node: Node, quota: QuotaDomain, progress: Progress) -> Flight:
        now = self._clock()
        progress.attempts += 1
        booked = progress.tokens if quota.counts_tokens else 1.0
        probe = node.ejection.begin(now) if node.ejection.until else 0
        return Flight(node, node.take_client(), quota, booked, now, probe, node.spec.api_key)

    async def _try(self, flight: Flight, progress: Progress) -> Attempt:
        call, node = progress.call, flight.node
        watched, skipped = None, ""
        if len(self.nodes) > 1:
            if progress.asked or flight.started < self._lessons.calm_at:
                skipped = self._why_skipped(node, progress)
            watched = flight.watched = self.watch.begin(node, flight.started)
        progress.asked.add(node)
        began, retry = time.perf_counter(), progress.attempts > 1 and not flight.hedge
        try:
            attempt = await try_once(
                flight.client.transport,
                node.aim(call),
                call,
                clocks=self._clocks,
                expires_at=progress.expires_at,
                deadlines=self.deadlines,
                watched=watched,
            )
        finally:
            if watched is not None:
                self.watch.end(watched)
        if attempt.outcome.kind is Kind.NODE_REFUSED:
            if node.has_key:
                self.on_refused()
            else:
                attempt = replace(attempt, outcome=replace(attempt.outcome, kind=Kind.CALLER_ERROR))
        self._lessons.attempt_ended(flight, attempt)
        outcome = attempt.outcome
        if progress.refers and outcome.kind is Kind.OK:
            self.belongings.note(call, node, attempt)
        request_id = None if outcome.kind is Kind.OK else _request_id(attempt)
        seconds = time.perf_counter() - began
        finished = AttemptFinished(  # by position: names would cost twice the time
            node.name,
            retry,
            outcome.kind,
            attempt.status,
            seconds,
            began,
            node.server,
            skipped,
            request_id,
            flight.hedge,
        )
        progress.trail.append(finished)
        self._events.notify(finished)
        return attempt

    def _why_skipped(self, chosen: Node, progress: Progress) -> str:
        """For the flight recorder: who was out of the question, and why."""
        now = self._clock()
        if not progress.asked and not self.quotas.cooling() and all(node.takes(now) for node in self.nodes):
            return ""
        reasons = ((node.name, self._objection(node, progress, now)) for node in self.nodes if node is not chosen)
        return " ".join(f"{name}={reason}" for name, reason in reasons if reason)

    def _objection(self, node: Node, progress: Progress, now: float) -> str:
        if node.drained or node.off_for():
            return "drained" if node.drained else "off"
        if not node.takes(now):
            return "resting" if node.rests() else "ejected"
        if self._picker.quota(node, progress).cooldown.until > now:
            return "cooling"
        return "asked" if node in progress.asked else ""

    def _result(self, flight: Flight, attempt: Attempt, progress: Progress) -> PoolResult:
        stream = attempt.stream
        if stream is not None and flight.quota.counts_tokens:

            def settle(used: int) -> None:
                flight.quota.settle(booked=flight.booked, used=used)

            attempt = replace(attempt, stream=MeteredStream(stream, settle))

        def release(outcome: Outcome | None = None) -> None:
            if flight.deferred:
                self._lessons.stream_ended(flight, outcome or attempt.outcome)
            flight.node.give_back(flight.client)

        def spared() -> bool:
            return any(node.available and not node.ejection.streak for node in self.nodes if node is not flight.node)

        result = _ended(attempt, progress, release)
        result.spared = spared
        return result

    def _next(self, flight: Flight, attempt: Attempt, progress: Progress) -> Move:
        outcome, node = attempt.outcome, flight.node
        if outcome.kind is Kind.NODE_REFUSED and flight.key != node.spec.api_key:
            progress.asked.discard(node)  # it has another key by now
        tier = progress.tier_of(node)
        if progress.searches and not_here(outcome.status, outcome.code):
            progress.asked.update(tier)  # the same account knows no more under another address
            return Move.SIBLING if self._has_usable(progress.nodes(), progress) else Move.STOP
        lower = self._has_usable(_others(progress, tier), progress)
        return next_move(
            Situation(
                kind=outcome.kind,
                failover=judge(outcome.kind).failover,
                attempts=progress.attempts,
                max_attempts=self._max_attempts,
                waits=progress.waits,
                sibling=self._has_usable(tier, progress),
                lower=lower,
                repeated=progress.repeats > 0,
                node_usable=node.available and outcome.kind is not Kind.NODE_REFUSED,
                node_rests=self._picker.wait(node, progress),
                reset_in=self._reset_in(tier, progress),
                remaining=progress.expires_at - asyncio.get_running_loop().time(),
            )
        )

    def _reset_in(self, tier: Sequence[Node], progress: Progress) -> float | None:
        """As far as waiting is the question: of this tier, if a lower one could answer, else of all."""
        lower = self._has_usable(_others(progress, tier), progress)
        return self._picker.first_reset(tier if lower else progress.nodes(), progress)

    def _has_usable(self, nodes: Iterable[Node], progress: Progress) -> bool:
        return any(self._picker.usable(node, progress) for node in progress.unasked(nodes))

    async def _may_retry(self, move: Move, progress: Progress) -> bool:
        """Whether there is a place in the budget. Healthy siblings are worth waiting for one."""

        def hopeful() -> bool:
            return any(
                not node.ejection.streak and self._picker.usable(node, progress)
                for node in progress.unasked(progress.nodes())
            )

        remaining = progress.expires_at - asyncio.get_running_loop().time()
        return await self.retries.place(min(remaining / 2, _LONGEST_TURN), hopeful if move is Move.SIBLING else _never)

    async def _follow(
        self, move: Move, node: Node, progress: Progress, *, budgeted: bool
    ) -> tuple[Node, QuotaDomain] | None:
        """Whom to ask next, when it is time; `None` = nobody can be asked within the deadline any more."""
        found: tuple[Node, QuotaDomain] | float = 0.0
        try:
            if move is Move.SAME:
                progress.repeats += 1
                pause = backoff(progress.attempts, jitter=self._rng())
                await asyncio.sleep(max(pause, self._picker.wait(node, progress)))
                if not node.drained:
                    found = node, self._picker.book(node, progress)
                    return found
            if move is Move.WAIT:
                progress.waits += 1
                await asyncio.sleep(self._reset_in(progress.tier_of(node), progress) or 0.0)
                progress.asked.clear()
            found = await self._picker.find(progress)
            return None if isinstance(found, float) else found
        finally:
            if budgeted and isinstance(found, float):
                self.retries.release()

    async def aclose(self) -> None:
        """Close every node's clients."""
        self.watch.close()
        if self._hedging is not None:
            await self._hedging.aclose()
        async with AsyncExitStack() as stack:
            for node in (*self.nodes, *self._retired):
                stack.push_async_callback(node.aclose)

    def __repr__(self) -> str:
        up = sum(node.up for node in self.nodes)
        return f"<Pool nodes={up}/{len(self.nodes)} up in_flight={self.in_flight}>"


def _ended(attempt: Attempt, progress: Progress, release: Callable[..., None] | None = None) -> PoolResult:
    return PoolResult(attempt, progress.attempts, release or _nothing, tuple(progress.trail), progress.model)


def _request_id(attempt: Attempt) -> str | None:
    """What the upstream calls its answer, if that is a name and not a text."""
    given = next((value for name, value in attempt.headers if name in _REQUEST_IDS), None)
    return given if given is not None and _NAME.fullmatch(given) else None


def _others(progress: Progress, tier: Sequence[Node]) -> Iterator[Node]:
    return (node for node in progress.nodes() if node not in tier)


_NO_CALL = Call("GET", "/")
"""Without credentials of its own: the quota is the node's."""


def _still_cooling(reset_in: float) -> Attempt:
    seconds = math.ceil(reset_in)
    error = {
        "message": f"every node's rate limit is used up; the first is free again in {seconds} s",
        "type": "phase1_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    return Attempt(
        Outcome(Kind.RATE_LIMIT, status=429, code="rate_limit_exceeded", retry_after=reset_in),
        status=429,
        headers=Fields.of([("content-type", "application/json"), ("retry-after", str(seconds))]),
        body=json.dumps({"error": error}).encode(),
    )


def _never() -> bool:
    """There is nobody worth waiting for."""
    return False


def _nothing(_: Outcome | None = None) -> None:
    """There is no node to release."""
