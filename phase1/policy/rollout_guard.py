"""What does the comparison of the arms say so far: roll back, promote, or neither?

Each metric has two bettors: one that the canary is worse, one that it is not worse by more than the margin. One of the
first kind is enough to roll back; for a promotion all of the second kind have to have won.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from phase1.policy.evidence import EProcess, threshold
from phase1.policy.rollout_arms import ArmSums, Block
from phase1.policy.rollout_plan import METRICS, Metric, Plan

__all__ = ["Evidence", "Guard"]

_NOTHING: Final = ArmSums()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a step. `worse` and `not_worse` are log e by metric, to be compared with `threshold`."""

    canary: ArmSums = _NOTHING
    control: ArmSums = _NOTHING
    worse: Mapping[Metric, float] | None = None
    not_worse: Mapping[Metric, float] | None = None
    threshold: float = 0.0
    blocks: int = 0

    @property
    def against(self) -> Metric | None:
        """The metric for which the canary has to be rolled back."""
        worse = self.worse or {}
        return max((metric for metric in worse if worse[metric] >= self.threshold), key=worse.__getitem__, default=None)

    @property
    def promotes(self) -> bool:
        """Whether the canary has been found to be no worse, in all that is known of it."""
        found = self.not_worse or {}
        return Metric.FAILED in found and min(found.values()) >= self.threshold

    def document(self) -> dict[str, Any]:
        """For the audit and the page."""
        return {
            "n": self.canary.calls,
            "failures": {"canary": self.canary.failed, "control": self.control.failed},
            "control_n": self.control.calls,
            "log_e": {str(metric): round(value, 3) for metric, value in (self.worse or {}).items()},
            "log_e_promote": {str(metric): round(value, 3) for metric, value in (self.not_worse or {}).items()},
            "threshold": round(self.threshold, 3),
            "blocks": self.blocks,
        }


class Guard:
    """The bettors of one step."""

    def __init__(self, plan: Plan) -> None:
        self.threshold = threshold(plan.alpha, plan.tests)
        self.canary = self.control = _NOTHING
        self.worse = {metric: EProcess.worse(plan.tolerances[metric]) for metric in METRICS}
        self.not_worse = {metric: EProcess.not_worse(plan.margins[metric]) for metric in METRICS}

    def count(self, canary: ArmSums, control: ArmSums) -> None:
        """Calls that are over."""
        self.canary, self.control = self.canary + canary, self.control + control

    def bet(self, block: Block) -> None:
        """One block of them."""
        self._take(Metric.FAILED, block.failed)
        self._take(Metric.EMPTY, block.empty)
        if block.seconds is not None:
            self._take(Metric.SECONDS, block.seconds)

    def _take(self, metric: Metric, difference: float) -> None:
        self.worse[metric].add(difference)
        self.not_worse[metric].add(difference)

    def evidence(self) -> Evidence:
        """As it stands."""
        known = [metric for metric in METRICS if self.worse[metric].blocks]
        return Evidence(
            self.canary,
            self.control,
            {metric: self.worse[metric].log_e for metric in known},
            {metric: self.not_worse[metric].log_e for metric in known},
            self.threshold,
            self.worse[Metric.FAILED].blocks,
        )

    def state(self) -> dict[str, Any]:
        """What has to be remembered, as JSON has it."""
        return {
            "canary": self.canary.state(),
            "control": self.control.state(),
            "worse": {str(metric): bettor.state() for metric, bettor in self.worse.items()},
            "not_worse": {str(metric): bettor.state() for metric, bettor in self.not_worse.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises `ValueError`, `TypeError` or `KeyError` for anything else."""
        self.canary, self.control = ArmSums.restored(state["canary"]), ArmSums.restored(state["control"])
        for metric in METRICS:
            self.worse[metric].restore(state["worse"][metric])
            self.not_worse[metric].restore(state["not_worse"][metric])
