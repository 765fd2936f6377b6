"""Do the policies together keep a pool well? A discrete-event simulation: no loop, no network, a clock that jumps.

Users ask again and again; a request goes where the balancer says, a failure is tried once more elsewhere, and node,
limit and breaker learn from it. A hundred thousand requests take a few seconds.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from phase1.policy.balancer import balancer_of
from phase1.policy.breaker import BreakerState, Permit, PoolBreaker
from phase1.policy.classify import Verdict
from phase1.policy.ejection import Ejection, may_eject
from phase1.policy.latency import PeakEwma
from phase1.policy.limiter import AimdLimit

Answer = Callable[[float], tuple[float, bool]]
"""When it is asked → how long it takes, and whether it is well."""


@dataclass(eq=False)
class Node:
    """As the balancer sees it."""

    name: str
    answer: Answer
    share: float = 1.0
    in_flight: int = 0
    latency: PeakEwma = field(default_factory=PeakEwma)
    ejection: Ejection = field(default_factory=Ejection)
    limit: AimdLimit = field(default_factory=lambda: AimdLimit(160))

    def weight(self, now: float) -> float:
        return self.share * self.ejection.warmth(now)

    def success_rate(self, now: float) -> float:
        return self.ejection.success_rate(now)


class World:
    """A pool of `nodes` and its users."""

    def __init__(self, *nodes: Node, strategy: str = "adaptive", users: int = 20, seed: int = 7) -> None:
        self.now = 1000.0
        self.rng = random.Random(seed)
        self.nodes = nodes
        self.balancer = balancer_of(strategy, rng=self.rng.random)
        self.breaker = PoolBreaker(clock=lambda: self.now, rng=self.rng.random)
        self.asked: Counter[str] = Counter()
        self.failed = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        for _ in range(users):
            self._later(self.rng.random(), self._begin)

    def run(self, requests: int) -> None:
        """Until so many attempts have been made."""
        while sum(self.asked.values()) < requests:
            self.now, _, happen = heapq.heappop(self._events)
            happen()

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def _begin(self) -> None:
        permit = self.breaker.acquire()
        assert isinstance(permit, Permit), "the pool is switched off"
        self._attempt(permit, avoid=None)

    def _attempt(self, permit: Permit, *, avoid: Node | None) -> None:
        usable = [node for node in self.nodes if node is not avoid and node.ejection.takes(self.now)]
        node = self.balancer.pick(usable or list(self.nodes), now=self.now, key=b"")
        self.asked[node.name] += 1
        node.in_flight += 1
        probe = node.ejection.begin(self.now)
        seconds, well = node.answer(self.now)
        started = self.now
        self._later(seconds, lambda: self._end(permit, node, started, probe, well=well, first=avoid is None))

    def _end(self, permit: Permit, node: Node, started: float, probe: int, *, well: bool, first: bool) -> None:
        if well:
            node.latency.observe(self.now - started, self.now)
            node.limit.succeeded(node.in_flight)
        else:
            node.latency.failed(self.now)
            node.limit.dropped(started=started, now=self.now)
        node.in_flight -= 1
        reason = node.ejection.end(Verdict.SUCCESS if well else Verdict.FAILURE, self.now, probe=probe)
        if reason == "probe_failed" or (reason not in {None, "returned"} and self._may_eject()):
            node.ejection.eject(self.now, jitter=self.rng.random())
        if not well and first:
            self._attempt(permit, avoid=node)
            return
        self.failed += not well
        permit.release(Verdict.SUCCESS if well else Verdict.FAILURE)
        self._later(0.01, self._begin)

    def _may_eject(self) -> bool:
        out = sum(bool(node.ejection.until) for node in self.nodes)
        return may_eject(ejected=out, nodes=len(self.nodes), available=len(self.nodes) - out)


def healthy(rng: random.Random, *, median: float = 1.0) -> Answer:
    """Heavy-tailed, as answers of language models are: one of a hundred takes ten times the median."""
    return lambda _: (rng.lognormvariate(0.0, 1.0) * median, True)


def failing(seconds: float) -> Answer:
    """It always fails, after so long."""
    return lambda _: (seconds, False)


@pytest.mark.parametrize("seconds", [0.001, 0.5], ids=["at once", "later"])
def test_one_dead_node_of_four_never_trips_the_pool(seconds: float) -> None:
    """A hundred thousand requests."""
    rng = random.Random(7)
    world = World(Node("dead", failing(seconds)), *(Node(name, healthy(rng)) for name in "abc"))
    world.run(100_000)
    assert (world.breaker.state, world.failed) == (BreakerState.ACTIVE, 0)


@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "least_busy", "latency", "adaptive"])
@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_node_that_fails_fast_has_less_than_a_hundredth(strategy: str, nodes: int) -> None:
    """Being the first to answer must not pay."""
    rng = random.Random(7)
    others = [Node(str(number), healthy(rng, median=0.5)) for number in range(1, nodes)]
    world = World(Node("fast", failing(0.001)), *others, strategy=strategy)
    world.run(10_000)
    assert world.asked["fast"] < 0.01 * sum(world.asked.values())


def test_heavy_tailed_answers_never_shrink_a_limit() -> None:
    """However long some of them take."""
    rng = random.Random(7)
    world = World(*(Node(name, healthy(rng, median=2.0)) for name in "abc"), users=60)
    world.run(20_000)
    assert [node.limit.value for node in world.nodes] == [160, 160, 160]
    assert [node.ejection.times for node in world.nodes] == [0, 0, 0]


def test_node_that_recovers_has_its_share_again() -> None:
    """Out for its time, probed, warmed up, and then one of three."""
    rng = random.Random(7)
    sick_until = 1100.0
    well = healthy(rng, median=0.2)

    def answer(now: float) -> tuple[float, bool]:
        return well(now) if now >= sick_until else (0.01, False)

    world = World(Node("sick", answer), *(Node(name, healthy(rng, median=0.2)) for name in "bc"))
    while world.now < sick_until + 330.0 + 120.0:
        world.run(sum(world.asked.values()) + 100)
    world.asked.clear()
    world.run(5000)
    assert 0.25 < world.asked["sick"] / 5000 < 0.42
    assert world.failed == 0


def test_faster_node_gets_the_larger_part() -> None:
    """By its latency, not by a fixed share; both are used."""
    rng = random.Random(7)
    world = World(Node("fast", healthy(rng, median=0.2)), Node("slow", healthy(rng, median=1.0)))
    world.run(10_000)
    assert 0.6 < world.asked["fast"] / 10_000 < 0.97
