"""The test bench of the breaker: a clock that moves only when told to, and a list of what the breaker told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from phase1.policy.breaker import Permit, PoolBreaker, Rejection, Transition
from phase1.policy.classify import Verdict

# The same examples in every run: a red test is red for everybody.
settings.register_profile(
    "policy", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("policy")


class Bench:
    """A breaker with its surroundings. `luck` is what the random generator returns: 1.0 is the whole open time."""

    def __init__(self, **options: float) -> None:
        self.now = 1000.0
        self.luck = 1.0
        self.told: list[Transition] = []
        self.breaker = PoolBreaker(
            clock=lambda: self.now, rng=lambda: self.luck, on_transition=self.told.append, **options
        )

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def begin(self, share: float = 0.0) -> Permit:
        """A request that must be let in begins."""
        permit = self.breaker.acquire(share)
        assert isinstance(permit, Permit)
        return permit

    def rejected(self, share: float = 0.0) -> Rejection:
        """A request that must not be let in."""
        answer = self.breaker.acquire(share)
        assert isinstance(answer, Rejection)
        return answer

    def end(self, *verdicts: Verdict) -> None:
        """One request after the other, with these verdicts."""
        for verdict in verdicts:
            self.begin().release(verdict)

    def disable(self) -> None:
        """Three failures in a row."""
        self.end(Verdict.FAILURE, Verdict.FAILURE, Verdict.FAILURE)

    def half_open(self) -> None:
        """Disabled, and the open time is over."""
        self.disable()
        self.wait(5.0)

    def ramp(self) -> None:
        """Half-open, and two probes have succeeded."""
        self.half_open()
        self.end(Verdict.SUCCESS, Verdict.SUCCESS)

    def recover(self) -> None:
        """Through the whole ramp, into ACTIVE."""
        self.ramp()
        self.wait(60.0)

    @property
    def reasons(self) -> list[str]:
        """Why the state changed, in order."""
        return [transition.reason for transition in self.told]


@pytest.fixture
def bench() -> Bench:
    """A breaker with the default numbers."""
    return Bench()


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    """For a breaker with other numbers."""
    return Bench
