"""How long does a quota domain rest after a 429?

Its rest is a point in time, only ever extended: of twenty 429s that arrive together, the longest counts, once. Without
a Retry-After the rest is 5 s and doubles until an answer succeeds. (RESILIENCE §3.)
"""

from __future__ import annotations

__all__ = ["Cooldown", "rest_of"]

_SHORTEST = 0.5
_LONGEST = 300.0
_UNKNOWN = 5.0
_JITTER = 0.1


def rest_of(retry_after: float, *, jitter: float) -> float:
    """Seconds to rest when the upstream asks for `retry_after`: believed between 0.5 s and 300 s, up to 10 % more."""
    return min(max(retry_after, _SHORTEST), _LONGEST) * (1 + _JITTER * jitter)


class Cooldown:
    """One domain's rest. `now` is a monotonic clock in seconds; `jitter` is a random number in [0, 1)."""

    __slots__ = ("_streak", "until")

    def __init__(self) -> None:
        self.until = 0.0
        """When it may be asked again."""
        self._streak = 0

    def throttled(self, now: float, *, retry_after: float | None, jitter: float) -> None:
        """Note a 429; `retry_after` is what the upstream asked for, in seconds."""
        if retry_after is None:
            if self.until > now:
                return  # the others of the same burst
            retry_after = _UNKNOWN * 2 ** min(self._streak, 10)
            self._streak += 1
        self.until = max(self.until, now + rest_of(retry_after, jitter=jitter))

    def succeeded(self) -> None:
        """Note a real answer: the next rest of unknown length is short again."""
        self._streak = 0

    def clear(self) -> None:
        """Forget the rest."""
        self.until, self._streak = 0.0, 0

    def rests(self, now: float) -> float:
        """Seconds until it may be asked again; 0 when it may be asked now."""
        return max(0.0, self.until - now)
