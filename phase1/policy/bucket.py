"""May this be sent now, or when?

A token bucket that is booked ahead: whoever takes more than there is makes the level negative and waits as long as
`wait` has said, so that waiters leave in the order of their booking, without a queue and without waking each other.
"""

from __future__ import annotations

__all__ = ["TokenBucket"]

_CRUMB = 1e-9
"""Less than this is missing by rounding only."""


class TokenBucket:
    """`capacity` units that refill by `per_second`; full at the start. `now` is any monotonic clock, in seconds."""

    __slots__ = ("_at", "capacity", "level", "per_second")

    def __init__(self, *, capacity: float, per_second: float, now: float) -> None:
        self.capacity = capacity
        self.per_second = per_second
        self.level = capacity
        """Units there were when somebody looked last; below 0 they are booked ahead."""
        self._at = now

    def refill(self, now: float) -> None:
        """Bring `level` up to `now`."""
        if now > self._at:
            level = self.level + (now - self._at) * self.per_second
            self.level = min(self.capacity, level)
            self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` can be taken; what is more than the capacity waits for a full bucket."""
        self.refill(now)
        missing = (min(self.capacity, amount)) - self.level
        return missing / self.per_second if missing > _CRUMB else 0.0

    def take(self, amount: float, now: float) -> None:
        """Book `amount`."""
        self.refill(now)
        self.level -= amount

    def give(self, amount: float) -> None:
        """Give a booking back, or a part of it; a negative `amount` books more."""
        self.level = min(self.capacity, self.level + amount)

    def __repr__(self) -> str:
        return f"<TokenBucket {self.level:.4g}/{self.capacity:.4g} +{self.per_second:.4g}/s>"
