"""How long does the breaker stay open this time?

Equal jitter: half of the exponential delay is certain, half is random, so that workers do not probe in step
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). The exponent falls by one per healthy
minute instead of being reset by the first success: an upstream that flips keeps its long pauses until it has proved
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2
from typing import Final

__all__ = ["OpenTime"]

_HEALTHY_MINUTE: Final = 60.0


class OpenTime:
    """Open times from `base` to `maximum` seconds, doubling with each opening."""

    __slots__ = ("_base", "_maximum", "_rng", "_top")

    def __init__(self, *, base: float, maximum: float, rng: Callable[[], float]) -> None:
        if not 0.0 < base <= maximum:
            raise ValueError(f"open times from {base} s to {maximum} s: must be more than 0 and rising")
        self._base = base
        self._maximum = maximum
        self._rng = rng
        self._top = ceil(log2(maximum / base))

    def draw(self, exponent: int) -> float:
        """Seconds to stay open: between half and all of `base · 2^exponent`, at most `maximum`."""
        delay = min(self._maximum, self._base * 2.0 ** min(exponent, self._top))
        return delay / 2 + self._rng() * delay / 2

    def relaxed(self, exponent: int, healthy_seconds: float) -> int:
        """The exponent after that long without an opening. Capped first: an outage of hours is paid off in minutes."""
        return max(0, min(exponent, self._top) - int(healthy_seconds // _HEALTHY_MINUTE))
