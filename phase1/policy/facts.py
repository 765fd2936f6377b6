"""What does the breaker tell others?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from phase1.policy.phase import BreakerState

__all__ = ["BreakerMode", "BreakerSnapshot", "Rejection", "Transition"]


class BreakerMode(StrEnum):
    """Who decides: FORCED_OFF (the kill switch) > FORCED_ON > the rules."""

    AUTOMATIC = "automatic"
    FORCED_OFF = "forced_off"
    FORCED_ON = "forced_on"
    OBSERVE_ONLY = "observe_only"
    """The rules run and tell what they would do; everybody may pass."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The breaker went from one state to another.

    `reason` is one of consecutive_failures, success_rate, open_time_over, probe_failed, probe_expired,
    probes_succeeded, ramp_complete, opened_elsewhere and probed_elsewhere (by another worker), reset, or the new mode.
    `enforced` is false while the breaker only observes.
    """

    from_: BreakerState
    to: BreakerState
    generation: int
    reason: str
    enforced: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """Not now: the answer may be another one in `retry_after` seconds (> 0)."""

    retry_after: float
    reason: BreakerState | BreakerMode


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """What can be shown.

    `until_in`: seconds until the open time is over, `None` when not DISABLED by the rules. `ramp`: the share of the
    positions that may pass, 0 … 1. `window_success_rate`: 0 … 1, and 1 when there were no requests.
    """

    state: BreakerState
    mode: BreakerMode
    generation: int
    consecutive_failures: int
    until_in: float | None
    ramp: float
    window_requests: int
    window_success_rate: float
