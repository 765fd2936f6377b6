"""By which steps does the canary grow, and what has to be known before each?

The default is the weeks of the migration guide, from its second one on (in the first the pool is off): a small test,
full operation, high load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

__all__ = ["DAY", "METRICS", "WEEKS", "Metric", "Plan", "Step"]

DAY: Final = 86_400.0
_PATIENCE: Final = 3.0
"""A step may take so many times its shortest duration until it is called inconclusive, unless it says otherwise."""
_HOUR: Final = 3600.0
_ALL: Final = 100.0


class Metric(StrEnum):
    """What the arms are compared by; each lies between 0 (fine) and 1."""

    FAILED = "failed"
    """The call failed, also when legacy answered in the end."""
    SECONDS = "seconds"
    """How long the answer took, as a share of the deadline; 1 = none came. Of streams nothing is known."""
    EMPTY = "empty"
    """It was answered with nothing."""


METRICS: Final = tuple(Metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One percent and its gates. Durations are seconds that were watched and not held up.

    `min_samples`: outcomes of each arm. `max_duration`: then it is inconclusive; `None` = three times `min_duration`,
    at least an hour. `approval`: an operator has to say `promote`.
    """

    percent: float
    min_duration: float = 0.0
    min_samples: int = 0
    max_duration: float | None = None
    approval: bool = False
    name: str = ""

    @property
    def patience(self) -> float:
        """`max_duration`, or what stands for it."""
        return max(_HOUR, _PATIENCE * self.min_duration) if self.max_duration is None else self.max_duration

    @property
    def compared(self) -> bool:
        """Whether there are two arms."""
        return 0 < self.percent < _ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps, and how sure one has to be. Raises `ValueError` for a plan that no rollout can follow.

    `interval`: seconds between two rises at least. `alpha`: the chance that a healthy canary is ever rolled back, over
    all metrics and steps. `margins`: by how much the canary may be worse and still be promoted, per metric.
    `tolerances`: by how much it must be worse to be rolled back (of the time 0.01, half a second of the default
    deadline: a pool's queue is not free). `max_throttled`: share of the canary's calls that end with a 429, above which
    the rollout waits. `max_tokens`: mean tokens of a call, as the upstream counts them, above which it waits: what a
    call costs; `None` = no limit. `silence`: seconds without an outcome of one arm after which it waits.
    """

    steps: tuple[Step, ...]
    interval: float = 60.0
    alpha: float = 0.05
    margins: Mapping[Metric, float] = field(default_factory=lambda: dict.fromkeys(METRICS, 0.05))
    tolerances: Mapping[Metric, float] = field(
        default_factory=lambda: {Metric.FAILED: 0.0, Metric.SECONDS: 0.01, Metric.EMPTY: 0.0}
    )
    max_throttled: float = 0.1
    max_tokens: float | None = None
    silence: float = 600.0

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("a plan needs at least one step")
        for before, after in pairwise(self.steps):
            if after.percent <= before.percent:
                raise ValueError(
                    f"step {after.percent:g} % comes after {before.percent:g} %: each must be higher than the last"
                )

    @property
    def tests(self) -> int:
        """How many comparisons share `alpha`."""
        return len(METRICS) * max(1, sum(step.compared for step in self.steps))

    def at(self, percent: float) -> Step | None:
        """The step of that percent."""
        return next((step for step in self.steps if step.percent == percent), None)

    def after(self, percent: float) -> Step | None:
        """The next step above it; `None` = there is none."""
        return next((step for step in self.steps if step.percent > percent), None)


WEEKS: Final = Plan(
    steps=(
        Step(name="week 2: small test, first users", percent=1, min_duration=DAY, min_samples=100),
        Step(name="week 2: small test", percent=10, min_duration=6 * DAY, min_samples=500),
        Step(name="week 3: production, first part", percent=25, min_duration=2 * DAY, min_samples=500),
        Step(name="week 3: production", percent=50, min_duration=5 * DAY, min_samples=500),
        Step(name="week 4: high load", percent=100),
    )
)
"""1 → 10 → 25 → 50 → 100."""
