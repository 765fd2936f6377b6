"""Does the breaker get the six scenarios right that every breaker must get right?"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from phase1.policy.breaker import BreakerState, Permit, Rejection
from phase1.policy.classify import Kind, judge, outcome_of_status

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

FAIL = judge(Kind.SERVER_ERROR).pool
SUCCESS = judge(Kind.OK).pool
CANCEL = judge(Kind.CANCELLED).pool
A_4XX = judge(outcome_of_status(400).kind).pool


def cancel_inside(permit: Permit) -> None:
    """Leave the block as a task does whose caller went away."""
    with pytest.raises(asyncio.CancelledError), permit:
        raise asyncio.CancelledError


def test_three_client_cancels_while_closed_stays_closed(bench: Bench) -> None:
    """Callers that go away say nothing about the upstream."""
    for _ in range(3):
        cancel_inside(bench.begin())
    assert bench.breaker.state is BreakerState.ACTIVE
    assert bench.breaker.snapshot().consecutive_failures == 0


def test_fail_fail_cancel_fail_opens(bench: Bench) -> None:
    """A cancel between failures does not break the streak."""
    bench.end(FAIL, FAIL)
    cancel_inside(bench.begin())
    bench.end(FAIL)
    assert bench.breaker.state is BreakerState.DISABLED


def test_cancelled_probe_gives_no_verdict_and_the_next_one_may_probe(bench: Bench) -> None:
    """A probe whose caller goes away gives its lease back at once."""
    bench.half_open()
    cancel_inside(bench.begin())
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.begin().probe


def test_twenty_concurrent_calls_at_half_open_admit_one(bench: Bench) -> None:
    """Twenty threads ask at the same moment, and one of them is the probe."""
    bench.half_open()
    together = Barrier(20)

    def ask(_: int) -> Permit | Rejection:
        together.wait()
        return bench.breaker.acquire()

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    assert [answer.probe for answer in answers if isinstance(answer, Permit)] == [True]


def test_success_begun_before_the_trip_and_arriving_after_it_stays_open(bench: Bench) -> None:
    """What an old generation says changes nothing, neither while disabled nor while half-open."""
    early, later = bench.begin(), bench.begin()
    bench.disable()
    early.release(SUCCESS)
    assert bench.breaker.state is BreakerState.DISABLED
    bench.wait(5.0)
    later.release(SUCCESS)
    bench.end(SUCCESS)
    assert bench.breaker.state is BreakerState.HALF_OPEN


def test_fail_fail_4xx_fail_opens(bench: Bench) -> None:
    """A request that is the caller's fault does not break the streak."""
    bench.end(FAIL, FAIL, A_4XX, FAIL)
    assert bench.breaker.state is BreakerState.DISABLED


def test_4xx_as_probe_gives_no_verdict(bench: Bench) -> None:
    """A probe that is the caller's fault neither opens nor counts as one of the two successes."""
    bench.half_open()
    bench.end(SUCCESS, A_4XX)
    assert bench.breaker.state is BreakerState.HALF_OPEN
    bench.end(SUCCESS)
    assert bench.breaker.state is BreakerState.RAMPING
    assert CANCEL is A_4XX
