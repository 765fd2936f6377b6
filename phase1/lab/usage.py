"""What does an app's process take while it is loaded: CPU, memory, and lateness of its event loop?

psutil looks at the process and its children, so that an app with workers counts as a whole; the loop's lateness is
written down by the process itself (`lag`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from phase1.lab.lag import expected, read_lag
from phase1.lab.load import percentile

__all__ = ["Lag", "Look", "Usage", "Watch", "lag_of", "watch"]

_EVERY: Final = 0.25
_STILL: Final = 0.1
"""Seconds from which on a loop stands still, and is not only busy."""


@dataclass(frozen=True, slots=True)
class Look:
    """What there was to be seen at one moment: seconds since the beginning, CPU seconds so far, resident bytes."""

    at: float
    cpu: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """CPU seconds, their share of one core (1.0 = one core all the time), and the most memory, in bytes."""

    cpu_seconds: float
    cores: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """By how many seconds the event loop was late; `blocked`: the share of the time (0 … 1) in which it stood still."""

    p50: float
    p99: float
    longest: float
    blocked: float


@dataclass(slots=True)
class Watch:
    """What was seen of a process between `begun` and `ended`, by the monotonic clock."""

    begun: float
    ended: float = 0.0
    looks: list[Look] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        """All looks in three numbers."""
        first, last = self.looks[0], self.looks[-1]
        cpu, seconds = last.cpu - first.cpu, last.at - first.at
        return Usage(
            cpu_seconds=cpu,
            cores=cpu / seconds if seconds else 0.0,
            memory=max(look.memory for look in self.looks),
        )


@asynccontextmanager
async def watch(pid: int) -> AsyncIterator[Watch]:
    """Look at process `pid` and its children while the block runs."""
    found = Watch(time.monotonic())
    process = psutil.Process(pid)
    found.looks.append(_look(process, found.begun))
    watching = asyncio.create_task(_keep_looking(process, found))
    try:
        yield found
    finally:
        watching.cancel()
        with contextlib.suppress(psutil.NoSuchProcess):  # it died: what was seen until then counts
            found.looks.append(_look(process, found.begun))
        found.ended = time.monotonic()


def lag_of(file: Path, watched: Watch) -> tuple[Lag, list[tuple[float, float]]]:
    """The lateness of a loop while its process was watched, and each look at it: seconds since then, seconds late."""
    seen = read_lag(file, watched.begun, watched.ended)
    lates = sorted(expected(late for _, late in seen)) or [0.0]
    blocked = sum(late for _, late in seen if late > _STILL)
    lag = Lag(
        p50=percentile(lates, 0.50),
        p99=percentile(lates, 0.99),
        longest=lates[-1],
        blocked=min(1.0, blocked / (watched.ended - watched.begun)),
    )
    return lag, [(at - watched.begun, late) for at, late in seen]


async def _keep_looking(process: psutil.Process, found: Watch) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while True:
            await asyncio.sleep(_EVERY)
            found.looks.append(_look(process, found.begun))


def _look(process: psutil.Process, begun: float) -> Look:
    family: Sequence[psutil.Process] = [process, *process.children(recursive=True)]
    cpu, memory = 0.0, 0
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            cpu += times.user + times.system
            memory += one.memory_info().rss
    return Look(time.monotonic() - begun, cpu, memory)
