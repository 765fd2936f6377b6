"""When is it the next call's turn? A token bucket that is booked ahead: who asks first goes first, woken once."""

from __future__ import annotations

__all__ = ["Pace"]

_CRUMB = 1e-9
"""Less than this is missing by rounding only."""


class Pace:
    """`per_second` calls, and at most `burst` at once after a pause. `now` is any monotonic clock, in seconds."""

    __slots__ = ("_at", "_burst", "_level", "_per_second")

    def __init__(self, per_second: float, *, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._level = burst  # below 0: so many are waiting
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until a call that is booked now may be made."""
        self._refill(now)
        missing = 1.0 - self._level
        return missing / self._per_second if missing > _CRUMB else 0.0

    def take(self, now: float) -> None:
        """Book one call."""
        self._refill(now)
        self._level -= 1.0

    def give(self) -> None:
        """Give a booking back."""
        self._level = min(self._burst, self._level + 1.0)

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._per_second)
            self._at = now

    def __repr__(self) -> str:
        return f"<Pace {self._per_second:g}/s, {self._level:.3g} of {self._burst:g} left>"
