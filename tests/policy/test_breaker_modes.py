"""Who decides: the operator or the rules?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from phase1.policy.breaker import BreakerMode, BreakerState, Transition
from phase1.policy.classify import Verdict

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

S, F, T, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.NEUTRAL


def test_forced_off_rejects_everybody(bench: Bench) -> None:
    """The kill switch: whatever the rules think, nobody passes."""
    bench.breaker.force(BreakerMode.FORCED_OFF)
    assert not bench.breaker.admits()
    rejection = bench.rejected()
    assert rejection.retry_after > 0
    assert rejection.reason is BreakerMode.FORCED_OFF
    assert bench.breaker.state is BreakerState.DISABLED


def test_forced_off_does_not_probe(bench: Bench) -> None:
    """The open time may be over: the operator's word stands."""
    bench.half_open()
    bench.breaker.force(BreakerMode.FORCED_OFF)
    bench.wait(1000.0)
    bench.rejected()
    snapshot = bench.breaker.snapshot()
    assert (snapshot.state, snapshot.ramp, snapshot.until_in) == (BreakerState.DISABLED, 0.0, None)


def test_forced_on_admits_everybody(bench: Bench) -> None:
    """Disabled by the rules, on by the operator's word; nothing that happens then counts."""
    bench.disable()
    bench.breaker.force(BreakerMode.FORCED_ON)
    assert bench.breaker.admits(1.0)
    bench.end(*[F] * 30)
    snapshot = bench.breaker.snapshot()
    assert (snapshot.state, snapshot.ramp, snapshot.until_in) == (BreakerState.ACTIVE, 1.0, None)
    assert (snapshot.mode, snapshot.consecutive_failures) == (BreakerMode.FORCED_ON, 0)


@pytest.mark.parametrize("mode", [BreakerMode.FORCED_OFF, BreakerMode.FORCED_ON])
def test_back_to_automatic_goes_on_where_the_rules_were(bench: Bench, mode: BreakerMode) -> None:
    """Disabled before, disabled after, with the same end."""
    bench.disable()
    bench.breaker.force(mode)
    bench.wait(3.0)
    bench.breaker.force(BreakerMode.AUTOMATIC)
    assert bench.rejected().retry_after == pytest.approx(2.0)


def test_open_time_passes_while_forced(bench: Bench) -> None:
    """When the operator lets go after it, the next request is a probe."""
    bench.disable()
    bench.breaker.force(BreakerMode.FORCED_OFF)
    bench.wait(60.0)
    bench.breaker.force(BreakerMode.AUTOMATIC)
    assert bench.begin().probe


def test_probe_under_way_loses_its_lease_when_forced(bench: Bench) -> None:
    """Back in automatic the next request may probe at once, and the old one is not heard."""
    bench.half_open()
    old = bench.begin()
    bench.breaker.force(BreakerMode.FORCED_ON)
    bench.breaker.force(BreakerMode.AUTOMATIC)
    probe = bench.begin()
    assert probe.probe
    old.release(F)
    probe.release(S)
    assert bench.breaker.state is BreakerState.HALF_OPEN


def test_change_of_mode_makes_permits_stale(bench: Bench) -> None:
    """Failures that began before the operator acted do not count after it."""
    old = [bench.begin() for _ in range(3)]
    bench.breaker.force(BreakerMode.FORCED_OFF)
    bench.breaker.force(BreakerMode.AUTOMATIC)
    for permit in old:
        permit.release(F)
    assert bench.breaker.state is BreakerState.ACTIVE


def test_change_of_mode_is_told(bench: Bench) -> None:
    """From and to are what a request meets."""
    bench.breaker.force(BreakerMode.FORCED_OFF)
    bench.breaker.force(BreakerMode.AUTOMATIC)
    assert bench.told == [
        Transition(BreakerState.ACTIVE, BreakerState.DISABLED, 1, "forced_off", enforced=True),
        Transition(BreakerState.DISABLED, BreakerState.ACTIVE, 2, "automatic", enforced=True),
    ]


def test_same_mode_again_changes_nothing(bench: Bench) -> None:
    """A switch that is set twice is set once: the streak goes on."""
    bench.end(F, F)
    bench.breaker.force(BreakerMode.AUTOMATIC)
    assert bench.breaker.mode is BreakerMode.AUTOMATIC
    assert bench.told == []
    bench.end(F)
    assert bench.breaker.state is BreakerState.DISABLED


def test_observer_lets_everybody_pass(bench: Bench) -> None:
    """It says what it would have done, and does nothing."""
    bench.breaker.force(BreakerMode.OBSERVE_ONLY)
    bench.disable()
    assert bench.breaker.state is BreakerState.DISABLED
    assert bench.breaker.admits(1.0)
    bench.begin(1.0).release(F)
    assert bench.told[-1] == Transition(
        BreakerState.ACTIVE, BreakerState.DISABLED, 2, "consecutive_failures", enforced=False
    )


def test_observer_goes_the_whole_way_back(bench: Bench) -> None:
    """Probes, ramp and end are found as they would have been, from the requests that would have been admitted."""
    bench.breaker.force(BreakerMode.OBSERVE_ONLY)
    bench.half_open()
    probe, other = bench.begin(), bench.begin()
    assert (probe.probe, other.probe) == (True, False)
    other.release(F)
    probe.release(S)
    bench.end(S)
    assert bench.breaker.state is BreakerState.RAMPING
    for _ in range(5):
        bench.begin(share=0.9).release(F)
    bench.wait(60.0)
    bench.end(S)
    assert bench.reasons[-1] == "ramp_complete"
    assert not any(told.enforced for told in bench.told)


def test_reset_begins_anew(bench: Bench) -> None:
    """Active, nothing on record, the shortest open time, and old permits are not heard."""
    old = [bench.begin() for _ in range(3)]
    bench.half_open()
    bench.end(F)
    bench.breaker.reset()
    for permit in old:
        permit.release(F)
    assert bench.breaker.state is BreakerState.ACTIVE
    assert bench.told[-1] == Transition(BreakerState.DISABLED, BreakerState.ACTIVE, 3, "reset", enforced=True)
    bench.disable()
    assert bench.rejected().retry_after == pytest.approx(5.0)


def test_reset_leaves_the_mode_alone(bench: Bench) -> None:
    """The kill switch stays on until somebody turns it off."""
    bench.breaker.force(BreakerMode.FORCED_OFF)
    bench.breaker.reset()
    bench.rejected()
    assert bench.told[-1].to is BreakerState.DISABLED
