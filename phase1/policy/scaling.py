"""How many clients does a node need?

Kubernetes' horizontal autoscaler: desired = ceil(current · utilisation / 0.7), nothing within 10 % of the target, at
most twice as many per 15 s upwards, and downwards only to the highest recommendation of the last 300 s. What waits
counts as load. While the pool is in trouble (`frozen`) nothing changes: then the load says little.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

__all__ = ["PERIOD", "Scaler"]

PERIOD: Final = 15.0
"""Seconds between two decisions."""
_TARGET: Final = 0.7
_TOLERANCE: Final = 0.1
_MEMORY: Final = 300.0


class Scaler:
    """Between `minimum` and `maximum` clients. `now` is a monotonic clock, in seconds."""

    __slots__ = ("_maximum", "_minimum", "_recent")

    def __init__(self, *, minimum: int = 1, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._recent: deque[tuple[float, int]] = deque()

    def decide(self, now: float, *, current: int, utilisation: float, frozen: bool = False) -> int:
        """Clients from now on. `utilisation`: calls in flight and waiting per place of the current clients."""
        if frozen:
            return current
        wanted = self._recommend(current, utilisation)
        self._recent.append((now, wanted))
        while self._recent[0][0] <= now - _MEMORY:
            self._recent.popleft()
        if wanted >= current:
            return min(wanted, 2 * current, self._maximum)
        return min(current, max(count for _, count in self._recent))

    def _recommend(self, current: int, utilisation: float) -> int:
        if abs(utilisation / _TARGET - 1.0) <= _TOLERANCE:
            return current
        return max(self._minimum, min(self._maximum, ceil(current * utilisation / _TARGET)))
