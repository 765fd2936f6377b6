"""How long will somebody who joins the queue have to wait?

By the pace at which places have become free lately: a mean of the times between two of them that forgets
exponentially. Whoever would wait past the deadline anyway is better told so at once.
"""

from __future__ import annotations

from typing import Final

__all__ = ["WaitEstimate"]

_SHARE: Final = 0.1
"""Of the newest sample in the mean."""
_ENOUGH: Final = 10
"""Samples before the estimate is believed."""


class WaitEstimate:
    """Fed with the moments at which a place became free while somebody waited. Seconds of a monotonic clock."""

    __slots__ = ("_last", "_samples", "interval")

    def __init__(self) -> None:
        self._last: float | None = None
        self._samples = 0
        self.interval = 0.0
        """Mean seconds between two places."""

    def freed(self, now: float) -> None:
        """A place became free, and somebody was waiting for it."""
        if self._last is not None:
            self._samples += 1
            share = max(_SHARE, 1.0 / self._samples)
            self.interval += share * (now - self._last - self.interval)
        self._last = now

    def idle(self) -> None:
        """Nobody waits any more: the time until the next place says nothing about the pace."""
        self._last = None

    def seconds(self, position: int) -> float | None:
        """Until the `position`-th place from now, 1 for the next one; `None` = too little is known."""
        return position * self.interval if self._samples >= _ENOUGH else None
