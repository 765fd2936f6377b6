"""What may an operator do to a rollout, and to the desired state as a whole?

Lowering is always allowed; what raises the percent has to wait for the interval, like the controller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from phase1.exceptions import Phase1Error
from phase1.policy.breaker import BreakerMode
from phase1.policy.rollout import LIVE, Desired, RolloutPhase, risen_to
from phase1.policy.rollout_plan import Plan

__all__ = ["ACTS", "NotAllowed", "act", "force_breaker", "kill", "new_epoch", "set_percent"]


class NotAllowed(Phase1Error):
    """An operator's wish that the state forbids. The text says what is possible instead; `status` is for HTTP."""

    status = 409


def act(verb: str, desired: Desired, plan: Plan, *, risen: float) -> Desired:
    """One of `ACTS`. `risen`: seconds since the percent was last raised. Raises `NotAllowed`."""
    return ACTS[verb](desired, plan, risen)


def _start(desired: Desired, plan: Plan, _: float) -> Desired:
    if desired.phase in LIVE:
        raise NotAllowed(f"a rollout is under way ({desired.phase}, {_percent(desired)}): abort it first")
    first = plan.steps[0]
    return replace(risen_to(desired, first), run=desired.run + 1)


def _pause(desired: Desired, _plan: Plan, _: float) -> Desired:
    _require(desired, "pause", RolloutPhase.PROGRESSING, RolloutPhase.INCONCLUSIVE)
    return desired.changed(phase=RolloutPhase.PAUSED)


def _resume(desired: Desired, plan: Plan, _: float) -> Desired:
    _require(desired, "resume", RolloutPhase.PAUSED, RolloutPhase.INCONCLUSIVE)
    if desired.percent is None or plan.at(desired.percent) is None:
        raise NotAllowed(f"the plan has no step of {_percent(desired)}: promote to the next one, or abort")
    return desired.changed(phase=RolloutPhase.PROGRESSING)


def _promote(desired: Desired, plan: Plan, risen: float) -> Desired:
    _require(desired, "promote", *LIVE)
    if risen < plan.interval:
        raise NotAllowed(f"the percent has been raised {risen:.0f} s ago: not twice within {plan.interval:g} s")
    return risen_to(desired, plan.after(desired.percent or 0.0))


def _abort(desired: Desired, _plan: Plan, _: float) -> Desired:
    _require(desired, "abort", *LIVE)
    return desired.changed(percent=0.0, phase=RolloutPhase.ABORTED)


def _require(desired: Desired, verb: str, *phases: RolloutPhase) -> None:
    if desired.phase not in phases:
        allowed = ", ".join(sorted(phases))
        raise NotAllowed(f"{verb}: the rollout is {desired.phase}; allowed while it is {allowed}")


def _percent(desired: Desired) -> str:
    return "the settings' percent" if desired.percent is None else f"{desired.percent:g} %"


ACTS: Final[dict[str, Callable[[Desired, Plan, float], Desired]]] = {
    "start": _start,
    "pause": _pause,
    "resume": _resume,
    "promote": _promote,
    "abort": _abort,
}


def kill(desired: Desired, *, on: bool) -> Desired:
    """Everybody to legacy, or back. Raises nothing: saying it twice is allowed."""
    return desired if desired.kill is on else desired.changed(kill=on)


def set_percent(desired: Desired, percent: float) -> Desired:
    """By hand. While a rollout is live it may only be lowered, and pauses. Raises `NotAllowed`."""
    if desired.phase not in LIVE:
        return desired.changed(percent=percent)
    if desired.percent is not None and percent > desired.percent:
        raise NotAllowed(f"a rollout is {desired.phase} at {_percent(desired)}: promote raises it, or abort it first")
    return desired.changed(percent=percent, phase=RolloutPhase.PAUSED)


def force_breaker(desired: Desired, mode: BreakerMode) -> Desired:
    """Let the breaker be forced in every worker, or decide by itself again."""
    return desired.changed(breaker=str(mode))


def new_epoch(desired: Desired) -> Desired:
    """Draw the canary's keys anew. Raises `NotAllowed` while a rollout is live: it would compare other people."""
    if desired.phase in LIVE:
        raise NotAllowed(f"a rollout is {desired.phase}: its keys stay until it is over")
    return desired.changed(epoch=desired.epoch + 1)
