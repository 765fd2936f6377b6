"""Do the keys come back gradually, the same ones first?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from phase1.policy.breaker import BreakerState
from phase1.policy.classify import Verdict

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

S, F, T, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.NEUTRAL
SHARES = [number / 1000 for number in range(1000)]


def admitted(bench: Bench) -> set[float]:
    """The positions that may pass now."""
    return {share for share in SHARES if bench.breaker.admits(share)}


@pytest.mark.parametrize(("seconds", "ramp"), [(0.0, 0.1), (15.0, 0.325), (30.0, 0.55), (45.0, 0.775), (59.9, 0.9985)])
def test_ramp_is_linear_from_ten_to_hundred_percent(bench: Bench, seconds: float, ramp: float) -> None:
    """What is shown is what is admitted."""
    bench.ramp()
    bench.wait(seconds)
    assert bench.breaker.snapshot().ramp == pytest.approx(ramp)
    assert len(admitted(bench)) / 1000 == pytest.approx(ramp, abs=0.002)


def test_positions_that_were_admitted_stay_admitted(bench: Bench) -> None:
    """The ramp is nested: a user who came back is not sent away again."""
    bench.ramp()
    before = admitted(bench)
    for _ in range(61):
        bench.wait(1.0)
        assert before <= admitted(bench)
        before = admitted(bench)
    assert len(before) == 1000


def test_after_the_ramp_everybody_may_pass(bench: Bench) -> None:
    """Time alone makes it active, and the next look at it tells so."""
    bench.recover()
    assert bench.breaker.state is BreakerState.ACTIVE
    assert bench.breaker.admits(1.0)
    assert bench.breaker.snapshot().ramp == 1.0
    assert bench.reasons[-1] == "ramp_complete"


@pytest.mark.parametrize("share", [0.1, 0.33, 0.5, 0.999, 1.0, 2.0])
def test_rejection_says_when_the_ramp_will_have_reached_the_position(bench: Bench, share: float) -> None:
    """A moment before that it is rejected, a moment after it is admitted."""
    bench.ramp()
    wait = bench.rejected(share).retry_after
    assert 0.0 < wait <= 60.0
    bench.wait(wait - 0.0011)
    assert bench.rejected(share).reason is BreakerState.RAMPING
    bench.wait(0.0022)
    bench.begin(share)


def test_ramp_that_starts_full_admits_everybody_at_once(make_bench: Callable[..., Bench]) -> None:
    """`ramp_start=1` means no ramp for any position below 1."""
    bench = make_bench(ramp_start=1.0)
    bench.ramp()
    bench.begin(0.999)
    assert bench.rejected(1.0).retry_after == pytest.approx(60.0)


def test_three_failures_in_a_row_while_ramping_disable_again(bench: Bench) -> None:
    """The rules of ACTIVE hold, and the next open time is longer."""
    bench.ramp()
    bench.end(F, F, N, F)
    assert bench.breaker.state is BreakerState.DISABLED
    assert bench.rejected().retry_after == pytest.approx(10.0)


def test_single_failure_while_ramping_leaves_the_ramp_alone(bench: Bench) -> None:
    """One failure among successes is everyday life."""
    bench.ramp()
    bench.end(F, S, F, T, S)
    bench.wait(30.0)
    assert bench.breaker.snapshot().ramp == pytest.approx(0.55)


def test_poor_rate_while_ramping_disables_again(bench: Bench) -> None:
    """Twenty throttled requests in the ramp are too many, too."""
    bench.ramp()
    bench.end(*[T] * 20)
    assert bench.reasons[-1] == "success_rate"


def test_failures_before_the_opening_do_not_count_in_the_ramp(bench: Bench) -> None:
    """The streak and the window that opened the breaker are forgotten."""
    bench.end(*[T] * 16)
    bench.ramp()
    bench.end(F, F, T)
    assert bench.breaker.state is BreakerState.RAMPING
    assert bench.breaker.snapshot().window_requests == 3


def test_request_begun_in_the_ramp_counts_in_active(bench: Bench) -> None:
    """No generation begins with ACTIVE: a failure is a failure."""
    bench.ramp()
    late = [bench.begin() for _ in range(3)]
    bench.wait(61.0)
    for permit in late:
        permit.release(F)
    assert bench.breaker.state is BreakerState.DISABLED
    assert bench.reasons[-2:] == ["ramp_complete", "consecutive_failures"]
