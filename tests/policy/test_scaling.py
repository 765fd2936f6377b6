"""How many clients does a node need?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.scaling import Scaler


@pytest.mark.parametrize(
    ("current", "utilisation", "wanted"),
    [(4, 0.7, 4), (4, 0.76, 4), (4, 0.63, 4), (4, 0.9, 6), (4, 2.0, 8), (5, 1.0, 8), (1, 0.9, 2), (10, 9.0, 20)],
)
def test_upwards_at_once(current: int, utilisation: float, wanted: int) -> None:
    """By the load, not within a tenth of the target, at most twice as many."""
    assert Scaler(maximum=100).decide(0.0, current=current, utilisation=utilisation) == wanted


def test_bounds_are_kept() -> None:
    """Neither more than the maximum nor fewer than the minimum."""
    scaler = Scaler(maximum=5)
    assert scaler.decide(0.0, current=4, utilisation=5.0) == 5
    idle = Scaler(minimum=2, maximum=5)
    assert idle.decide(0.0, current=5, utilisation=0.0) == 2


def test_downwards_only_after_five_quiet_minutes() -> None:
    """To the highest that was recommended in them."""
    scaler = Scaler(maximum=20)
    assert scaler.decide(0.0, current=10, utilisation=0.7) == 10
    assert scaler.decide(15.0, current=10, utilisation=0.35) == 10
    assert scaler.decide(150.0, current=10, utilisation=0.0) == 10
    assert scaler.decide(299.0, current=10, utilisation=0.0) == 10
    assert scaler.decide(300.0, current=10, utilisation=0.0) == 5
    assert scaler.decide(451.0, current=5, utilisation=0.0) == 1


def test_frozen_pool_stays() -> None:
    """And the time counts for nothing."""
    scaler = Scaler(maximum=20)
    assert scaler.decide(0.0, current=4, utilisation=5.0, frozen=True) == 4
    assert scaler.decide(1.0, current=4, utilisation=0.0, frozen=True) == 4


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 200), st.floats(0, 10), st.booleans()), max_size=40))
def test_laws_of_scaling(maximum: int, steps: list[tuple[float, float, bool]]) -> None:
    """Within the bounds, at most twice as many in one step."""
    scaler, now, current = Scaler(maximum=maximum), 0.0, 1
    for pause, utilisation, frozen in steps:
        now += pause
        after = scaler.decide(now, current=current, utilisation=utilisation, frozen=frozen)
        assert 1 <= after <= min(maximum, 2 * current)
        assert not frozen or after == current
        current = after
