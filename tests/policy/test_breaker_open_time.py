"""Does the pool stay off as long as its history deserves?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.backoff import OpenTime
from phase1.policy.classify import Verdict

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

S, F = Verdict.SUCCESS, Verdict.FAILURE


def open_times(bench: Bench, count: int) -> list[float]:
    """How long the pool stays off, opening after opening, with every probe failing."""
    bench.disable()
    times = [bench.rejected().retry_after]
    while len(times) < count:
        bench.wait(times[-1])
        bench.end(F)
        times.append(bench.rejected().retry_after)
    return times


def test_open_time_doubles_from_five_seconds_to_five_minutes(bench: Bench) -> None:
    """Failed probe after failed probe, and no further than the maximum."""
    assert open_times(bench, 9) == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300, 300])


def test_half_of_the_open_time_is_certain(bench: Bench) -> None:
    """Equal jitter: the unluckiest draw is half of the luckiest."""
    bench.luck = 0.0
    assert open_times(bench, 4) == pytest.approx([2.5, 5, 10, 20])


def test_first_success_does_not_reset_the_open_time(bench: Bench) -> None:
    """An upstream that flips gets longer and longer pauses."""
    bench.recover()
    bench.end(S)
    bench.disable()
    assert bench.rejected().retry_after == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("healthy", "seconds"), [(0, 40), (59, 40), (60, 20), (119, 20), (120, 10), (180, 5), (3600, 5)]
)
def test_exponent_falls_by_one_per_healthy_minute(bench: Bench, healthy: float, seconds: float) -> None:
    """After three openings and some minutes in ACTIVE the next one is shorter, minute for minute."""
    open_times(bench, 3)
    bench.wait(20.0)
    bench.end(S, S)
    bench.wait(60.0 + healthy)
    bench.disable()
    assert bench.rejected().retry_after == pytest.approx(seconds)


def test_minutes_of_the_ramp_are_not_healthy_minutes(make_bench: Callable[..., Bench]) -> None:
    """Only ACTIVE without an opening counts: one that opens from the ramp has earned nothing."""
    bench = make_bench(ramp_seconds=600.0)
    bench.ramp()
    bench.wait(599.0)
    bench.disable()
    assert bench.rejected().retry_after == pytest.approx(10.0)


def test_outage_of_hours_is_paid_off_in_minutes(bench: Bench) -> None:
    """The exponent stops where the maximum is reached: six healthy minutes later the first step is back."""
    times = open_times(bench, 40)
    bench.wait(times[-1])
    bench.end(S, S)
    bench.wait(60.0 + 6 * 60.0)
    bench.disable()
    assert bench.rejected().retry_after == pytest.approx(5.0)


@pytest.mark.parametrize(("base", "maximum"), [(0.0, 300.0), (-1.0, 300.0), (10.0, 5.0), (float("nan"), 300.0)])
def test_open_time_that_makes_no_sense_is_an_error(base: float, maximum: float) -> None:
    """It would be no pause at all."""
    with pytest.raises(ValueError, match="more than 0"):
        OpenTime(base=base, maximum=maximum, rng=lambda: 0.5)


def test_open_time_without_growth_is_allowed() -> None:
    """Base and maximum may be the same."""
    assert OpenTime(base=7.0, maximum=7.0, rng=lambda: 1.0).draw(100) == pytest.approx(7.0)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_open_time_is_always_between_half_the_base_and_the_maximum(exponent: int, luck: float) -> None:
    """However long the history is, nothing overflows."""
    seconds = OpenTime(base=5.0, maximum=300.0, rng=lambda: luck).draw(exponent)
    assert 2.5 <= seconds <= 300.0
