"""What becomes of the percent now: does it rise, stay, or fall to nothing?

    idle ──start──▶ progressing ──▶ promoted            the last step is reached
                     │  ▲   │ └──▶ inconclusive         a step took too long: an operator has to say how it goes on
                     ▼  │   └────▶ rolled_back          the guard's evidence, from every phase that is not over
                    paused ──────▶ aborted              by an operator, likewise

`promoted`, `rolled_back` and `aborted` are latched: nothing but an operator's `start` leads out, and that is another
rollout. The controller never raises the percent twice in one interval; it lowers it at once. What an operator does is
in `rollout_acts`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from phase1.policy.rollout_guard import Evidence
from phase1.policy.rollout_plan import Plan, Step

__all__ = ["LIVE", "OVER", "Decision", "Desired", "Look", "RolloutPhase", "decide", "risen_to"]

_ALL: Final = 100.0


class RolloutPhase(StrEnum):
    """How far a rollout is."""

    IDLE = "idle"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    INCONCLUSIVE = "inconclusive"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


LIVE: Final = frozenset({RolloutPhase.PROGRESSING, RolloutPhase.PAUSED, RolloutPhase.INCONCLUSIVE})
OVER: Final = frozenset({RolloutPhase.PROMOTED, RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What all workers are to do: one record, whose `generation` rises by one with each change.

    `percent`: `None` = as each worker's settings say. `kill`: everybody is on legacy. `breaker`: who decides in the
    breaker (`policy.breaker.BreakerMode`). `epoch` draws the canary's keys anew. `run` counts the rollouts.
    """

    generation: int = 0
    percent: float | None = None
    kill: bool = False
    breaker: str = "automatic"
    epoch: int = 0
    phase: RolloutPhase = RolloutPhase.IDLE
    run: int = 0

    def changed(self, **values: object) -> Desired:
        """The next generation."""
        return replace(self, generation=self.generation + 1, **values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the controller sees. Durations are seconds at this percent, measured by a clock that does not jump.

    `elapsed`: those in which nothing held the rollout up. `waited`: all of them, since the step began or an operator
    last said `resume`. `risen`: all of them, since the step began. `silent`: one arm says nothing. `lopsided`:
    `rollout_arms.is_lopsided`.
    """

    evidence: Evidence
    elapsed: float = 0.0
    waited: float = 0.0
    risen: float = 0.0
    breaker_open: bool = False
    silent: bool = False
    lopsided: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why; `holding`: the time does not count for the step's duration."""

    desired: Desired
    reason: str
    holding: bool = False


def decide(desired: Desired, plan: Plan, look: Look) -> Decision:
    """One look of the controller. The generation rises only if something is changed."""
    if desired.phase not in LIVE:
        return Decision(desired, str(desired.phase), holding=True)
    if (metric := look.evidence.against) is not None:
        fallen = desired.changed(percent=0.0, phase=RolloutPhase.ROLLED_BACK)
        return Decision(fallen, f"the canary is worse than the control: {metric}")
    if desired.kill:
        return Decision(desired, "the kill switch is on", holding=True)
    if desired.phase is not RolloutPhase.PROGRESSING:
        return Decision(desired, str(desired.phase), holding=True)
    step = None if desired.percent is None else plan.at(desired.percent)
    if step is None:
        return Decision(desired, f"the plan has no step of {desired.percent} %", holding=True)
    return _progress(desired, plan, step, look)


def _progress(desired: Desired, plan: Plan, step: Step, look: Look) -> Decision:
    held = _held_by(plan, step, look)
    missing = held or _missing(plan, step, look)
    if missing is None:
        return Decision(risen_to(desired, plan.after(step.percent)), f"step {step.percent:g} % is passed")
    if look.waited >= step.patience:
        stuck = desired.changed(phase=RolloutPhase.INCONCLUSIVE)
        return Decision(stuck, f"step {step.percent:g} % has taken too long, {missing}", holding=True)
    return Decision(desired, missing, holding=held is not None)


def _held_by(plan: Plan, step: Step, look: Look) -> str | None:
    """What has to pass by itself first: the breaker, signals, a comparison that would not be fair."""
    canary = look.evidence.canary
    if look.breaker_open:
        return "the breaker is not active"
    if canary.calls and canary.throttled / canary.calls > plan.max_throttled:
        return f"{canary.throttled / canary.calls:.0%} of the canary's calls end with a 429"
    if plan.max_tokens is not None and canary.calls and canary.tokens / canary.calls > plan.max_tokens:
        return f"a call of the canary costs {canary.tokens / canary.calls:.0f} tokens"
    if step.compared and look.lopsided:
        return "canary and control are not heard of in the proportion that was drawn"
    if step.compared and look.silent:
        return "no traffic in one of the arms"
    return None


def _missing(plan: Plan, step: Step, look: Look) -> str | None:
    """The gate that is still closed; `None` = all are open."""
    if look.risen < plan.interval or look.elapsed < step.min_duration:
        return "its time is not over"
    if step.compared and min(look.evidence.canary.calls, look.evidence.control.calls) < step.min_samples:
        return f"fewer than {step.min_samples} calls of each arm"
    if step.approval:
        return "it waits for approval: phase1 rollout promote"
    if step.compared and not look.evidence.promotes:
        return "the evidence does not suffice yet"
    return None


def risen_to(desired: Desired, step: Step | None) -> Desired:
    """At the step, and progressing; at 100 %, or where there is none left, the rollout is done."""
    if step is None:
        return desired.changed(phase=RolloutPhase.PROMOTED)
    phase = RolloutPhase.PROMOTED if step.percent == _ALL else RolloutPhase.PROGRESSING
    return desired.changed(percent=step.percent, phase=phase)
