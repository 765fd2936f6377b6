"""How long has a step lasted, and what has been seen at it? What the controller remembers from look to look.

Time is added up from the differences that the caller measures with a clock that does not jump, each at most a few
seconds: a machine that slept, or a minute without a leader, passes no gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from phase1.policy.canary import Canary
from phase1.policy.rollout import Decision, Desired, Look, RolloutPhase
from phase1.policy.rollout_arms import ArmSums, Block, is_lopsided
from phase1.policy.rollout_guard import Guard
from phase1.policy.rollout_plan import Plan

__all__ = ["Watch"]

_LONGEST: Final = 5.0


class Watch:
    """Follows one rollout, by one leader after the other: `state` and `restore` hand it over."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._at: tuple[int, float | None] | None = None
        self._begin(None)

    def _begin(self, at: tuple[int, float | None] | None) -> None:
        self._at = at
        self._phase = RolloutPhase.IDLE
        self.guard = Guard(self._plan)
        self.elapsed = self.waited = self.risen = 0.0
        self._quiet = [0.0, 0.0]
        self._holding = False

    def look(
        self,
        desired: Desired,
        *,
        seconds: float,
        canary: ArmSums,
        control: ArmSums,
        breaker_open: bool,
        blocks: Iterable[Block] = (),
    ) -> Look:
        """`seconds` have passed since the last look, and these calls have ended, in these blocks."""
        if (at := (desired.run, desired.percent)) != self._at:
            self._begin(at)
        if self._phase is not desired.phase and desired.phase is RolloutPhase.PROGRESSING:
            self.waited = 0.0
        self._phase = desired.phase
        self._pass(min(max(seconds, 0.0), _LONGEST), canary, control)
        self.guard.count(canary, control)
        for block in blocks:
            self.guard.bet(block)
        evidence = self.guard.evidence()
        drawn = Canary(desired.percent or 0.0)
        return Look(
            evidence=evidence,
            elapsed=self.elapsed,
            waited=self.waited,
            risen=self.risen,
            breaker_open=breaker_open,
            silent=max(self._quiet) >= self._plan.silence,
            lopsided=is_lopsided(drawn, evidence.canary, evidence.control),
        )

    def _pass(self, seconds: float, canary: ArmSums, control: ArmSums) -> None:
        self.risen += seconds
        self.waited += seconds
        self.elapsed += 0.0 if self._holding else seconds
        for arm, sums in enumerate((canary, control)):
            self._quiet[arm] = 0.0 if sums.calls else self._quiet[arm] + seconds

    def decided(self, decision: Decision) -> None:
        """What came of the look."""
        self._holding = decision.holding

    def state(self) -> dict[str, Any]:
        """What has to be remembered, as JSON has it."""
        return {
            "at": list(self._at) if self._at else None,
            "phase": str(self._phase),
            "elapsed": self.elapsed,
            "waited": self.waited,
            "risen": self.risen,
            "guard": self.guard.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises `ValueError`, `TypeError` or `KeyError` for anything else, and begins anew."""
        run, percent = state["at"]
        self._begin((int(run), None if percent is None else float(percent)))
        try:
            self._phase = RolloutPhase(state["phase"])
            self.elapsed, self.waited, self.risen = (
                max(0.0, float(state[name])) for name in ("elapsed", "waited", "risen")
            )
            self.guard.restore(state["guard"])
        except BaseException:
            self._begin(None)
            raise
