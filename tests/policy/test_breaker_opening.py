"""When does the breaker switch the pool off, and when does it leave it alone?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.breaker import BreakerState, Permit, PoolBreaker, Transition
from phase1.policy.classify import Verdict
from phase1.policy.tripwire import Tripwire

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

S, F, T, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.NEUTRAL


def test_new_breaker_lets_everybody_pass(bench: Bench) -> None:
    """Whatever the position: an active breaker admits it."""
    assert all(bench.breaker.admits(share) for share in (0.0, 0.5, 1.0))
    assert not bench.begin(1.0).probe


def test_three_failures_in_a_row_disable_the_pool(bench: Bench) -> None:
    """The third failure switches off, tells why, and starts a generation."""
    bench.disable()
    assert bench.told == [
        Transition(BreakerState.ACTIVE, BreakerState.DISABLED, 1, "consecutive_failures", enforced=True)
    ]
    assert bench.breaker.generation == 1


@pytest.mark.parametrize("verdicts", [(F, F), (F, F, S, F, F), (F, F, S), (N, N, N, N), (T, T, T, T), (F, T, F, N)])
def test_fewer_failures_in_a_row_leave_the_pool_alone(bench: Bench, verdicts: tuple[Verdict, ...]) -> None:
    """A success in between starts the count anew; others do not count as failures."""
    bench.end(*verdicts)
    assert bench.breaker.state is BreakerState.ACTIVE
    assert bench.told == []


@pytest.mark.parametrize("between", [T, N])
def test_what_is_neither_success_nor_failure_keeps_the_streak(bench: Bench, between: Verdict) -> None:
    """THROTTLED and NEUTRAL neither advance nor reset the count."""
    bench.end(F, between, F, between)
    assert bench.breaker.snapshot().consecutive_failures == 2
    bench.end(F)
    assert bench.breaker.state is BreakerState.DISABLED


@pytest.mark.parametrize("threshold", [1, 2, 7])
def test_threshold_is_what_was_set(make_bench: Callable[..., Bench], threshold: int) -> None:
    """`failure_threshold` failures are needed, and not one less."""
    bench = make_bench(failure_threshold=threshold)
    bench.end(*[F] * (threshold - 1))
    assert bench.breaker.state is BreakerState.ACTIVE
    bench.end(F)
    assert bench.breaker.state is BreakerState.DISABLED


def test_threshold_below_one_is_an_error(make_bench: Callable[..., Bench]) -> None:
    """A breaker that opens without a failure is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        make_bench(failure_threshold=0)


def test_poor_success_rate_disables_the_pool(bench: Bench) -> None:
    """Nine successes among twenty requests are under 50 %, without three failures in a row."""
    bench.end(*[F, S] * 9, F)
    assert bench.breaker.state is BreakerState.ACTIVE
    bench.end(F)
    assert bench.reasons == ["success_rate"]


def test_half_success_leaves_the_pool_alone(bench: Bench) -> None:
    """Exactly 50 % is not under 50 %."""
    bench.end(*[S, F] * 50)
    assert bench.breaker.state is BreakerState.ACTIVE


def test_poor_rate_of_few_requests_leaves_the_pool_alone(bench: Bench) -> None:
    """Nineteen requests are no statistics."""
    bench.end(*[F, T, S, T] * 4, F, T, T)
    assert bench.breaker.snapshot().window_requests == 19
    assert bench.breaker.state is BreakerState.ACTIVE


def test_throttled_counts_in_the_rate(bench: Bench) -> None:
    """Twenty requests that were all throttled disable the pool, though none of them failed."""
    bench.end(*[T] * 20)
    assert bench.reasons == ["success_rate"]


def test_neutral_does_not_count_in_the_rate(bench: Bench) -> None:
    """Any number of cancelled requests is nothing."""
    bench.end(*[N] * 100)
    assert bench.breaker.snapshot().window_requests == 0
    assert bench.breaker.snapshot().window_success_rate == 1.0


def test_success_never_disables(bench: Bench) -> None:
    """The 20th request of a poor window is a success: the next failure disables, not this one."""
    bench.end(*[F, F, S] * 6, F)
    bench.end(S)
    assert bench.breaker.state is BreakerState.ACTIVE
    bench.end(F)
    assert bench.reasons == ["success_rate"]


def test_old_requests_leave_the_rate(bench: Bench) -> None:
    """What was a minute ago does not count any more."""
    bench.end(*[T] * 19)
    bench.wait(60.0)
    bench.end(T)
    assert bench.breaker.state is BreakerState.ACTIVE
    assert bench.breaker.snapshot().window_requests == 1


def test_old_requests_leave_the_picture(bench: Bench) -> None:
    """Also when no new ones come."""
    bench.end(S, T)
    assert bench.breaker.snapshot().window_requests == 2
    bench.wait(60.0)
    assert bench.breaker.snapshot().window_requests == 0


def test_recent_requests_stay_in_the_rate(bench: Bench) -> None:
    """What was 58 seconds ago still counts."""
    bench.end(*[T] * 19)
    bench.wait(58.0)
    bench.end(T)
    assert bench.breaker.state is BreakerState.DISABLED


def test_disabled_pool_rejects_and_says_when_to_come_back(bench: Bench) -> None:
    """The rejection carries the rest of the open time, and asking is free."""
    bench.disable()
    bench.wait(2.0)
    assert not bench.breaker.admits()
    assert bench.rejected().retry_after == pytest.approx(3.0)
    assert bench.rejected().reason is BreakerState.DISABLED
    assert bench.breaker.snapshot().until_in == pytest.approx(3.0)


def test_old_generation_changes_nothing(bench: Bench) -> None:
    """Failures that began before the opening and end in the ramp do not reopen."""
    old = [bench.begin() for _ in range(3)]
    bench.ramp()
    before = bench.breaker.snapshot()
    for permit in old:
        permit.release(F)
    assert bench.breaker.snapshot() == before


def test_listener_is_called_outside_the_lock() -> None:
    """Another thread gets an answer while the listener still listens, and what was told is already true."""
    with ThreadPoolExecutor(1) as thread:
        seen = []

        def listen(told: Transition) -> None:
            seen.append((told.to, thread.submit(breaker.snapshot).result(timeout=10).state))

        breaker = PoolBreaker(failure_threshold=1, clock=lambda: 0.0, on_transition=listen)
        permit = breaker.acquire()
        assert isinstance(permit, Permit)
        permit.release(F)
    assert seen == [(BreakerState.DISABLED, BreakerState.DISABLED)]


def test_breaker_without_listener_works() -> None:
    """Nobody needs to listen."""
    breaker = PoolBreaker(failure_threshold=1)
    permit = breaker.acquire()
    assert isinstance(permit, Permit)
    permit.release(F)
    assert breaker.state is BreakerState.DISABLED


def test_release_in_the_middle_of_another_does_not_deadlock(bench: Bench) -> None:
    """The garbage collector closes a generator that holds a permit while the breaker works: both get through."""
    left_over = bench.begin()
    breaker = PoolBreaker(clock=lambda: (left_over.release(N), 1.0)[1])
    inner = breaker.acquire()
    assert isinstance(inner, Permit)
    left_over = inner
    assert breaker.snapshot().consecutive_failures == 0
    assert inner.released


def test_repr_tells_live_state(bench: Bench) -> None:
    """State, mode, generation and streak at one glance."""
    bench.end(F)
    assert repr(bench.breaker) == "<PoolBreaker active, automatic, generation=0, failures=1>"
    bench.end(F, F)
    assert repr(bench.breaker).startswith("<PoolBreaker disabled, automatic, generation=1")


EVENTS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 1.0, 5.0, 29.0, 61.0]), st.sampled_from([S, S, F, T, N])), max_size=120
)


def naive_reason(events: list[tuple[float, Verdict]]) -> str | None:
    """The two rules, written down as a scan over the whole history, after its last event."""
    streak = 0
    for _, verdict in events:
        streak = {S: 0, F: streak + 1}.get(verdict, streak)
    now, last = events[-1]
    recent = [verdict for at, verdict in events if verdict is not N and int(at) > int(now) - 60]
    if last in {S, N}:
        return None
    if streak >= 3:
        return "consecutive_failures"
    return "success_rate" if len(recent) >= 20 and recent.count(S) / len(recent) < 0.5 else None


@given(EVENTS)
def test_tripwire_agrees_with_a_scan_of_the_whole_history(events: list[tuple[float, Verdict]]) -> None:
    """The ring of buckets and the running totals decide as a naive scan does, request for request."""
    tripwire = Tripwire(failures=3, window=60.0, min_requests=20, min_success=0.5)
    history: list[tuple[float, Verdict]] = []
    now = 1000.0
    for passed, verdict in events:
        now += passed
        history.append((now, verdict))
        reason = tripwire.count(verdict, now)
        assert reason == naive_reason(history)
        if reason:
            break
