"""What do several measurements say together? Medians, and how far apart the rounds were."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Spread", "ratios", "spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of all rounds, the lowest and the highest of them."""

    median: float
    lowest: float
    highest: float
    rounds: int

    def __str__(self) -> str:
        if self.rounds == 1:
            return short(self.median)
        return f"{short(self.median)} ({short(self.lowest)}–{short(self.highest)})"


def short(value: float) -> str:
    """Three digits that mean something: `0.0512`, `1.21`, `1,215`."""
    if abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(values: Iterable[float]) -> Spread | None:
    """`None` where nothing was measured."""
    known = sorted(values)
    if not known:
        return None
    return Spread(statistics.median(known), known[0], known[-1], len(known))


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """One ratio per round: both sides ran within seconds of each other. Rounds that one side lacks are left out."""
    return [a / b for a, b in zip(over, under, strict=False) if b > 0]
