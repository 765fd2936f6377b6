"""How did the requests of the last minute go?"""

from __future__ import annotations

from typing import Final

__all__ = ["SuccessWindow"]

_SLOTS: Final = 60


class SuccessWindow:
    """Requests and successes of the last `seconds`, in a ring of 60 slots with running totals.

    Recording costs the same however many requests there are. A sixtieth of the window leaves at a time.
    """

    __slots__ = ("_requests", "_successes", "_tick", "_width", "requests", "successes")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _SLOTS
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._tick = 0
        self._requests = [0] * _SLOTS
        self._successes = [0] * _SLOTS
        self.requests = 0
        self.successes = 0

    def record(self, now: float, *, success: bool) -> None:
        """Count one request that ended at `now`."""
        tick = int(now // self._width)
        if tick > self._tick:
            self.advance(now)
        slot = self._tick % _SLOTS
        self._requests[slot] += 1
        self.requests += 1
        if success:
            self._successes[slot] += 1
            self.successes += 1

    def advance(self, now: float) -> None:
        """Let go of what has become too old by `now`. A clock that stands still or goes back changes nothing."""
        tick = int(now // self._width)
        for old in range(max(self._tick, tick - _SLOTS) + 1, tick + 1):
            self._empty(old % _SLOTS)
        self._tick = max(self._tick, tick)

    @property
    def success_rate(self) -> float:
        """Successes per request, 0 … 1; 1 if there were no requests."""
        return self.successes / self.requests if self.requests else 1.0

    def _empty(self, slot: int) -> None:
        self.requests -= self._requests[slot]
        self.successes -= self._successes[slot]
        self._requests[slot] = self._successes[slot] = 0
