"""How are seconds and tokens counted, so that Prometheus can take percentiles? One bisection and two additions."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

__all__ = ["SECONDS", "SHORT_SECONDS", "TOKENS", "Histogram"]

SECONDS: Final = tuple(0.01 * 2**power for power in range(17))
"""0.01 0.02 … 81.92 s, as OpenTelemetry's GenAI conventions have them, then 163.84 … 655.36: models think for long."""
SHORT_SECONDS: Final = (
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    5e-3,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
)
"""10 µs to 1 s: what the event loop and we ourselves take."""
TOKENS: Final = tuple(4**power for power in range(14))
"""1 4 16 … 67108864, as OpenTelemetry's GenAI conventions have them."""


class Histogram:
    """Counts per bucket, each value in one; `counts` has one more place than `bounds`, for what is above them all."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value`; on a bound it belongs below."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_many(self, mean: float, times: int) -> None:
        """Count `times` values of which only the mean is known: sum and count are exact, the spread is lost."""
        self.counts[bisect_left(self.bounds, mean)] += times
        self.total += mean * times

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def __repr__(self) -> str:
        return f"<Histogram count={self.count} sum={self.total:.6g}>"
