"""Does a breaker act with those of other workers: open together, one prober, back together?"""

from __future__ import annotations

from phase1.policy.breaker import BreakerMode, BreakerState, Permit, Rejection
from phase1.policy.classify import Verdict

from .conftest import Bench

LATE = 0.99


def test_opens_with_others(bench: Bench) -> None:
    """For as long as they say; what is under way here no longer counts."""
    permit = bench.breaker.acquire()
    assert isinstance(permit, Permit)
    bench.breaker.open_with_others(4.0)
    assert bench.breaker.state is BreakerState.DISABLED
    permit.release(Verdict.SUCCESS)
    bench.wait(3.9)
    assert bench.breaker.state is BreakerState.DISABLED
    bench.wait(0.2)
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.reasons == ["opened_elsewhere"]


def test_latest_end_counts(bench: Bench) -> None:
    """Of its own opening and another one's, in either order."""
    bench.end(Verdict.FAILURE, Verdict.FAILURE, Verdict.FAILURE)
    bench.breaker.open_with_others(0.5)
    bench.wait(0.6)
    assert bench.breaker.state is BreakerState.DISABLED
    bench.breaker.open_with_others(100.0)
    bench.wait(99.0)
    assert bench.breaker.state is BreakerState.DISABLED
    bench.wait(1.1)
    assert bench.breaker.state is BreakerState.HALF_OPEN


def test_waits_while_another_probes(bench: Bench) -> None:
    """Half open, but not for this one: a rejection that says when to look again."""
    bench.breaker.leave_probes(allowed=False)
    bench.half_open()
    refused = bench.breaker.acquire()
    assert refused == Rejection(1.0, BreakerState.HALF_OPEN)
    assert not bench.breaker.admits()
    bench.breaker.leave_probes(allowed=True)
    assert not bench.breaker.probing
    probe = bench.breaker.acquire()
    assert isinstance(probe, Permit)
    assert probe.probe
    assert bench.breaker.probing


def test_comes_back_with_others(bench: Bench) -> None:
    """By the ramp, whether it still waits for the end of the open time or is half open."""
    bench.breaker.leave_probes(allowed=False)
    bench.end(Verdict.FAILURE, Verdict.FAILURE, Verdict.FAILURE)
    bench.breaker.ramp_with_others()
    assert bench.breaker.state is BreakerState.RAMPING
    assert not bench.breaker.admits(LATE)
    bench.breaker.ramp_with_others()
    bench.wait(60.0)
    bench.breaker.ramp_with_others()
    assert bench.breaker.state is BreakerState.ACTIVE
    assert bench.reasons == ["consecutive_failures", "probed_elsewhere", "ramp_complete"]


def test_forced_breaker_hears_nobody(bench: Bench) -> None:
    """An operator decides."""
    bench.breaker.force(BreakerMode.FORCED_ON)
    bench.breaker.open_with_others(10.0)
    assert bench.breaker.state is BreakerState.ACTIVE
    bench.breaker.force(BreakerMode.AUTOMATIC)
    assert bench.breaker.state is BreakerState.ACTIVE
    bench.end(Verdict.FAILURE, Verdict.FAILURE, Verdict.FAILURE)
    bench.breaker.force(BreakerMode.FORCED_OFF)
    bench.breaker.ramp_with_others()
    bench.breaker.force(BreakerMode.AUTOMATIC)
    assert bench.breaker.state is BreakerState.DISABLED
