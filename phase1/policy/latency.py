"""How long does a node take to answer, as far as a choice between nodes needs to know?

Finagle's and linkerd's peak-EWMA: a slow answer counts at once and in full, and is forgotten exponentially with a time
constant of 10 s; so is a node that nobody asks, until somebody does. What is measured is the time to the first token.
"""

from __future__ import annotations

from math import exp
from typing import Final

__all__ = ["PeakEwma"]

_TAU: Final = 10.0
_FAILED: Final = 5.0
_LONGEST: Final = 300.0


class PeakEwma:
    """One node's latency, in seconds. `now` is a monotonic clock."""

    __slots__ = ("_at", "_value", "known")

    def __init__(self) -> None:
        self.known = False
        """Whether anything was measured."""
        self._at = 0.0
        self._value = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """An answer came after `seconds`."""
        if not self.known or seconds >= self._value:
            self._value = seconds
        else:
            kept = exp((self._at - now) / _TAU)
            self._value = self._value * kept + seconds * (1.0 - kept)
        self._at = now
        self.known = True

    def failed(self, now: float, *, retry_after: float | None = None) -> None:
        """No answer: as if it had come after 5 s, or what the upstream asks to wait, or what is known if that is more.

        Failing fast must not look like being fast.
        """
        self._value = max(_FAILED, min(retry_after or 0.0, _LONGEST), self.value(now))
        self._at = now
        self.known = True

    def value(self, now: float) -> float:
        """The latency that is to be expected now."""
        return self._value * exp((self._at - now) / _TAU) if now > self._at else self._value
