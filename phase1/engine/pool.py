"""Which node answers this call, and who is asked when it fails?

One failover loop: pick a node → one attempt → judge → the next move, until an answer, or until the policies say stop.
It gives back the last answer or failure as it was; whether that counts against the pool, and whether legacy steps in,
is the manager's business.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from phase1.engine.attempt import Attempt, Clocks, try_once
from phase1.engine.call import Call
from phase1.engine.node import Client, Node
from phase1.engine.transport import Fields
from phase1.events import AttemptFinished, Events, NodeChanged
from phase1.exceptions import NoNode
from phase1.policy.budget import RetryBudget
from phase1.policy.classify import Kind, Outcome, Verdict, judge
from phase1.policy.cooldown import Cooldowns
from phase1.policy.failover import Move, Situation, backoff, costs_budget, next_move

__all__ = ["Pool", "PoolResult"]

_REQUEST_IDS = frozenset({"x-request-id", "apim-request-id", "request-id"})
_NAME = re.compile(r"[\w.:-]{1,80}")


@dataclass(slots=True)
class PoolResult:
    """The last attempt of a call, and how many there were. `release` frees its node: call it exactly once.

    `trail` tells of each attempt.
    """

    attempt: Attempt
    attempts: int
    release: Callable[[], None]
    trail: tuple[AttemptFinished, ...] = ()


@dataclass(slots=True)
class _Progress:
    call: Call
    expires_at: float
    asked: set[Node] = field(default_factory=set)
    attempts: int = 0
    waits: int = 0
    skipped: str = ""
    trail: list[AttemptFinished] = field(default_factory=list)


class Pool:
    """The nodes at work. `max_attempts` counts the first one too."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        clocks: Clocks,
        max_attempts: int,
        events: Events,
        rng: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.nodes = tuple(nodes)
        self.budget = RetryBudget()
        self.cooldowns = Cooldowns(rng=rng, clock=clock)
        self._clocks = clocks
        self._max_attempts = max_attempts
        self._events = events
        self._rng = rng

    @property
    def capacity(self) -> int:
        """Calls that may be in flight over all nodes."""
        return sum(node.capacity for node in self.nodes)

    @property
    def in_flight(self) -> int:
        """Calls in flight over all nodes."""
        return sum(node.in_flight for node in self.nodes)

    async def send(self, call: Call, *, expires_at: float) -> PoolResult:
        """Ask until there is an answer or a reason to stop. Raises `NoNode`, else nothing but cancellation."""
        if all(node.drained for node in self.nodes):
            raise NoNode("every node is drained")
        progress = _Progress(call, expires_at)
        if (reset_in := self._first_reset(progress)) is not None:
            if reset_in >= expires_at - asyncio.get_running_loop().time():
                return PoolResult(_still_cooling(reset_in), 0, _nothing)
            await asyncio.sleep(reset_in)
        node = self._pick(progress)
        budgeted = False
        while True:
            client = node.take_client()
            try:
                attempt = await self._try(node, client, progress)
            except BaseException:
                node.give_back(client)
                raise
            finally:
                if budgeted:
                    self.budget.release()
            move = self._next(node, attempt, progress)
            budgeted = move in {Move.SIBLING, Move.SAME} and costs_budget(judge(attempt.outcome.kind).failover)
            if move is Move.STOP or (budgeted and not self._may_retry()):
                give_back = partial(node.give_back, client)
                return PoolResult(attempt, progress.attempts, give_back, tuple(progress.trail))
            node.give_back(client)
            node = await self._follow(move, node, progress, budgeted=budgeted)

    def _may_retry(self) -> bool:
        # Of the first attempts: retries that earned retries would make it a quarter more in an outage, not a fifth.
        return self.budget.acquire(requests_in_flight=self.in_flight - self.budget.in_flight)

    async def _try(self, node: Node, client: Client, progress: _Progress) -> Attempt:
        call = progress.call
        progress.attempts += 1
        progress.asked.add(node)
        started = time.perf_counter()
        attempt = await try_once(
            client.transport, node.aim(call), call, clocks=self._clocks, expires_at=progress.expires_at
        )
        if attempt.outcome.kind is Kind.NODE_REFUSED and not node.has_key:
            attempt = replace(attempt, outcome=replace(attempt.outcome, kind=Kind.CALLER_ERROR))
        self._learn(node, attempt, progress)
        outcome = attempt.outcome
        request_id = None if outcome.kind is Kind.OK else _request_id(attempt)
        seconds = time.perf_counter() - started
        retry = progress.attempts > 1
        finished = AttemptFinished(  # by position: names would cost twice the time
            node.name, retry, outcome.kind, attempt.status, seconds, started, node.server, progress.skipped, request_id
        )
        progress.trail.append(finished)
        self._events.notify(finished)
        return attempt

    def _learn(self, node: Node, attempt: Attempt, progress: _Progress) -> None:
        outcome = attempt.outcome
        judgement = judge(outcome.kind)
        if judgement.node_off:
            # A model's name comes with the call: were the node off for it, one typo would take it from everybody.
            if outcome.status != HTTPStatus.NOT_FOUND and node.switch_off():
                self._events.notify(NodeChanged(node.name, up=False, kind=outcome.kind))
        elif judgement.node is Verdict.THROTTLED or (judgement.node is Verdict.FAILURE and outcome.retry_after):
            self.cooldowns.throttled(node.domain(progress.call), retry_after=outcome.retry_after)
        elif judgement.node is Verdict.SUCCESS:
            self.cooldowns.succeeded(node.domain(progress.call))
            if node.switch_on():
                self._events.notify(NodeChanged(node.name, up=True, kind=outcome.kind))

    def _next(self, node: Node, attempt: Attempt, progress: _Progress) -> Move:
        outcome = attempt.outcome
        if outcome.kind is Kind.OK:
            return Move.STOP
        return next_move(
            Situation(
                kind=outcome.kind,
                failover=judge(outcome.kind).failover,
                attempts=progress.attempts,
                max_attempts=self._max_attempts,
                waits=progress.waits,
                sibling=any(self._usable(other, progress) for other in self.nodes if other not in progress.asked),
                node_usable=node.up and outcome.kind is not Kind.NODE_REFUSED,
                node_rests=self._rests(node, progress),
                reset_in=self._first_reset(progress),
                remaining=progress.expires_at - asyncio.get_running_loop().time(),
            )
        )

    async def _follow(self, move: Move, node: Node, progress: _Progress, *, budgeted: bool) -> Node:
        try:
            if move is Move.SAME:
                pause = backoff(progress.attempts, jitter=self._rng())
                await asyncio.sleep(max(pause, self._rests(node, progress)))
                return node
            if move is Move.WAIT:
                progress.waits += 1
                await asyncio.sleep(self._first_reset(progress) or 0.0)
                progress.asked.clear()
            return self._pick(progress)
        except BaseException:
            if budgeted:
                self.budget.release()
            raise

    def _pick(self, progress: _Progress) -> Node:
        """The least busy usable node of the best tier; when none is usable, the one that will be first."""
        fresh = [node for node in self.nodes if node not in progress.asked] or list(self.nodes)
        usable = [node for node in fresh if self._usable(node, progress)]
        progress.skipped = "" if len(usable) == len(self.nodes) else self._why_skipped(progress)
        if not usable:
            return min(fresh, key=lambda node: (node.drained, max(node.off_for(), self._rests(node, progress))))
        tier = min(node.spec.priority for node in usable)
        return min(
            (node for node in usable if node.spec.priority == tier),
            key=lambda node: ((node.in_flight + 1) / node.spec.weight, self._rng()),
        )

    def _why_skipped(self, progress: _Progress) -> str:
        """For the flight recorder: who was out of the question, and why."""
        reasons = ((node.name, self._objection(node, progress)) for node in self.nodes)
        return " ".join(f"{name}={reason}" for name, reason in reasons if reason)

    def _objection(self, node: Node, progress: _Progress) -> str:
        if not node.up:
            return "drained" if node.drained else "off"
        if self._rests(node, progress):
            return "cooling"
        return "asked" if node in progress.asked else ""

    def _rests(self, node: Node, progress: _Progress) -> float:
        return self.cooldowns.rests(node.domain(progress.call))

    def _usable(self, node: Node, progress: _Progress) -> bool:
        return node.up and not self._rests(node, progress)

    def _first_reset(self, progress: _Progress) -> float | None:
        rests = [self._rests(node, progress) for node in self.nodes if node.up]
        return min(rests) if rests and all(rests) else None

    async def aclose(self) -> None:
        """Close every node's clients."""
        async with AsyncExitStack() as stack:
            for node in self.nodes:
                stack.push_async_callback(node.aclose)

    def __repr__(self) -> str:
        up = sum(node.up for node in self.nodes)
        return f"<Pool nodes={up}/{len(self.nodes)} up in_flight={self.in_flight}>"


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


def _request_id(attempt: Attempt) -> str | None:
    """What the upstream calls its answer, if that is a name and not a text."""
    given = next((value for name, value in attempt.headers if name in _REQUEST_IDS), None)
    return given if given is not None and _NAME.fullmatch(given) else None


def _nothing() -> None:
    """There is no node to release."""
