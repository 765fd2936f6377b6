"""Which of the nodes that may be asked is asked?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.balancer import Balancer, balancer_of, two_of
from phase1.policy.latency import PeakEwma

STRATEGIES = ["round_robin", "weighted", "least_busy", "latency", "adaptive", "sticky"]


@dataclass(eq=False)
class Fake:
    """A node as strategies see it."""

    name: str
    share: float = 1.0
    in_flight: int = 0
    rate: float = 1.0
    latency: PeakEwma = field(default_factory=PeakEwma)

    def weight(self, now: float) -> float:
        return self.share

    def success_rate(self, now: float) -> float:
        return self.rate

    def took(self, seconds: float) -> Fake:
        """One answer has been seen."""
        self.latency.observe(seconds, 0.0)
        return self


def strategy(name: str) -> Balancer:
    """With the same luck every time."""
    return balancer_of(name, rng=random.Random(7).random)


def picks(balancer: Balancer, nodes: Sequence[Fake], count: int, *, key: bytes = b"k") -> list[str]:
    """Names in the order in which they are picked; nobody's calls end."""
    return [balancer.pick(nodes, now=0.0, key=key).name for _ in range(count)]


def test_unknown_strategy() -> None:
    """The settings say so before."""
    with pytest.raises(KeyError):
        strategy("fastest")


@pytest.mark.parametrize("name", STRATEGIES)
def test_only_candidate_is_picked(name: str) -> None:
    """Whatever it is like."""
    assert strategy(name).pick([only := Fake("a", in_flight=99)], now=0.0, key=b"") is only


def test_round_robin_goes_round() -> None:
    """And one that was away comes next when it is back."""
    a, b, c = Fake("a", share=9.0), Fake("b"), Fake("c")
    balancer = strategy("round_robin")
    assert picks(balancer, [a, b, c], 6) == ["a", "b", "c", "a", "b", "c"]
    assert picks(balancer, [a, b], 4) == ["a", "b", "a", "b"]
    assert picks(balancer, [a, b, c], 3) == ["c", "a", "b"]


def test_weighted_is_smooth() -> None:
    """Nginx' own example: 5, 1, 1."""
    nodes = [Fake("a", share=5.0), Fake("b"), Fake("c")]
    assert "".join(picks(strategy("weighted"), nodes, 7)) == "aabacaa"


def test_least_busy_looks_at_calls_in_flight_by_weight() -> None:
    """Four calls at weight 4 are fewer than two at weight 1."""
    assert picks(strategy("least_busy"), [Fake("a", in_flight=2), Fake("b", share=4.0, in_flight=4)], 1) == ["b"]


@pytest.mark.parametrize("name", ["least_busy", "latency", "adaptive"])
def test_ties_are_broken_by_lot(name: str) -> None:
    """None is the favourite."""
    nodes = [Fake(each).took(1.0) for each in "abc"]
    counts = Counter(picks(strategy(name), nodes, 3000))
    assert all(900 < counts[each] < 1100 for each in "abc")


@pytest.mark.parametrize("name", ["latency", "adaptive"])
def test_faster_node_gets_more(name: str) -> None:
    """Until its calls in flight make up for it."""
    fast, slow = Fake("fast", in_flight=3).took(0.2), Fake("slow").took(1.0)
    balancer = strategy(name)
    assert picks(balancer, [fast, slow], 1) == ["fast"]
    fast.in_flight = 5
    assert picks(balancer, [fast, slow], 1) == ["slow"]


@pytest.mark.parametrize("name", ["latency", "adaptive"])
def test_unknown_node_gets_one_call(name: str) -> None:
    """The next one only when it has answered, or when all others are unknown too."""
    known, fresh = Fake("known", in_flight=5).took(0.2), Fake("fresh")
    balancer = strategy(name)
    assert picks(balancer, [known, fresh], 1) == ["fresh"]
    fresh.in_flight = 1
    assert picks(balancer, [known, fresh], 1) == ["known"]
    assert picks(balancer, [Fake("x", in_flight=2), Fake("y", in_flight=1)], 1) == ["y"]


def test_adaptive_counts_failures() -> None:
    """A node that fails half of the time costs four times as much."""
    poor, good = Fake("poor", rate=0.5).took(1.0), Fake("good", in_flight=2).took(1.0)
    assert picks(strategy("adaptive"), [poor, good], 1) == ["good"]
    assert picks(strategy("latency"), [poor, good], 1) == ["poor"]


def test_node_that_only_fails_costs_something_finite() -> None:
    """It is compared like any other."""
    nodes = [Fake("a", rate=0.0).took(1.0), Fake("b", rate=0.0, in_flight=1).took(1.0)]
    assert picks(strategy("adaptive"), nodes, 1) == ["a"]


def test_sticky_stays() -> None:
    """One conversation at one node, different ones spread."""
    nodes = [Fake("a"), Fake("b"), Fake("c")]
    balancer = strategy("sticky")
    assert len(set(picks(balancer, nodes, 20))) == 1
    everybody = {picks(balancer, nodes, 1, key=str(number).encode())[0] for number in range(50)}
    assert everybody == {"a", "b", "c"}


def test_sticky_leaves_a_node_that_has_too_much() -> None:
    """And comes back when it has room."""
    nodes = [Fake("a"), Fake("b"), Fake("c")]
    balancer = strategy("sticky")
    home = balancer.pick(nodes, now=0.0, key=b"k")
    home.in_flight = 10
    assert balancer.pick(nodes, now=0.0, key=b"k") is not home
    home.in_flight = 0
    assert balancer.pick(nodes, now=0.0, key=b"k") is home


def test_sticky_keeps_the_others_where_they_are_while_one_is_away() -> None:
    """Only the keys of the missing one move, and they come back."""
    nodes = [Fake("a"), Fake("b"), Fake("c")]
    balancer = strategy("sticky")
    keys = [str(number).encode() for number in range(200)]
    before = [picks(balancer, nodes, 1, key=key)[0] for key in keys]
    during = [picks(balancer, nodes[:2], 1, key=key)[0] for key in keys]
    assert [name for name in before if name != "c"] == [
        now for was, now in zip(before, during, strict=True) if was != "c"
    ]
    assert [picks(balancer, nodes, 1, key=key)[0] for key in keys] == before


def test_two_of_many_are_different() -> None:
    """Of few, all are compared."""
    few, many = [Fake(str(number)) for number in range(8)], [Fake(str(number)) for number in range(50)]
    rng = random.Random(7).random
    assert two_of(few, rng) is few
    for _ in range(1000):
        one, other = two_of(many, rng)
        assert one is not other


def test_two_choices_spread_many_nodes() -> None:
    """A thousand calls that do not end, on a hundred nodes: none has far more than its share."""
    nodes = [Fake(str(number)) for number in range(100)]
    balancer = strategy("least_busy")
    for _ in range(1000):
        balancer.pick(nodes, now=0.0, key=b"").in_flight += 1
    assert max(node.in_flight for node in nodes) <= 14


@given(
    st.sampled_from(STRATEGIES),
    st.lists(
        st.tuples(st.floats(0.01, 10), st.integers(0, 50), st.floats(0, 1), st.none() | st.floats(0, 60)),
        min_size=1,
        max_size=20,
    ),
    st.binary(max_size=10),
    st.integers(0, 99),
)
def test_every_strategy_picks_a_candidate(
    name: str, shapes: list[tuple[float, int, float, float | None]], key: bytes, seed: int
) -> None:
    """Whatever they are like, again and again."""
    nodes = [Fake(str(number), share, busy, rate) for number, (share, busy, rate, _) in enumerate(shapes)]
    for node, (_, _, _, seconds) in zip(nodes, shapes, strict=True):
        if seconds is not None:
            node.took(seconds)
    balancer = balancer_of(name, rng=random.Random(seed).random)
    for _ in range(5):
        balancer.pick(nodes, now=0.0, key=key).in_flight += 1
