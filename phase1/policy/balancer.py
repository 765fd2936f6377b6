"""Which of the nodes that may be asked is asked?

Every strategy gets the candidates of one tier (nodes of equal priority, all of them usable now) and picks one. `weight`
is the effective one: of a node that has just come back it is still small.

* `round_robin`: in turn, whatever the weights. `weighted`: nginx' smooth weighted round robin, in turn by weight.
* `least_busy`: the fewest calls in flight for its weight.
* `latency`: the smallest first-token peak-EWMA · (in flight + 1) / weight; a node that is not known gets one call.
* `adaptive`: the same, and a node that fails now and then counts for less, by the square of its success rate.
* `sticky`: where the conversation was before, by a consistent hash with bounded loads.

Of more than eight candidates the ones that compare look at two drawn by lot (the power of two choices).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final, Protocol, TypeVar

from phase1.policy.latency import PeakEwma
from phase1.policy.ring import HashRing, bound

__all__ = ["SCAN_ALL", "Balancer", "Candidate", "balancer_of", "two_of"]

SCAN_ALL: Final = 8
"""Up to so many candidates are all compared."""
_UNMEASURED: Final = 1e6
"""Seconds: a node that has calls in flight and has not answered yet is the last choice."""
_LEAST_RATE: Final = 0.1


class Candidate(Protocol):
    """What a strategy may know of a node."""

    name: str
    share: float
    """The configured weight."""
    in_flight: int
    latency: PeakEwma

    def weight(self, now: float) -> float:
        """The effective weight, more than 0."""

    def success_rate(self, now: float) -> float:
        """Of the last minute, 0 … 1."""


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """A strategy. `compares`: two candidates drawn by lot are enough for it."""

    compares: bool

    def pick(self, candidates: Sequence[C], *, now: float, key: bytes) -> C:
        """One of the candidates, of which there is at least one; `key` is the conversation's."""


def balancer_of(strategy: str, *, rng: Callable[[], float]) -> Balancer:
    """The strategy of that name. `rng` gives numbers in [0, 1). Raises `KeyError` for an unknown one."""
    return _STRATEGIES[strategy](rng)


def two_of(candidates: Sequence[C], rng: Callable[[], float]) -> Sequence[C]:
    """Two different ones by lot; all of them when there are few."""
    count = len(candidates)
    if count <= SCAN_ALL:
        return candidates
    first = int(rng() * count)
    return candidates[first], candidates[(first + 1 + int(rng() * (count - 1))) % count]


def _busy(candidate: Candidate, now: float) -> float:
    return (candidate.in_flight + 1) / candidate.weight(now)


def _latency(candidate: Candidate, now: float) -> float:
    busy = candidate.in_flight + 1
    if not candidate.latency.known:
        return 0.0 if busy == 1 else _UNMEASURED * busy
    return candidate.latency.value(now) * busy / candidate.weight(now)


def _adaptive(candidate: Candidate, now: float) -> float:
    cost, rate = _latency(candidate, now), candidate.success_rate(now)
    return cost if rate >= 1.0 else cost / max(_LEAST_RATE, rate) ** 2


class _Comparing:
    """Picks the smallest cost; ties are broken by lot."""

    compares = True

    def __init__(self, cost: Callable[[Candidate, float], float], rng: Callable[[], float]) -> None:
        self._cost = cost
        self._rng = rng

    def pick(self, candidates: Sequence[C], *, now: float, key: bytes) -> C:
        """One of them."""
        del key
        rng, cost = self._rng, self._cost
        best, least, lot = candidates[0], inf, 1.0
        for candidate in two_of(candidates, rng):
            here, ticket = cost(candidate, now), rng()
            if here < least or (here == least and ticket < lot):
                best, least, lot = candidate, here, ticket
        return best


class _RoundRobin:
    compares = False

    def __init__(self, rng: Callable[[], float]) -> None:
        self._turns: dict[str, int] = {}
        self._turn = 0
        del rng

    def pick(self, candidates: Sequence[C], *, now: float, key: bytes) -> C:
        """The one whose last turn is the longest ago."""
        del now, key
        turns = self._turns
        chosen = min(candidates, key=lambda candidate: turns.get(candidate.name, 0))
        self._turn += 1
        turns[chosen.name] = self._turn
        return chosen


class _Weighted:
    compares = False

    def __init__(self, rng: Callable[[], float]) -> None:
        self._credits: dict[str, float] = {}
        del rng

    def pick(self, candidates: Sequence[C], *, now: float, key: bytes) -> C:
        """https://github.com/nginx/nginx/commit/52327e0627f49dbda1e8db695e63a4b0af4448b1."""
        del key
        credits_, total, best = self._credits, 0.0, candidates[0]
        for candidate in candidates:
            weight = candidate.weight(now)
            total += weight
            credits_[candidate.name] = credits_.get(candidate.name, 0.0) + weight
            if credits_[candidate.name] > credits_[best.name]:
                best = candidate
        credits_[best.name] -= total
        return best


class _Sticky:
    compares = False

    def __init__(self, rng: Callable[[], float]) -> None:
        self._ring = HashRing({})
        self._shares: dict[str, float] = {}
        del rng

    def pick(self, candidates: Sequence[C], *, now: float, key: bytes) -> C:
        """The first on the key's way that is not above its bound."""
        by_name = {candidate.name: candidate for candidate in candidates}
        self._place(candidates)
        weights = {candidate.name: candidate.weight(now) for candidate in candidates}
        total, in_flight = sum(weights.values()), sum(candidate.in_flight for candidate in candidates)
        way = [by_name[name] for name in self._ring.walk(key) if name in by_name]
        roomy = (node for node in way if node.in_flight < bound(in_flight=in_flight, share=weights[node.name] / total))
        return next(roomy, way[0])

    def _place(self, candidates: Sequence[C]) -> None:
        """New names join the ring; those that only pause keep their place."""
        shares = {candidate.name: candidate.share for candidate in candidates}
        if not shares.items() <= self._shares.items():
            self._shares |= shares
            self._ring = HashRing(self._shares)


_STRATEGIES: Final[dict[str, Callable[[Callable[[], float]], Balancer]]] = {
    "round_robin": _RoundRobin,
    "weighted": _Weighted,
    "least_busy": partial(_Comparing, _busy),
    "latency": partial(_Comparing, _latency),
    "adaptive": partial(_Comparing, _adaptive),
    "sticky": _Sticky,
}
