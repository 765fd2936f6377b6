"""May this be sent now, or when?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.bucket import TokenBucket


def bucket(capacity: float = 10.0, per_second: float = 2.0) -> TokenBucket:
    """Full at 0."""
    return TokenBucket(capacity=capacity, per_second=per_second, now=0.0)


def test_full_bucket_lets_a_burst_through() -> None:
    """As many as it holds, and not one more."""
    full = bucket()
    for _ in range(10):
        assert full.wait(1.0, 0.0) == 0.0
        full.take(1.0, 0.0)
    assert full.wait(1.0, 0.0) == 0.5
    assert repr(full) == "<TokenBucket 0/10 +2/s>"


def test_what_is_booked_ahead_is_served_in_order() -> None:
    """Each of those who wait has a moment of his own."""
    empty = bucket(capacity=1.0)
    waits = []
    for _ in range(5):
        waits.append(empty.wait(1.0, 0.0))
        empty.take(1.0, 0.0)
    assert waits == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_booking_that_is_given_back_is_there_for_others() -> None:
    """At most up to the capacity."""
    some = bucket()
    some.take(4.0, 0.0)
    some.give(3.0)
    assert some.level == 9.0
    some.give(3.0)
    assert some.level == 10.0


def test_request_larger_than_the_bucket_waits_for_a_full_one() -> None:
    """It could never be served otherwise."""
    some = bucket()
    some.take(4.0, 0.0)
    assert some.wait(25.0, 0.0) == 2.0
    assert some.wait(25.0, 2.0) == 0.0


def test_clock_that_goes_back_changes_nothing() -> None:
    """Neither more nor less."""
    some = bucket()
    some.take(10.0, 100.0)
    assert some.wait(1.0, 50.0) == 0.5


@given(st.floats(1, 100), st.floats(0.1, 100), st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20)), max_size=50))
def test_never_more_than_capacity_and_rate(
    capacity: float, per_second: float, calls: list[tuple[float, float]]
) -> None:
    """Whoever waits as he is told: in no stretch of time is more sent than the bucket and its refill hold."""
    some, now = bucket(capacity, per_second), 0.0
    sent: list[tuple[float, float]] = []
    for pause, amount in calls:
        now += pause
        amount = min(amount, capacity)  # noqa: PLW2901
        sent.append((now + some.wait(amount, now), amount))
        some.take(amount, now)
    for position, (start, _) in enumerate(sent):
        total = 0.0
        for at, amount in sent[position:]:
            total += amount
            assert total <= capacity + per_second * (at - start) + 1e-6 * (1 + total)


def test_rounding_keeps_nobody_waiting() -> None:
    """A wait that is over is over."""
    some = bucket(capacity=1.0, per_second=3.0)
    some.take(1.0, 0.1)
    assert some.wait(1.0, 0.1 + some.wait(1.0, 0.1)) == pytest.approx(0.0, abs=1e-12)
