"""How long does a quota domain rest after a 429?

A domain is what shares one quota: an organisation's key and model, or what `quota_domain` says. Its rest is a point in
time, only ever extended: of twenty 429s that arrive together, the longest counts, once. Without a Retry-After the rest
is 5 s and doubles until an answer succeeds. (RESILIENCE §3.)
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ["Cooldowns"]

_SHORTEST = 0.5
_LONGEST = 300.0
_UNKNOWN = 5.0
_JITTER = 0.1
_MANY = 1000


class Cooldowns:
    """The rests of all domains. `rng` gives numbers in [0, 1) for up to 10 % of jitter."""

    __slots__ = ("_clock", "_rng", "_streaks", "_until")

    def __init__(self, *, rng: Callable[[], float], clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rng = rng
        self._until: dict[str, float] = {}
        self._streaks: dict[str, int] = {}

    def throttled(self, domain: str, *, retry_after: float | None) -> None:
        """Note a 429; `retry_after` is what the upstream asked for, in seconds."""
        now = self._clock()
        if retry_after is None:
            if self.rests(domain) > 0:
                return  # the others of the same burst
            streak = self._streaks.get(domain, 0)
            self._streaks[domain] = streak + 1
            retry_after = _UNKNOWN * 2 ** min(streak, 10)
        rest = min(max(retry_after, _SHORTEST), _LONGEST)
        until = now + rest * (1 + _JITTER * self._rng())
        self._until[domain] = max(self._until.get(domain, 0.0), until)
        if len(self._until) > _MANY:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop what is over: domains may come with requests."""
        self._until = {domain: until for domain, until in self._until.items() if until > now}
        self._streaks = {domain: streak for domain, streak in self._streaks.items() if domain in self._until}

    def succeeded(self, domain: str) -> None:
        """Note a real answer: the next rest of unknown length is short again."""
        self._streaks.pop(domain, None)

    def rests(self, domain: str) -> float:
        """Seconds until `domain` may be asked again; 0 when it may be asked now."""
        return max(0.0, self._until.get(domain, 0.0) - self._clock())
