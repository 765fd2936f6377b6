"""After a failed attempt: ask another node, the same one again, wait, or stop?

One attempt counts against `max_attempts` whatever it cost. A retry that the upstream may have to pay for needs the
budget (`policy.budget`); an attempt that was never sent is free of it. The same node is never asked again on silence:
a node that has gone quiet is busy with the first copy. Nodes of equal priority are a tier, and it is used up first: a
sibling, else the same node once more, and only then a node of a lower tier. (RESILIENCE §1 and §4.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from phase1.policy.classify import Failover, Kind

__all__ = ["Move", "Situation", "backoff", "costs_budget", "next_move"]

_BACKOFF_BASE = 0.5
_BACKOFF_MAX = 8.0
_MAX_WAITS = 2
_SHORT_WAIT = 5.0
"""Seconds that a better tier's quota is waited for while a lower tier could answer."""
_SILENT = frozenset({Kind.FIRST_TOKEN_TIMEOUT, Kind.STALL, Kind.TIMEOUT})


class Move(Enum):
    """What the pool does next."""

    STOP = auto()
    SIBLING = auto()
    """Another node: the best one that has not been asked."""
    SAME = auto()
    WAIT = auto()


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known after a failed attempt.

    `sibling`: another node of this tier, up and not cooling, has not been asked yet; `lower`: one of a lower tier.
    `node_usable`: the node that failed is still switched on; `node_rests`: seconds until it may be asked again;
    `repeated`: it has been asked twice. `reset_in`: seconds until the first of all nodes that are switched on may be
    asked again, while a lower tier is left: of this tier's; `None` when one of them need not wait. `remaining`: seconds
    to the deadline.
    """

    kind: Kind
    failover: Failover
    attempts: int
    max_attempts: int
    waits: int
    sibling: bool
    node_usable: bool
    node_rests: float
    reset_in: float | None
    remaining: float
    lower: bool = False
    repeated: bool = False


def next_move(now: Situation) -> Move:
    """The rule. It does not ask the budget: `costs_budget` says whether the caller has to."""
    if _is_over(now):
        return Move.STOP
    if now.sibling:
        return Move.SIBLING
    if now.failover is Failover.OTHER_DOMAIN:
        return _after_throttling(now)
    if _may_repeat(now) and not (now.lower and now.repeated):
        return Move.SAME
    return Move.SIBLING if now.lower else Move.STOP


def _is_over(now: Situation) -> bool:
    if now.failover in {Failover.NEVER, Failover.LARGER_CONTEXT}:
        return True
    allowed = 2 if now.failover is Failover.ONCE else now.max_attempts
    return now.attempts >= min(allowed, now.max_attempts) or now.remaining <= 0


def _after_throttling(now: Situation) -> Move:
    if now.lower and (now.reset_in is None or now.reset_in > _SHORT_WAIT):
        return Move.SIBLING
    if now.reset_in is None or now.waits >= _MAX_WAITS or now.reset_in >= now.remaining:
        return Move.SIBLING if now.lower else Move.STOP
    return Move.WAIT


def _may_repeat(now: Situation) -> bool:
    return now.kind not in _SILENT and now.node_usable and not _comes_too_late(now)


def _comes_too_late(now: Situation) -> bool:
    """Whether the pause may outlast the deadline: the failure at hand says more than a timeout afterwards."""
    return max(now.node_rests, _longest_backoff(now.attempts)) >= now.remaining


def costs_budget(failover: Failover) -> bool:
    """Whether a retry after this needs a place in the retry budget."""
    return failover in {Failover.BUDGETED, Failover.ONCE}


def backoff(attempts: int, *, jitter: float) -> float:
    """Seconds before asking the same node again: full jitter over 0.5, 1, 2 … 8 s; `jitter` is in [0, 1)."""
    return jitter * _longest_backoff(attempts)


def _longest_backoff(attempts: int) -> float:
    return min(_BACKOFF_MAX, _BACKOFF_BASE * 2.0 ** (attempts - 1))
