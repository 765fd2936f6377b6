"""Which node does a conversation belong to?"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.ring import HashRing, bound

KEYS = [f"user-{number}".encode() for number in range(2000)]


def first(ring: HashRing, key: bytes) -> str:
    """Where a key goes when there is room."""
    return next(ring.walk(key))


def test_key_goes_where_it_went() -> None:
    """In every process: the hash is not Python's own."""
    assert first(HashRing({"a": 1.0, "b": 1.0, "c": 1.0}), b"user-7") == first(
        HashRing({"c": 1.0, "b": 1.0, "a": 1.0}), b"user-7"
    )


def test_keys_are_spread_by_weight() -> None:
    """Roughly."""
    ring = HashRing({"a": 1.0, "b": 1.0, "c": 2.0})
    counts = Counter(first(ring, key) for key in KEYS)
    assert 350 < counts["a"] < 650
    assert 350 < counts["b"] < 650
    assert 800 < counts["c"] < 1200


def test_node_that_goes_takes_only_its_own_keys_along() -> None:
    """The others' prompt caches stay warm."""
    before, after = HashRing({"a": 1.0, "b": 1.0, "c": 1.0}), HashRing({"a": 1.0, "b": 1.0})
    assert all(first(after, key) == first(before, key) for key in KEYS if first(before, key) != "c")


@given(st.binary(max_size=50), st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=6))
def test_walk_meets_every_node_once(key: bytes, names: set[str]) -> None:
    """Whatever their weights are."""
    assert sorted(HashRing(dict.fromkeys(names, 0.001)).walk(key)) == sorted(names)


def test_empty_ring_leads_nowhere() -> None:
    """There is nobody."""
    assert list(HashRing({}).walk(b"k")) == []


@pytest.mark.parametrize(
    ("in_flight", "share", "calls"), [(0, 1 / 3, 1), (3, 1 / 2, 3), (99, 1 / 4, 32), (99, 0.01, 2)]
)
def test_bound_is_a_quarter_above_the_share(in_flight: int, share: float, calls: int) -> None:
    """At least one call."""
    assert bound(in_flight=in_flight, share=share) == calls
