"""Do several rounds sum up to what a reader expects?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Spread, ratios, short, spread


def test_nothing_measured_has_no_spread() -> None:
    """No rounds, no figure: not a zero."""
    assert spread([]) is None


def test_spread_is_median_and_extremes() -> None:
    """The order of the rounds does not matter."""
    assert spread([3.0, 1.0, 2.0, 10.0]) == Spread(median=2.5, lowest=1.0, highest=10.0, rounds=4)


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_median_lies_between_the_extremes(values: list[float]) -> None:
    """Whatever was measured."""
    found = spread(values)
    assert found is not None
    assert found.lowest <= found.median <= found.highest


def test_one_round_shows_no_spread() -> None:
    """There is none to show."""
    assert str(spread([0.05])) == "0.05"


def test_several_rounds_show_their_extremes() -> None:
    """Median first."""
    assert str(spread([0.04, 0.06, 0.05])) == "0.05 (0.04–0.06)"


@pytest.mark.parametrize(
    ("value", "text"), [(0.05123, "0.0512"), (1.2149, "1.21"), (99.96, "100"), (1215.4, "1,215"), (0.0, "0")]
)
def test_short_keeps_three_digits(value: float, text: str) -> None:
    """As many as mean something."""
    assert short(value) == text


def test_ratios_pair_the_rounds() -> None:
    """A round is compared with the same round."""
    assert ratios([1.0, 4.0], [2.0, 2.0]) == [0.5, 2.0]


def test_ratios_leave_out_rounds_that_one_side_lacks() -> None:
    """The one that was measured less often decides."""
    assert ratios([1.0, 4.0, 9.0], [2.0]) == [0.5]
    assert ratios([1.0], []) == []


def test_ratios_divide_by_nothing_never() -> None:
    """A clock too coarse for what it timed gives no ratio."""
    assert ratios([1.0, 1.0], [0.0, 2.0]) == [0.5]
