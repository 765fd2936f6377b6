"""Does this request go to the pool or to the legacy client?

Precedence: pool not enabled > kill switch > pool not ready > breaker > a tester's signed header > deny list > allow
list > percent. The first to object names the reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from phase1.policy.breaker import BreakerState
from phase1.policy.canary import BUCKETS, Arm, Canary
from phase1.policy.targets import Targets

__all__ = ["FLAG", "Gate", "Reason", "Route", "Selection", "Switches", "select"]

FLAG: Final = "llm-pool"
"""What a selection is an evaluation of, in OpenFeature's and OpenTelemetry's words."""


class Route(StrEnum):
    """Who answers."""

    POOL = "pool"
    LEGACY = "legacy"


class Reason(StrEnum):
    """Why: OpenFeature's words, and three of ours."""

    SPLIT = "split"
    """The key's bucket decided."""
    DISABLED = "disabled"
    """The pool is not enabled."""
    TARGETING_MATCH = "targeting_match"
    """The key is on an allow or deny list, or a tester's signed header asks for the route."""
    STALE = "stale"
    """The state store is away; the last known state decided."""
    ERROR = "error"
    """The pool could not start."""
    DEFAULT = "default"
    """There is no key to decide by."""
    KILL_SWITCH = "kill_switch"
    """An operator has switched to legacy."""
    CIRCUIT_OPEN = "circuit_open"
    """The breaker has switched the pool off, or its probe is under way."""
    RAMPING = "ramping"
    """The breaker lets only the first part of the keys back in so far."""


@dataclass(frozen=True, slots=True)
class Switches:
    """The operator's switches. `ready=False`: the pool could not start."""

    enabled: bool
    force_legacy: bool = False
    disable_pool: bool = False
    emergency: bool = False
    ready: bool = True


@dataclass(slots=True)  # not to be changed; a frozen one takes three times as long to make
class Selection:
    """Who answers and why. `share` is what the breaker wants to hear when its permit is acquired.

    `arm` is where the key's bucket lies, also when the breaker sends it to legacy; whoever sends a request somewhere
    by anything but its bucket (a switch, a list) leaves it `outside`: it says nothing about the canary.
    """

    route: Route
    reason: Reason
    bucket: int | None = None
    share: float = 0.0
    arm: Arm = Arm.OUTSIDE


class Gate(Protocol):
    """The part of the breaker that selection asks: a look that takes nothing."""

    @property
    def state(self) -> BreakerState:
        """The state that a request meets."""

    def admits(self, share: float = 0.0) -> bool:
        """Whether a request at this position would be let in now."""


_NOWHERE: Final = Selection(Route.LEGACY, Reason.DEFAULT)


def select(
    *,
    switches: Switches,
    canary: Canary,
    breaker: Gate,
    key: str | None,
    rng: Callable[[], float] = random.random,
    targets: Targets | None = None,
    wanted: Route | None = None,
) -> Selection:
    """Choose the route of one request. No key (or an empty one) means legacy below 100 %.

    A request without a key takes a random position in the breaker's ramp. For a key outside the canary the breaker is
    asked at position 0: if it is open, that is the reason; a ramp is not, for no ramp would let this key in. `wanted`
    is what a tester's signed header asks for.
    """
    stop = _switched_off(switches)
    if stop:
        return Selection(Route.LEGACY, stop)
    choice = _targeted(targets, wanted, canary, key, rng) if targets is not None or wanted is not None else None
    if choice is None:
        choice = _by_key(canary, key) if key else _without_key(canary, rng)
    if not breaker.admits(choice.share):
        return Selection(Route.LEGACY, _refusal(breaker.state), choice.bucket, choice.share, choice.arm)
    return choice


def _switched_off(switches: Switches) -> Reason | None:
    if not switches.enabled:
        return Reason.DISABLED
    if switches.force_legacy or switches.disable_pool or switches.emergency:
        return Reason.KILL_SWITCH
    return None if switches.ready else Reason.ERROR


def _targeted(
    targets: Targets | None, wanted: Route | None, canary: Canary, key: str | None, rng: Callable[[], float]
) -> Selection | None:
    """The route that somebody has named; `None` = nobody has. In a ramp a key stands where it would at 100 %."""
    route = wanted or _listed(targets, key)
    if route is None:
        return None
    bucket = canary.bucket(key) if key else None
    share = 0.0 if route is Route.LEGACY else rng() if bucket is None else bucket / BUCKETS
    return Selection(route, Reason.TARGETING_MATCH, bucket, share)


def _listed(targets: Targets | None, key: str | None) -> Route | None:
    allowed = targets.goes_to_pool(key) if targets and key else None
    return None if allowed is None else Route.POOL if allowed else Route.LEGACY


def _by_key(canary: Canary, key: str) -> Selection:
    bucket, reason = canary.bucket(key), Reason.STALE if canary.stale else Reason.SPLIT
    arm = canary.arm(bucket)
    if arm is not Arm.CANARY:
        return Selection(Route.LEGACY, reason, bucket, arm=arm)
    return Selection(Route.POOL, reason, bucket, canary.share(bucket), arm)


def _without_key(canary: Canary, rng: Callable[[], float]) -> Selection:
    return Selection(Route.POOL, Reason.DEFAULT, share=rng()) if canary.covered == BUCKETS else _NOWHERE


def _refusal(state: BreakerState) -> Reason:
    return Reason.RAMPING if state is BreakerState.RAMPING else Reason.CIRCUIT_OPEN
