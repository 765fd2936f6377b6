"""What do the breaker's rules make of time and of verdicts?

Modes, permits and threads are the business of `breaker`. What the rules leave open, and how it is here:

* While RAMPING the rules of ACTIVE apply, to a fresh count: one failure among many requests is everyday life, three
  in a row are not.
* A SUCCESS never opens the breaker, even as the 20th request of a poor window: the next failure does.
* A probe is judged by itself; it is in neither the streak nor the window. NEUTRAL keeps the probes that have succeeded.
* The open time after a probe that failed, or ran out of time, is longer than the one before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from phase1.policy.backoff import OpenTime
from phase1.policy.classify import Verdict
from phase1.policy.facts import Transition
from phase1.policy.phase import BreakerState, Phase, follow, phase_at
from phase1.policy.tripwire import Tripwire

__all__ = ["Rules"]

_ELSEWHERE: Final = 1.0
"""Seconds after which somebody may ask again while another worker probes."""
_FAILS_A_PROBE: Final = frozenset({Verdict.FAILURE, Verdict.THROTTLED})


class Rules:
    """The automatic breaker: a phase, a tripwire, and what became of them. Not safe for threads by itself."""

    __slots__ = (
        "_leases",
        "_open_time",
        "_probe_lease",
        "_probe_successes",
        "_ramp_seconds",
        "enforced",
        "may_probe",
        "phase",
        "ramp_start",
        "tripwire",
        "untold",
    )

    def __init__(
        self,
        *,
        tripwire: Tripwire,
        open_time: OpenTime,
        probe_lease: float,
        probe_successes: int,
        ramp_seconds: float,
        ramp_start: float,
        now: float,
    ) -> None:
        self.tripwire = tripwire
        self._open_time = open_time
        self._probe_lease = probe_lease
        self._probe_successes = probe_successes
        self._ramp_seconds = ramp_seconds
        self.ramp_start = ramp_start
        self.phase = Phase(BreakerState.ACTIVE, 0, now)
        self._leases = 0
        self.enforced = True
        self.may_probe = True
        """Whether a probe may begin here: of several workers only one has the leave."""
        self.untold: list[Transition] = []

    def settle(self, now: float) -> None:
        """Write down what time alone has changed."""
        while now >= self.phase.until:
            self._enter(*follow(self.phase))

    def wait(self, share: float, now: float) -> float | None:
        """Seconds until a request at this position may pass; `None` if it may pass now. Changes nothing."""
        phase = phase_at(self.phase, now)
        if phase.state is BreakerState.ACTIVE:
            return None
        if phase.probe_is_free:
            return None if self.may_probe else _ELSEWHERE
        if phase.state is BreakerState.RAMPING:
            return phase.ramp_wait(share, now, self.ramp_start)
        return phase.until - now

    def admit(self, now: float) -> Phase:
        """Let one request in that need not wait: as the probe, if one is due."""
        if self.phase.state is BreakerState.HALF_OPEN:
            self._leases += 1
            rearm = self._open_time.draw(self.phase.exponent)
            self.phase = self.phase.leased(now, self._probe_lease, lease=self._leases, rearm=rearm)
        return self.phase

    def judge(self, verdict: Verdict, now: float) -> None:
        """Count the verdict of a request of this generation that was no probe."""
        if reason := self.tripwire.count(verdict, now):
            phase = self.phase
            healthy = now - phase.since if phase.state is BreakerState.ACTIVE else 0.0
            exponent = self._open_time.relaxed(phase.exponent, healthy)
            self._enter(phase.disabled(now, self._open_time.draw(exponent), exponent=exponent), reason)

    def judge_probe(self, verdict: Verdict, now: float) -> None:
        """Take the verdict of the probe that is under way."""
        phase = self.phase
        successes = phase.successes + (verdict is Verdict.SUCCESS)
        if verdict in _FAILS_A_PROBE:
            self._enter(phase.disabled(now, phase.rearm, exponent=phase.exponent), "probe_failed")
        elif successes < self._probe_successes:
            self.phase = phase.returned(successes=successes)
        else:
            self.tripwire.clear()
            self._enter(phase.ramping(now, self._ramp_seconds), "probes_succeeded")

    def open_with_others(self, now: float, seconds: float) -> None:
        """Another worker's breaker is open for so long: so is this one, at least."""
        phase = self.phase
        if phase.state is BreakerState.DISABLED:
            self.phase = replace(phase, until=max(phase.until, now + seconds))
            return
        self.tripwire.clear()
        self._enter(phase.disabled(now, seconds, exponent=phase.exponent), "opened_elsewhere")

    def ramp_with_others(self, now: float) -> None:
        """Another worker's probes have succeeded: come back together with it."""
        phase = self.phase
        if phase.state in {BreakerState.DISABLED, BreakerState.HALF_OPEN}:
            self.tripwire.clear()
            self._enter(phase.ramping(now, self._ramp_seconds), "probed_elsewhere")

    def restart(self, phase: Phase) -> None:
        """Go on from `phase` with clean evidence."""
        self.tripwire.clear()
        self.phase = phase

    def note(self, before: BreakerState, after: BreakerState, reason: str) -> None:
        """Keep a change to be told."""
        self.untold.append(Transition(before, after, self.phase.generation, reason, self.enforced))

    def _enter(self, phase: Phase, reason: str) -> None:
        before, self.phase = self.phase.state, phase
        self.note(before, phase.state, reason)
