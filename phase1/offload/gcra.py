"""May one more come now? The generic cell rate algorithm: one number per key, no window edges.

`lua/gcra.lua` is the same for Redis.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Taken", "take"]


class Taken(NamedTuple):
    """`remaining` more may come at once; `retry_after` and `reset` (until all may come) in seconds."""

    allowed: bool
    remaining: int
    retry_after: float
    reset: float


def take(tat_us: int | None, *, now_us: int, interval_us: int, burst: int, cost: int) -> tuple[int | None, Taken]:
    """The key's new number (`None`: leave it) and the answer. `cost` 0 only looks, below 0 gives back."""
    tat = max(now_us if tat_us is None else tat_us, now_us)
    new = max(tat + cost * interval_us, now_us)
    room = now_us + burst * interval_us
    if cost > 0 and new > room:
        taken = Taken(False, (room - tat) // interval_us, math.ceil(new - room) / 1e6, (tat - now_us) / 1e6)  # noqa: FBT003
        return None, taken
    return (new if cost else None), Taken(True, (room - new) // interval_us, 0.0, (new - now_us) / 1e6)  # noqa: FBT003
