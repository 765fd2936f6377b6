"""Does exactly one probe at a time decide whether the pool comes back?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from phase1.policy.breaker import BreakerState
from phase1.policy.classify import Verdict

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

S, F, T, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.NEUTRAL


def test_first_request_after_the_open_time_is_a_probe(bench: Bench) -> None:
    """One moment earlier it is rejected; then it takes the lease."""
    bench.disable()
    bench.wait(4.999)
    bench.rejected()
    bench.wait(0.001)
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.begin(share=0.99).probe


def test_looking_does_not_take_the_lease(bench: Bench) -> None:
    """`admits` may be asked any number of times, and changes nothing that anybody can see."""
    bench.half_open()
    assert all(bench.breaker.admits() for _ in range(5))
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.reasons == ["consecutive_failures"]
    assert bench.begin().probe


def test_others_are_rejected_while_a_probe_is_under_way(bench: Bench) -> None:
    """They are told to come back when the lease has run out at the latest."""
    bench.half_open()
    bench.begin()
    bench.wait(10.0)
    assert not bench.breaker.admits()
    rejection = bench.rejected()
    assert rejection.retry_after == pytest.approx(20.0)
    assert rejection.reason is BreakerState.HALF_OPEN


def test_one_success_is_not_enough(bench: Bench) -> None:
    """The breaker stays half-open, and the next request probes."""
    bench.half_open()
    bench.end(S)
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.begin().probe


def test_two_successes_start_the_ramp(bench: Bench) -> None:
    """Two probes, one after the other."""
    bench.ramp()
    assert bench.breaker.state is BreakerState.RAMPING
    assert bench.reasons == ["consecutive_failures", "open_time_over", "probes_succeeded"]


def test_number_of_probes_is_what_was_set(make_bench: Callable[..., Bench]) -> None:
    """`probe_successes=3` needs a third one."""
    bench = make_bench(probe_successes=3)
    bench.ramp()
    assert bench.breaker.state is BreakerState.HALF_OPEN
    bench.end(S)
    assert bench.breaker.state is BreakerState.RAMPING


@pytest.mark.parametrize("verdict", [F, T])
def test_failed_or_throttled_probe_disables_again(bench: Bench, verdict: Verdict) -> None:
    """A success before it does not help; the next open time is longer."""
    bench.half_open()
    bench.end(S, verdict)
    assert bench.breaker.state is BreakerState.DISABLED
    assert bench.breaker.generation == 2
    assert bench.rejected().retry_after == pytest.approx(10.0)
    assert bench.reasons[-1] == "probe_failed"


def test_success_before_a_failed_probe_is_forgotten(bench: Bench) -> None:
    """After the next open time two successes are needed anew."""
    bench.half_open()
    bench.end(S, F)
    bench.wait(10.0)
    bench.end(S)
    assert bench.breaker.state is BreakerState.HALF_OPEN


def test_success_before_a_neutral_probe_is_kept(bench: Bench) -> None:
    """Success, cancel, success: the ramp starts."""
    bench.half_open()
    bench.end(S, N, N, S)
    assert bench.breaker.state is BreakerState.RAMPING


@pytest.mark.parametrize("verdict", [S, N])
def test_lease_that_was_given_back_does_not_run_out(bench: Bench, verdict: Verdict) -> None:
    """Without a probe under way the breaker waits half-open for the next request, however long it takes."""
    bench.half_open()
    bench.end(verdict)
    bench.wait(31.0)
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.begin().probe


def test_lease_that_runs_out_is_a_failed_probe(bench: Bench) -> None:
    """A probe that never ends disables again, from the moment its lease ran out."""
    bench.half_open()
    bench.begin()
    bench.wait(32.0)
    assert bench.breaker.state is BreakerState.DISABLED
    assert bench.breaker.generation == 2
    assert bench.rejected().retry_after == pytest.approx(8.0)
    assert bench.reasons[-1] == "probe_expired"


@pytest.mark.parametrize("late", list(Verdict))
def test_late_verdict_of_a_probe_that_ran_out_is_ignored(bench: Bench, late: Verdict) -> None:
    """Whatever it says, neither the pause nor the next probe cares."""
    bench.half_open()
    old = bench.begin()
    bench.wait(40.0)
    probe = bench.begin()
    before = bench.breaker.snapshot()
    old.release(late)
    assert bench.breaker.snapshot() == before
    bench.rejected()
    probe.release(S)
    assert bench.begin().probe


def test_verdict_at_the_last_moment_of_the_lease_counts(bench: Bench) -> None:
    """29.999 s after its start a probe may still succeed; at 30 s it is too late."""
    bench.half_open()
    in_time = bench.begin()
    bench.wait(29.999)
    in_time.release(S)
    too_late = bench.begin()
    bench.wait(30.0)
    too_late.release(S)
    assert bench.breaker.state is BreakerState.DISABLED


def test_readers_agree_before_and_after_time_is_written_down(bench: Bench) -> None:
    """What is derived by looking is what the next `acquire` finds, to the digit."""
    bench.half_open()
    bench.begin()
    bench.wait(31.0)
    looked = (bench.breaker.state, bench.breaker.generation, bench.breaker.admits())
    snapshot = bench.breaker.snapshot()
    assert looked == (snapshot.state, snapshot.generation, False)
    assert snapshot.until_in == pytest.approx(bench.rejected().retry_after)


def test_half_open_shows_no_ramp_and_no_open_time(bench: Bench) -> None:
    """Nobody passes but the probe."""
    bench.half_open()
    snapshot = bench.breaker.snapshot()
    assert (snapshot.state, snapshot.ramp, snapshot.until_in) == (BreakerState.HALF_OPEN, 0.0, None)


def test_healthy_upstream_is_fully_back_after_open_time_probes_and_ramp(bench: Bench) -> None:
    """Liveness: with two probes of one second each the pool is active 5 + 2 + 60 seconds after it was disabled."""
    bench.disable()
    start = bench.now
    bench.wait(5.0)
    for _ in range(2):
        probe = bench.begin()
        bench.wait(1.0)
        probe.release(S)
    while bench.breaker.state is not BreakerState.ACTIVE:
        bench.wait(1.0)
    assert bench.now - start == pytest.approx(67.0)
