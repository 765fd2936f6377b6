"""How many calls may a node have in flight?

Loss-based AIMD, as TCP has it and Netflix' `AIMDLimit`: a lost call multiplies the limit by 0.9, a call that ends well
adds one, if the limit was at least half used. It never looks at latency: healthy LLM latencies are heavy-tailed, and
limits that follow them shrink to nothing.
"""

from __future__ import annotations

from math import inf

__all__ = ["AimdLimit"]


class AimdLimit:
    """A limit between `minimum` and `maximum` calls; it begins at `initial`, by default at `maximum`."""

    __slots__ = ("_backoff", "_decreased_at", "_minimum", "maximum", "value")

    def __init__(self, maximum: int, *, initial: int | None = None, minimum: int = 1, backoff: float = 0.9) -> None:
        self.maximum = maximum
        self._minimum = minimum
        self._backoff = backoff
        self._decreased_at = -inf
        self.value = maximum if initial is None else initial
        """Calls that may be in flight now."""

    def succeeded(self, in_flight: int) -> bool:
        """Note a call that ended well while `in_flight` were under way, itself included. Whether the limit rose."""
        if self.value >= self.maximum or in_flight * 2 < self.value:
            return False
        self.value += 1
        return True

    def dropped(self, *, started: float, now: float) -> bool:
        """Note a lost call. Whether the limit fell: calls that began before the last fall are of the same burst."""
        if started < self._decreased_at:
            return False
        self._decreased_at = now
        self.value, before = max(self._minimum, int(self.value * self._backoff)), self.value
        return self.value < before

    def resize(self, maximum: int) -> None:
        """Another upper bound. A limit that was at the old one is at the new one; a lower one keeps its share."""
        self.value = max(self._minimum, min(maximum, round(self.value * maximum / self.maximum)))
        self.maximum = maximum

    def __repr__(self) -> str:
        return f"<AimdLimit {self.value}/{self.maximum}>"
