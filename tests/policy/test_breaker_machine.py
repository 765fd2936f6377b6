"""Do the laws of the breaker hold in every order of events?

Requests begin and end in any order, with any verdict or error, some never end; time passes; the operator acts.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from phase1.exceptions import QueueFull
from phase1.policy.breaker import BreakerMode, BreakerState, Permit, PoolBreaker, Transition
from phase1.policy.classify import Verdict

SHARES = st.floats(0, 1)
VERDICTS = st.sampled_from([*Verdict, Verdict.FAILURE, Verdict.FAILURE])
ERRORS = st.sampled_from([ValueError, TimeoutError, asyncio.CancelledError, GeneratorExit, QueueFull])
PAUSES = st.sampled_from([0.0, 0.5, 1.0, 5.0, 30.0, 61.0, 400.0]) | st.floats(0, 100)
OPEN_MAX, LEASE, RAMP = 300.0, 30.0, 60.0


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.told: list[Transition] = []
        self.out: list[Permit] = []
        self.given = 0
        self.returned = 0
        self.generation = 0

    @initialize(luck=st.floats(0, 1))
    def build(self, luck: float) -> None:
        self.breaker = PoolBreaker(clock=lambda: self.now, rng=lambda: luck, on_transition=self.told.append)

    # -- what can happen

    @rule(share=SHARES)
    def begin(self, share: float) -> None:
        expected = self.breaker.admits(share)
        answer = self.breaker.acquire(share)
        assert isinstance(answer, Permit) is expected
        if isinstance(answer, Permit):
            self.given += 1
            self.out.append(answer)
        else:
            assert answer.retry_after > 0

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=VERDICTS)
    def end(self, data: st.DataObject, verdict: Verdict) -> None:
        permit = self.take(data)
        before, stale = self.breaker.snapshot(), self.is_stale(permit)
        lease_was_out = permit.probe and not stale
        permit.release(verdict)
        if stale or (verdict is Verdict.NEUTRAL and not lease_was_out):
            assert self.breaker.snapshot() == before
        elif verdict is Verdict.NEUTRAL:
            assert self.breaker.state is BreakerState.HALF_OPEN
            assert self.breaker.admits()
        self.check_returned(permit)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), error=ERRORS)
    def leave_with(self, data: st.DataObject, error: type[BaseException]) -> None:
        permit = self.take(data)
        with pytest.raises(error), permit:
            raise error("x")
        self.check_returned(permit)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def never_end(self, data: st.DataObject) -> None:
        self.take(data)
        self.returned += 1

    @rule(seconds=PAUSES)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(act=st.sampled_from([*BreakerMode, "reset", *[BreakerMode.AUTOMATIC] * 5]))
    def operate(self, act: BreakerMode | str) -> None:
        if isinstance(act, BreakerMode):
            self.breaker.force(act)
        else:
            self.breaker.reset()

    @rule(half_open=st.booleans())
    def fail_until_disabled(self, *, half_open: bool) -> None:
        for _ in range(3):
            answer = self.breaker.acquire()
            if isinstance(answer, Permit):
                answer.release(Verdict.FAILURE)
        self.now += OPEN_MAX if half_open else 0.0

    @precondition(lambda self: self.breaker.state is BreakerState.HALF_OPEN)
    @rule(callers=st.integers(2, 5))
    def begin_together(self, callers: int) -> None:
        for _ in range(callers):
            self.begin(0.0)

    # -- what must always hold

    @invariant()
    def no_permit_is_lost(self) -> None:
        assert self.given == self.returned + len(self.out)

    @invariant()
    def at_most_one_probe_is_alive(self) -> None:
        assert sum(permit.probe and not self.is_stale(permit) for permit in self.out) <= 1

    @invariant()
    def looking_changes_nothing(self) -> None:
        looks = [(self.breaker.state, self.breaker.generation, self.breaker.admits(0.5)) for _ in range(2)]
        pictures = [self.breaker.snapshot(), self.breaker.snapshot()]
        looks.append((self.breaker.state, self.breaker.generation, self.breaker.admits(0.5)))
        assert len(set(looks)) == 1
        assert pictures[0] == pictures[1]
        assert (pictures[0].state, pictures[0].generation) == looks[0][:2]

    @invariant()
    def generations_only_rise(self) -> None:
        assert self.generation <= self.breaker.generation
        self.generation = self.breaker.generation

    @invariant()
    def transitions_form_a_chain(self) -> None:
        state = BreakerState.ACTIVE
        for transition in self.told:
            assert transition.from_ is state
            state = transition.to
        assert state is self.breaker.state

    @invariant()
    def numbers_make_sense(self) -> None:
        picture = self.breaker.snapshot()
        assert 0 <= picture.ramp <= 1
        assert 0 <= picture.consecutive_failures <= 3
        assert 0 <= picture.window_success_rate <= 1
        assert picture.until_in is None or 0 < picture.until_in <= OPEN_MAX

    def teardown(self) -> None:
        """Liveness: from here on the upstream is healthy, and the pool must be fully back in time."""
        if not hasattr(self, "breaker"):
            return
        self.breaker.force(BreakerMode.AUTOMATIC)
        start, worst = self.now, self.longest_way_back()
        while self.breaker.state is not BreakerState.ACTIVE:
            assert self.now - start <= worst
            answer = self.breaker.acquire()
            if isinstance(answer, Permit):
                answer.release(Verdict.SUCCESS)
            self.now += 1.0

    # -- helpers

    def longest_way_back(self) -> float:
        """Open time + two probes + ramp, in steps of a second; a probe that never ends costs its lease and a pause."""
        picture = self.breaker.snapshot()
        abandoned = picture.state is BreakerState.HALF_OPEN and not self.breaker.admits()
        pause = LEASE + OPEN_MAX if abandoned else picture.until_in or 0.0
        return pause + 2.0 + RAMP + 2.0

    def take(self, data: st.DataObject) -> Permit:
        return self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))

    def is_stale(self, permit: Permit) -> bool:
        return not permit.counted or permit.generation != self.breaker.generation

    def check_returned(self, permit: Permit) -> None:
        self.returned += 1
        assert permit.released
        before = self.breaker.snapshot()
        permit.release(Verdict.FAILURE)
        assert self.breaker.snapshot() == before


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=150, stateful_step_count=60)
