"""How long does a node take to answer?"""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.latency import PeakEwma


def test_nothing_is_known_at_first() -> None:
    """And nothing is expected."""
    fresh = PeakEwma()
    assert (fresh.known, fresh.value(100.0)) == (False, 0.0)


def test_peak_counts_at_once() -> None:
    """In full."""
    seen = PeakEwma()
    seen.observe(0.2, 0.0)
    seen.observe(3.0, 1.0)
    assert (seen.known, seen.value(1.0)) == (True, 3.0)


def test_peak_is_forgotten_within_its_time_constant() -> None:
    """Ten seconds of better answers leave a third of it."""
    seen = PeakEwma()
    seen.observe(3.0, 0.0)
    seen.observe(0.2, 10.0)
    assert seen.value(10.0) == pytest.approx(3.0 * exp(-1) + 0.2 * (1 - exp(-1)))


def test_node_that_nobody_asks_is_forgotten_too() -> None:
    """So somebody asks again."""
    seen = PeakEwma()
    seen.observe(3.0, 0.0)
    assert seen.value(10.0) == pytest.approx(3.0 * exp(-1))
    assert seen.value(-5.0) == 3.0, "a clock that goes back changes nothing"


@pytest.mark.parametrize(
    ("known", "retry_after", "value"), [(0.1, None, 5.0), (0.1, 60.0, 60.0), (0.1, 9999.0, 300.0), (20.0, 3.0, 20.0)]
)
def test_failing_fast_is_not_being_fast(known: float, retry_after: float | None, value: float) -> None:
    """Five seconds, or what it asks for, or what is known if that is more."""
    seen = PeakEwma()
    seen.observe(known, 0.0)
    seen.failed(0.0, retry_after=retry_after)
    assert seen.value(0.0) == value


def test_node_that_only_fails_is_known() -> None:
    """It is not probed like an unknown one."""
    seen = PeakEwma()
    seen.failed(0.0)
    assert (seen.known, seen.value(0.0)) == (True, 5.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), min_size=1, max_size=30))
def test_value_lies_between_what_was_seen(samples: list[tuple[float, float]]) -> None:
    """Never above the longest, never below 0."""
    seen, now = PeakEwma(), 0.0
    for seconds, pause in samples:
        now += pause
        seen.observe(seconds, now)
        assert 0.0 <= seen.value(now) <= max(seconds for seconds, _ in samples) * (1 + 1e-9)
        assert seen.value(now + 1.0) <= seen.value(now)
