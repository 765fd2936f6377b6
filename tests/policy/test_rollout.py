"""Does the controller raise only what may rise, lower at once, and never take back a verdict?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phase1.policy.breaker import BreakerMode
from phase1.policy.rollout import LIVE, OVER, Desired, Look, RolloutPhase, decide
from phase1.policy.rollout_acts import NotAllowed, act, force_breaker, kill, new_epoch, set_percent
from phase1.policy.rollout_arms import ArmSums, Block
from phase1.policy.rollout_guard import Evidence
from phase1.policy.rollout_plan import DAY, WEEKS, Metric, Plan, Step
from phase1.policy.rollout_watch import Watch

P = RolloutPhase
PLAN = Plan(
    steps=(
        Step(percent=1, min_duration=100, min_samples=10),
        Step(percent=10, min_duration=100, min_samples=10, approval=True),
        Step(percent=50, min_duration=100, max_duration=500),
        Step(percent=100),
    ),
    interval=60,
    max_tokens=1000,
)
AT_ONE = Desired(generation=5, percent=1, phase=P.PROGRESSING, run=1)


def found(calls: int = 100, *, worse: float = 0.0, not_worse: float = 9.0, **sums: int) -> Evidence:
    """What is known: by default enough for a promotion."""
    return Evidence(
        ArmSums(calls=calls, **sums),
        ArmSums(calls=calls),
        {Metric.FAILED: worse},
        {Metric.FAILED: not_worse},
        threshold=5.0,
    )


def look(evidence: Evidence | None = None, **changes: Any) -> Look:  # noqa: ANN401
    """One at which everything is fine and every gate is open."""
    return Look(**{"evidence": evidence or found(), "elapsed": 200.0, "waited": 200.0, "risen": 200.0, **changes})


def test_everything_fine_is_one_step_up() -> None:
    """And no more than one."""
    decision = decide(AT_ONE, PLAN, look())
    assert decision.desired == replace(AT_ONE, generation=6, percent=10)
    assert decision.reason == "step 1 % is passed"
    assert not decision.holding


@pytest.mark.parametrize(
    ("changes", "reason", "holding"),
    [
        ({"elapsed": 99.0}, "its time is not over", False),
        ({"risen": 59.0}, "its time is not over", False),
        ({"evidence": found(9)}, "fewer than 10 calls of each arm", False),
        ({"evidence": found(not_worse=4.9)}, "the evidence does not suffice yet", False),
        ({"breaker_open": True}, "the breaker is not active", True),
        ({"silent": True}, "no traffic in one of the arms", True),
        ({"lopsided": True}, "canary and control are not heard of in the proportion that was drawn", True),
        ({"evidence": found(throttled=20)}, "20% of the canary's calls end with a 429", True),
        ({"evidence": found(tokens=200_000)}, "a call of the canary costs 2000 tokens", True),
    ],
)
def test_gate_keeps_the_percent(changes: dict[str, Any], reason: str, holding: bool) -> None:  # noqa: FBT001
    """Nothing is written, and the reason can be read."""
    decision = decide(AT_ONE, PLAN, look(**changes))
    assert (decision.desired, decision.reason, decision.holding) == (AT_ONE, reason, holding)


def test_kill_switch_holds() -> None:
    """Nobody is in the canary: there is nothing to learn."""
    killed = replace(AT_ONE, kill=True)
    assert decide(killed, PLAN, look()).desired == killed
    assert decide(killed, PLAN, look()).holding


def test_step_that_waits_for_approval_waits() -> None:
    """Until an operator promotes it."""
    waiting = replace(AT_ONE, percent=10)
    assert decide(waiting, PLAN, look()).reason.startswith("it waits for approval")
    assert act("promote", waiting, PLAN, risen=60.0).percent == 50


@pytest.mark.parametrize("changes", [{"evidence": found(not_worse=0)}, {"silent": True}, {"breaker_open": True}])
def test_step_that_takes_too_long_is_inconclusive(changes: dict[str, Any]) -> None:
    """And pauses, whatever it was that kept it."""
    at_fifty = replace(AT_ONE, percent=50)
    assert decide(at_fifty, PLAN, look(waited=499.0, **changes)).desired == at_fifty
    decision = decide(at_fifty, PLAN, look(waited=500.0, **changes))
    assert (decision.desired.phase, decision.desired.percent) == (P.INCONCLUSIVE, 50)
    assert "has taken too long" in decision.reason


def test_last_step_promotes() -> None:
    """At 100 % there is no control any more, so it is done."""
    done = decide(replace(AT_ONE, percent=50), PLAN, look()).desired
    assert (done.percent, done.phase) == (100, P.PROMOTED)


def test_plan_that_ends_below_hundred_stays_there() -> None:
    """Promoted, and the control goes on."""
    plan = Plan(steps=(Step(percent=0, min_duration=10), Step(percent=5)))
    first = Desired(percent=0, phase=P.PROGRESSING)
    second = decide(first, plan, look(Evidence())).desired
    assert (second.percent, second.phase) == (5, P.PROGRESSING)
    done = decide(second, plan, look()).desired
    assert (done.percent, done.phase) == (5, P.PROMOTED)


def test_percent_that_the_plan_does_not_know_holds() -> None:
    """The file was changed meanwhile."""
    odd = replace(AT_ONE, percent=7)
    assert decide(odd, PLAN, look()).reason == "the plan has no step of 7 %"
    assert decide(replace(odd, percent=None), PLAN, look()).desired.percent is None


@pytest.mark.parametrize("phase", sorted(LIVE))
@pytest.mark.parametrize("percent", [1, 7, 10, 50])
@pytest.mark.parametrize("circumstances", [{}, {"breaker_open": True}, {"silent": True}, {"waited": 1e9}])
@pytest.mark.parametrize("killed", [False, True])
def test_roll_back_is_reachable_from_every_phase(
    phase: RolloutPhase,
    percent: float,
    circumstances: dict[str, Any],
    killed: bool,  # noqa: FBT001
) -> None:
    """It is looked at first."""
    before = replace(AT_ONE, phase=phase, percent=percent, kill=killed)
    decision = decide(before, PLAN, look(found(worse=5.0), **circumstances))
    assert (decision.desired.phase, decision.desired.percent, decision.desired.kill) == (P.ROLLED_BACK, 0, killed)
    assert decision.reason == "the canary is worse than the control: failed"


@pytest.mark.parametrize("phase", [*sorted(OVER), P.IDLE])
@pytest.mark.parametrize("evidence", [found(), found(worse=9.0)])
def test_what_is_over_stays_over(phase: RolloutPhase, evidence: Evidence) -> None:
    """Whatever is seen afterwards."""
    over = replace(AT_ONE, phase=phase, percent=33)
    assert decide(over, PLAN, look(evidence, waited=1e9)).desired is over


# -- what an operator does


def test_rollout_begins_at_the_first_step() -> None:
    """Also after one that is over: that is how a latch is opened."""
    for phase in (P.IDLE, *OVER):
        started = act("start", Desired(phase=phase, run=3), PLAN, risen=0.0)
        assert (started.percent, started.phase, started.run, started.generation) == (1, P.PROGRESSING, 4, 1)


@pytest.mark.parametrize("phase", sorted(LIVE))
def test_rollout_under_way_is_not_started_again(phase: RolloutPhase) -> None:
    """It is aborted first."""
    with pytest.raises(NotAllowed, match=f"under way \\({phase}, 1 %\\): abort it first"):
        act("start", replace(AT_ONE, phase=phase), PLAN, risen=0.0)


@pytest.mark.parametrize(
    ("verb", "phases"),
    [
        ("pause", {P.PROGRESSING, P.INCONCLUSIVE}),
        ("resume", {P.PAUSED, P.INCONCLUSIVE}),
        ("promote", LIVE),
        ("abort", LIVE),
    ],
)
def test_verb_is_allowed_in_its_phases_only(verb: str, phases: frozenset[RolloutPhase]) -> None:
    """Elsewhere the text says where."""
    for phase in P:
        before = replace(AT_ONE, phase=phase)
        if phase in phases:
            assert act(verb, before, PLAN, risen=60.0).generation == 6
        else:
            with pytest.raises(NotAllowed, match=f"{verb}: the rollout is {phase}; allowed while it is"):
                act(verb, before, PLAN, risen=60.0)


def test_promotion_by_hand_waits_for_the_interval() -> None:
    """The percent never rises twice in one."""
    with pytest.raises(NotAllowed, match="raised 59 s ago: not twice within 60 s"):
        act("promote", AT_ONE, PLAN, risen=59.0)
    assert act("promote", replace(AT_ONE, percent=50), PLAN, risen=60.0).phase is P.PROMOTED
    assert act("promote", replace(AT_ONE, percent=100), PLAN, risen=60.0).phase is P.PROMOTED


def test_plan_of_one_whole_step_is_done_when_it_starts() -> None:
    """There is nothing to compare."""
    started = act("start", Desired(), Plan(steps=(Step(percent=100),)), risen=0.0)
    assert (started.percent, started.phase, started.run) == (100, P.PROMOTED, 1)


def test_aborted_is_nothing_at_once() -> None:
    """And stays so."""
    aborted = act("abort", AT_ONE, PLAN, risen=0.0)
    assert (aborted.percent, aborted.phase) == (0, P.ABORTED)


def test_kill_is_said_twice_in_vain() -> None:
    """The second time changes nothing."""
    killed = kill(AT_ONE, on=True)
    assert (killed.kill, killed.generation, killed.phase) == (True, 6, P.PROGRESSING)
    assert kill(killed, on=True) is killed
    assert not kill(killed, on=False).kill


def test_percent_by_hand_is_free_while_nothing_is_live() -> None:
    """Up and down."""
    assert set_percent(Desired(), 33).percent == 33
    assert set_percent(replace(AT_ONE, phase=P.ROLLED_BACK, percent=0), 50).percent == 50


def test_percent_by_hand_only_lowers_a_live_rollout() -> None:
    """And pauses it; from a percent that is no step it goes on to the next one only."""
    at_ten = replace(AT_ONE, percent=10)
    lowered = set_percent(at_ten, 4)
    assert (lowered.percent, lowered.phase) == (4, P.PAUSED)
    with pytest.raises(NotAllowed, match="promote raises it"):
        set_percent(at_ten, 11)
    with pytest.raises(NotAllowed, match="no step of 4 %"):
        act("resume", lowered, PLAN, risen=0.0)
    assert act("promote", lowered, PLAN, risen=60.0).percent == 10


def test_resume_needs_a_percent() -> None:
    """Of a record that somebody has written by hand."""
    with pytest.raises(NotAllowed, match="no step of the settings' percent"):
        act("resume", replace(AT_ONE, percent=None, phase=P.PAUSED), PLAN, risen=0.0)


def test_breaker_and_epoch() -> None:
    """New keys only when no rollout compares the old ones."""
    assert force_breaker(AT_ONE, BreakerMode.FORCED_OFF).breaker == "forced_off"
    assert new_epoch(Desired()).epoch == 1
    with pytest.raises(NotAllowed, match="its keys stay until it is over"):
        new_epoch(AT_ONE)


# -- plans


def test_default_are_the_guides_weeks() -> None:
    """Two to four; the first one is before the start."""
    assert [step.percent for step in WEEKS.steps] == [1, 10, 25, 50, 100]
    assert sum(step.min_duration for step in WEEKS.steps) == 14 * DAY
    assert WEEKS.at(10) is WEEKS.steps[1]
    assert WEEKS.at(11) is None
    assert WEEKS.after(100) is None


def test_plan_does_not_go_backwards() -> None:
    """Nor stand still, nor have no step."""
    with pytest.raises(ValueError, match="step 5 % comes after 10 %"):
        Plan(steps=(Step(percent=10), Step(percent=5)))
    with pytest.raises(ValueError, match="at least one step"):
        Plan(steps=())


def test_patience_of_a_step() -> None:
    """Three times its duration, an hour at least, or what it says."""
    assert Step(percent=1).patience == 3600
    assert Step(percent=1, min_duration=DAY).patience == 3 * DAY
    assert Step(percent=1, min_duration=DAY, max_duration=5).patience == 5


# -- the watch

CALL = ArmSums(calls=1, seen=1)


def seen(watch: Watch, desired: Desired, seconds: float = 1.0, *, calls: bool = True) -> Look:
    """One look."""
    sums = CALL if calls else ArmSums()
    return watch.look(desired, seconds=seconds, canary=sums, control=sums, breaker_open=False)


def test_time_is_added_up() -> None:
    """While nothing holds; and a clock that jumps, in whatever direction, passes no gate."""
    watch = Watch(PLAN)
    assert seen(watch, AT_ONE).elapsed == 1.0
    assert seen(watch, AT_ONE, 1e9).elapsed == 6.0
    assert seen(watch, AT_ONE, -1e9).elapsed == 6.0
    watch.decided(decide(AT_ONE, PLAN, look(breaker_open=True)))
    held = seen(watch, AT_ONE)
    assert (held.elapsed, held.waited, held.risen) == (6.0, 7.0, 7.0)
    watch.decided(decide(AT_ONE, PLAN, held))
    assert seen(watch, AT_ONE).elapsed == 7.0


def test_step_begins_with_nothing() -> None:
    """Neither time nor evidence of the one before."""
    watch = Watch(PLAN)
    seen(watch, AT_ONE, 5.0)
    found = seen(watch, replace(AT_ONE, percent=10))
    assert (found.elapsed, found.evidence.canary.calls) == (1.0, 1)
    again = seen(watch, replace(AT_ONE, percent=10, run=2))
    assert again.evidence.canary.calls == 1


def test_resume_begins_the_patience_anew() -> None:
    """Or the next look would be inconclusive again. The evidence stays."""
    watch = Watch(PLAN)
    for _ in range(3):
        seen(watch, AT_ONE)
    seen(watch, replace(AT_ONE, phase=P.INCONCLUSIVE))
    found = seen(watch, AT_ONE)
    assert (found.waited, found.risen, found.evidence.canary.calls) == (1.0, 5.0, 5)


def test_silence_is_noticed() -> None:
    """Of one arm, after ten minutes."""
    watch = Watch(PLAN)
    for _ in range(119):
        assert not watch.look(AT_ONE, seconds=5.0, canary=CALL, control=ArmSums(), breaker_open=False).silent
    assert watch.look(AT_ONE, seconds=5.0, canary=CALL, control=ArmSums(), breaker_open=False).silent
    assert not seen(watch, AT_ONE).silent


def test_watch_is_handed_over() -> None:
    """The next leader goes on."""
    watch, heir = Watch(PLAN), Watch(PLAN)
    for _ in range(9):
        seen(watch, AT_ONE)
    heir.restore(json.loads(json.dumps(watch.state())))
    assert seen(heir, AT_ONE) == seen(watch, AT_ONE)


@pytest.mark.parametrize(
    "change",
    [
        {"at": None},
        {"at": [1]},
        {"phase": "dancing"},
        {"elapsed": "x"},
        {"guard": {}},
        {"guard": None},
    ],
)
def test_watch_that_is_none_is_refused(change: dict[str, Any]) -> None:
    """And leaves nothing half restored."""
    watch, heir = Watch(PLAN), Watch(PLAN)
    seen(watch, AT_ONE)
    with pytest.raises((ValueError, TypeError, KeyError)):
        heir.restore({**watch.state(), **change})
    assert heir.state() == Watch(PLAN).state()


# -- laws

EVIDENCE = st.builds(
    found,
    st.integers(0, 50),
    worse=st.sampled_from([-5.0, 0.0, 4.9, 5.0, 50.0]),
    not_worse=st.sampled_from([0.0, 4.9, 5.0, 50.0]),
    throttled=st.integers(0, 20),
)
LOOKS = st.builds(
    Look,
    evidence=EVIDENCE,
    elapsed=st.floats(0, 1000),
    waited=st.floats(0, 1000),
    risen=st.floats(0, 1000),
    breaker_open=st.booleans(),
    silent=st.booleans(),
    lopsided=st.booleans(),
)
DESIRED = st.builds(
    Desired,
    generation=st.integers(0, 100),
    percent=st.none() | st.sampled_from([0.0, 1.0, 7.0, 10.0, 50.0, 100.0]),
    kill=st.booleans(),
    phase=st.sampled_from(list(P)),
    run=st.integers(0, 3),
)


@given(DESIRED, LOOKS)
def test_a_look_raises_by_one_step_or_lowers_to_nothing(desired: Desired, at: Look) -> None:
    """Whatever is seen. Whatever is changed is one generation more."""
    after = decide(desired, PLAN, at).desired
    if after is desired:
        return
    assert desired.phase in LIVE
    assert after.generation == desired.generation + 1
    assert (after.kill, after.epoch, after.run, after.breaker) == (
        desired.kill,
        desired.epoch,
        desired.run,
        desired.breaker,
    )
    if after.percent == 0:
        assert after.phase is P.ROLLED_BACK
    elif after.percent != desired.percent:
        assert desired.percent is not None
        step = PLAN.after(desired.percent)
        assert step is not None
        assert after.percent == step.percent
        assert at.risen >= PLAN.interval
        assert not any((at.breaker_open, at.silent, at.lopsided, desired.kill))


class Rollouts(RuleBasedStateMachine):
    """A controller, operators and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.desired = Desired()
        self.watch = Watch(PLAN)
        self.now = 0.0
        self.rises: list[float] = []
        self.highest_of_run = 0.0

    def _take(self, after: Desired) -> None:
        before, self.desired = self.desired, after
        if after.run != before.run:
            self.highest_of_run = 0.0
            self.rises = [self.now]
        elif before.phase in LIVE and (after.percent or 0) > (before.percent or 0):
            assert self.now - self.rises[-1] >= PLAN.interval - 1e-6
            self.rises.append(self.now)
        self.highest_of_run = max(self.highest_of_run, after.percent or 0)

    @rule(seconds=st.floats(0, 5), fails=st.booleans(), control_fails=st.booleans(), breaker=st.booleans())
    def tick(self, seconds: float, fails: bool, control_fails: bool, breaker: bool) -> None:  # noqa: FBT001
        """Calls end, and the controller looks."""
        self._tick(seconds, fails=fails, control_fails=control_fails, breaker=breaker)

    def _tick(self, seconds: float, *, fails: bool, control_fails: bool, breaker: bool) -> None:
        self.now += seconds
        before = self.desired
        at = self.watch.look(
            before,
            seconds=seconds,
            canary=ArmSums(calls=20, failed=20 * fails),
            control=ArmSums(calls=20, failed=20 * control_fails),
            breaker_open=breaker,
            blocks=[Block(float(fails) - control_fails, 0.0, 0.0)],
        )
        decision = decide(before, PLAN, at)
        self.watch.decided(decision)
        if before.phase not in LIVE:
            assert decision.desired is before, "a verdict is latched"
        self._take(decision.desired)

    @rule(times=st.integers(100, 300))
    def long_time(self, times: int) -> None:
        """Everything is fine for a while."""
        for _ in range(times):
            self._tick(1.0, fails=False, control_fails=False, breaker=False)

    @rule(verb=st.sampled_from(["start", "pause", "resume", "promote", "abort"]))
    def operate(self, verb: str) -> None:
        """Somebody types a command."""
        at = self.watch.look(self.desired, seconds=0.0, canary=ArmSums(), control=ArmSums(), breaker_open=False)
        try:
            self._take(act(verb, self.desired, PLAN, risen=at.risen))
        except NotAllowed:
            return

    @rule(on=st.booleans())
    def kill(self, on: bool) -> None:  # noqa: FBT001
        """The switch."""
        self._take(kill(self.desired, on=on))

    @precondition(lambda self: self.desired.phase in LIVE)
    @rule()
    def canary_dies(self) -> None:
        """From wherever it is, ten blocks later it is rolled back."""
        seen_before = self.watch.guard.worse[Metric.FAILED].blocks
        if seen_before > 5:  # good times count, too: a bettor has to earn them back
            return
        for _ in range(30):
            self._tick(0.0, fails=True, control_fails=False, breaker=True)
        assert self.desired.phase is P.ROLLED_BACK
        assert self.desired.percent == 0

    @invariant()
    def percent_belongs_to_the_phase(self) -> None:
        """Rolled back and aborted are nothing."""
        if self.desired.phase in {P.ROLLED_BACK, P.ABORTED}:
            assert self.desired.percent == 0
        if self.desired.phase in LIVE:
            assert self.desired.percent == self.highest_of_run


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
