"""What do the nodes and their quotas learn from an attempt?

A failure counts towards the node's ejection and its latency, a loss lowers its limit of calls in flight, a 429 lets
its quota domain rest. The verdict on a stream comes at its end: one that breaks in the middle is a failure, though its
start looked well. A clock that ran out early, because the caller had little time, says nothing about the node, unless
others have answered meanwhile and this one nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import inf

from phase1.engine.attempt import Attempt
from phase1.engine.node import Client, Node
from phase1.engine.tokens import used
from phase1.engine.watch import Watch, Watched
from phase1.events import Events, NodeChanged
from phase1.policy.classify import Kind, Outcome, Verdict, judge
from phase1.policy.cooldown import rest_of
from phase1.policy.ejection import may_eject
from phase1.policy.quota import QuotaDomain

__all__ = ["Flight", "Lessons"]

_LOST = frozenset({Kind.RATE_LIMIT, Kind.FIRST_TOKEN_TIMEOUT, Kind.STALL, Kind.SERVER_ERROR, Kind.TIMEOUT})
"""What says that the upstream had too much to do."""
_LONGEST_REST = 660.0
"""Seconds: no rest, ejection or quarantine that follows a failure lasts longer."""


@dataclass(slots=True, eq=False)
class Flight:
    """One attempt under way, and what it holds. `started` is the clock's; `probe` as in `policy.ejection`."""

    node: Node
    client: Client
    quota: QuotaDomain
    booked: float
    started: float
    probe: int
    key: str
    """The node's key that was sent: a refusal of an older one says nothing about the node."""
    watched: Watched | None = None
    deferred: bool = False
    """Whether the verdict comes with the end of the stream."""
    hedge: bool = False
    """Whether another node is late, and this one is asked beside it."""


class Lessons:
    """What one pool learns. `patience`: `LLM_FIRST_TOKEN_TIMEOUT`; `on_capacity` hears when places come or go."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        events: Events,
        watch: Watch,
        patience: float,
        clock: Callable[[], float],
        rng: Callable[[], float],
    ) -> None:
        self.nodes = tuple(nodes)
        self._events = events
        self._watch = watch
        self._patience = patience
        self._clock = clock
        self._rng = rng
        self.on_capacity: Callable[[], None] = _nothing
        self.calm_at = 0.0
        """By when nothing keeps any node from being asked, on the clock."""

    def changed(self) -> None:
        """Somebody has drained, revived or resized a node."""
        self.calm_at = inf if any(node.drained for node in self.nodes) else self._clock() + _LONGEST_REST
        self.on_capacity()

    def checked(self, node: Node, *, healthy: bool) -> None:
        """The active check has come back: a failure counts like that of a call, a success for nothing."""
        now = self._clock()
        if not healthy:
            self._troubled(now)
        if not healthy and (reason := node.ejection.end(Verdict.FAILURE, now)) is not None:
            self._move(node, reason, now)

    def cancelled(self, flight: Flight) -> None:
        """The attempt was cancelled: the probe, if it was one, is free again."""
        flight.node.ejection.end(Verdict.NEUTRAL, self._clock(), probe=flight.probe)

    def stream_ended(self, flight: Flight, outcome: Outcome) -> None:
        """A stream whose start looked well has come to its end, in one way or another."""
        verdict, now = judge(outcome.kind).node, self._clock()
        if outcome.kind is not Kind.OK:
            self._troubled(now)
        if verdict is Verdict.SUCCESS:
            self._whole(flight.node)
        self._count(flight, verdict, outcome, now)

    def attempt_ended(self, flight: Flight, attempt: Attempt) -> None:
        """There is an answer, the start of one, or a failure."""
        outcome, node, now = attempt.outcome, flight.node, self._clock()
        judgement = judge(outcome.kind)
        if outcome.kind is not Kind.OK:
            self._troubled(now)
        flight.quota.learn(attempt.headers.get, now)
        if judgement.node_off:
            self._refused(flight, outcome, now)
            return
        if judgement.node is Verdict.SUCCESS:
            self._answered(flight, attempt, now)
            if attempt.stream is not None:
                flight.deferred = True
                return
        elif judgement.node is Verdict.THROTTLED:
            flight.quota.cooldown.throttled(now, retry_after=outcome.retry_after, jitter=self._rng())
        elif judgement.node is Verdict.FAILURE and outcome.retry_after:
            node.rest(rest_of(outcome.retry_after, jitter=self._rng()))
        if outcome.kind is Kind.CONNECT:
            flight.quota.give_back(tokens=flight.booked)
        self._count(flight, self._verdict(flight, judgement.node, outcome, now), outcome, now)

    def _troubled(self, now: float) -> None:
        self.calm_at = max(self.calm_at, now + _LONGEST_REST)

    def _verdict(self, flight: Flight, verdict: Verdict | None, outcome: Outcome, now: float) -> Verdict | None:
        waited = now - flight.started
        if outcome.kind is not Kind.TIMEOUT or waited >= self._patience:
            return verdict
        watched = flight.watched
        silent = watched is not None and self._watch.is_silent(watched, waited=waited, patience=0.0)
        return verdict if silent else Verdict.NEUTRAL

    def _answered(self, flight: Flight, attempt: Attempt, now: float) -> None:
        node, seconds = flight.node, now - flight.started
        node.latency.observe(seconds, now)
        flight.quota.cooldown.succeeded()
        if attempt.stream is None:
            self._whole(node)
            self._watch.longest.note(seconds)
            if flight.quota.counts_tokens and (tokens := used(attempt.body)) is not None:
                flight.quota.settle(booked=flight.booked, used=tokens)
        if node.switch_on():
            self._events.notify(NodeChanged(node.name, up=True, kind=attempt.outcome.kind))
            self.on_capacity()

    def _whole(self, node: Node) -> None:
        """A whole answer, to its end: the node is alive."""
        node.answers += 1
        self._watch.answers += 1

    def _refused(self, flight: Flight, outcome: Outcome, now: float) -> None:
        node = flight.node
        node.ejection.end(Verdict.NEUTRAL, now, probe=flight.probe)
        # A model's name comes with the call: were the node off for it, one typo would take it from everybody.
        if outcome.status == HTTPStatus.NOT_FOUND or flight.key != node.spec.api_key:
            return
        if node.switch_off():
            self._events.notify(NodeChanged(node.name, up=False, kind=outcome.kind))
            self.on_capacity()

    def _count(self, flight: Flight, verdict: Verdict | None, outcome: Outcome, now: float) -> None:
        node = flight.node
        if verdict is Verdict.SUCCESS:
            if node.limit.value < node.limit.maximum and node.limit.succeeded(node.in_flight):
                self.on_capacity()
        elif verdict in {Verdict.FAILURE, Verdict.THROTTLED}:
            node.latency.failed(now, retry_after=outcome.retry_after)
            if outcome.kind in _LOST and node.limit.dropped(started=flight.started, now=now):
                self.on_capacity()
        reason = node.ejection.end(verdict or Verdict.NEUTRAL, now, probe=flight.probe)
        if reason is not None:
            self._move(node, reason, now)

    def _move(self, node: Node, reason: str, now: float) -> None:
        returned = reason == "returned"
        if not (returned or reason == "probe_failed" or self._may_eject(node)):
            return
        if not returned:
            node.ejection.eject(now, jitter=self._rng())
        self._events.notify(NodeChanged(node.name, up=returned, kind=reason))
        self.on_capacity()

    def _may_eject(self, node: Node) -> bool:
        return node.available and may_eject(
            ejected=sum(other.ejected for other in self.nodes),
            nodes=len(self.nodes),
            available=sum(other.available for other in self.nodes),
        )


def _nothing() -> None:
    """Nobody wants to know."""
