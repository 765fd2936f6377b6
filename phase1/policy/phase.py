"""Which state follows from the last decision and the clock alone?

A `Phase` is everything the breaker has decided, as one frozen value. `until` is the moment at which it ends by
itself, so whoever looks derives the present by `phase_at(phase, now)` and two readers never disagree, whether or not
somebody has written the newer phase down meanwhile.

    ACTIVE ──▶ DISABLED ──until──▶ HALF_OPEN ──two probes──▶ RAMPING ──until──▶ ACTIVE
                  ▲                    │ failed probe, or the lease ran out        │
                  └────────────────────┴───────────────────────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

__all__ = ["BreakerState", "Phase", "follow", "phase_at"]


class BreakerState(StrEnum):
    """What a request meets."""

    ACTIVE = "active"
    """Everybody may pass."""
    DISABLED = "disabled"
    """Nobody may pass until the open time is over."""
    HALF_OPEN = "half_open"
    """One request at a time may pass, as a probe."""
    RAMPING = "ramping"
    """A rising share of the keys may pass."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A state and what belongs to it. Times are the clock's, in seconds."""

    state: BreakerState
    generation: int
    since: float
    until: float = inf
    """DISABLED: end of the open time. HALF_OPEN: expiry of the lease, if one is out. RAMPING: end of the ramp."""
    exponent: int = 0
    """Of the next open time."""
    lease: int | None = None
    """HALF_OPEN: the id of the probe that is under way."""
    rearm: float = 0.0
    """HALF_OPEN: the open time if that probe fails, drawn when it began so that its expiry needs no randomness."""
    successes: int = 0
    """HALF_OPEN: probes that have succeeded in sequence."""

    def disabled(self, now: float, seconds: float, *, exponent: int) -> Phase:
        """Off for `seconds`. The generation rises: what is under way no longer counts."""
        return Phase(BreakerState.DISABLED, self.generation + 1, now, now + seconds, exponent + 1)

    def leased(self, now: float, seconds: float, *, lease: int, rearm: float) -> Phase:
        """HALF_OPEN with a probe under way."""
        return replace(self, until=now + seconds, lease=lease, rearm=rearm)

    def returned(self, *, successes: int) -> Phase:
        """HALF_OPEN with the lease back: the next request may probe."""
        return replace(self, until=inf, lease=None, successes=successes)

    def restarted(self) -> Phase:
        """The same state in a new generation, with no probe under way."""
        phase = replace(self, generation=self.generation + 1)
        return phase.returned(successes=0) if self.state is BreakerState.HALF_OPEN else phase

    def ramping(self, now: float, seconds: float) -> Phase:
        """The way back in. The exponent stays: it falls only in ACTIVE."""
        return Phase(BreakerState.RAMPING, self.generation, now, now + seconds, self.exponent)

    @property
    def probe_is_free(self) -> bool:
        """Whether the next request may probe."""
        return self.state is BreakerState.HALF_OPEN and self.lease is None

    def ramp(self, now: float, start: float) -> float:
        """The share of the keys that may pass, 0 … 1; linear from `start` to 1 while RAMPING."""
        if self.state is not BreakerState.RAMPING:
            return 1.0 if self.state is BreakerState.ACTIVE else 0.0
        return start + (1.0 - start) * (now - self.since) / (self.until - self.since)

    def ramp_wait(self, share: float, now: float, start: float) -> float | None:
        """RAMPING: seconds until the ramp reaches `share`; `None` if it has."""
        ramp, left = self.ramp(now, start), self.until - now
        if share < ramp:
            return None
        return left if share >= 1.0 else left * (share - ramp) / (1.0 - ramp)


def follow(phase: Phase) -> tuple[Phase, str]:
    """The phase after `phase.until`, and why."""
    if phase.state is BreakerState.DISABLED:
        return Phase(BreakerState.HALF_OPEN, phase.generation, phase.until, exponent=phase.exponent), "open_time_over"
    if phase.state is BreakerState.RAMPING:
        return Phase(BreakerState.ACTIVE, phase.generation, phase.until, exponent=phase.exponent), "ramp_complete"
    return phase.disabled(phase.until, phase.rearm, exponent=phase.exponent), "probe_expired"


def phase_at(phase: Phase, now: float) -> Phase:
    """The phase that holds at `now`."""
    while now >= phase.until:
        phase, _ = follow(phase)
    return phase
