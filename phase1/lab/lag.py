"""How late is an event loop? A probe inside the app's process writes it down, and whoever measures reads it.

A line per tick: the monotonic time at which the probe ran, and by how many seconds that was too late. A loop that
stands still for two seconds is seen once only, though whoever came in those two seconds had to wait: `expected` adds
what a probe that never waited would have seen (as HdrHistogram does for a known interval).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["TICK", "expected", "read_lag", "write_lag"]

TICK: Final = 0.02
"""Seconds between two looks: 50 in a second cost nothing that could be measured."""


async def write_lag(file: Path) -> None:
    """Look every `TICK` until cancelled."""
    with file.open("w", encoding="ascii", buffering=1) as lines:
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            now = time.monotonic()
            lines.write(f"{now:.6f} {max(0.0, now - due):.6f}\n")


def read_lag(file: Path, begun: float, ended: float) -> list[tuple[float, float]]:
    """Monotonic time and lateness of each look whose wait touches the time from `begun` to `ended`.

    A loop that stood still at the end has not written that down yet: it counts as late until then.
    """
    lines = list(_lines(file))
    seen = [(at, late) for at, late in lines if at >= begun and at - late - TICK <= ended]
    missing = ended - lines[-1][0] - TICK if lines else 0.0
    return [*seen, (ended, missing)] if missing > TICK else seen


def expected(lates: Iterable[float]) -> list[float]:
    """What a probe would have seen that looks every `TICK` however late the loop is."""
    return [late - missed * TICK for late in lates for missed in range(int(late / TICK) + 1)]


def _lines(file: Path) -> Iterator[tuple[float, float]]:
    if not file.exists():
        return
    for line in file.read_text(encoding="ascii").splitlines():
        at, _, late = line.partition(" ")
        if late:  # the last one may be cut off
            yield float(at), float(late)
