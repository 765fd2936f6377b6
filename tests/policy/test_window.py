"""Does the window forget in time, at the same cost for any number of requests?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.window import SuccessWindow


def filled(*moments: float, seconds: float = 60.0) -> SuccessWindow:
    """A window with one success at each moment."""
    window = SuccessWindow(seconds)
    for moment in moments:
        window.record(moment, success=True)
    return window


def test_empty_window_has_a_perfect_rate() -> None:
    """Nothing speaks against it."""
    assert (SuccessWindow(60.0).requests, SuccessWindow(60.0).success_rate) == (0, 1.0)


def test_rate_is_successes_per_request() -> None:
    """One of four."""
    window = filled(10.0)
    for _ in range(3):
        window.record(10.0, success=False)
    assert window.success_rate == pytest.approx(0.25)


@pytest.mark.parametrize(("later", "left"), [(0.0, 1), (59.0, 1), (60.0, 0), (61.0, 0), (1e9, 0)])
def test_request_leaves_after_sixty_seconds(later: float, left: int) -> None:
    """And not before."""
    window = filled(100.0)
    window.advance(100.0 + later)
    assert (window.requests, window.successes) == (left, left)


def test_width_follows_the_length_of_the_window() -> None:
    """Six seconds are sixty slots of a tenth."""
    window = filled(100.05, seconds=6.0)
    window.advance(105.9)
    assert window.requests == 1
    window.advance(106.06)
    assert window.requests == 0


def test_clock_that_goes_back_changes_nothing() -> None:
    """The request counts in the newest slot."""
    window = filled(100.0, 40.0)
    assert window.requests == 2
    window.advance(159.0)
    assert window.requests == 2


@given(st.lists(st.tuples(st.floats(0, 200), st.booleans()), max_size=60))
def test_totals_are_the_sum_of_what_was_recorded_lately(steps: list[tuple[float, bool]]) -> None:
    """Whatever the gaps are, running totals and a scan agree."""
    window = SuccessWindow(60.0)
    now, history = 0.0, []
    for passed, success in steps:
        now += passed
        window.record(now, success=success)
        history.append((now, success))
        recent = [good for at, good in history if at // 1 > now // 1 - 60]
        assert (window.requests, window.successes) == (len(recent), sum(recent))
