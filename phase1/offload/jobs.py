"""How does a task get to whoever runs it? As a message of its name and a number; delivered once, twice or never.

The journal's claim makes one run of it, the reaper sends again what got lost.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from phase1.exceptions import Phase1Error
from phase1.offload.background import end

__all__ = [
    "ANALYTICS",
    "CHAT",
    "DEFAULT_PRIORITY",
    "FEEDBACK",
    "QUEUES",
    "Job",
    "JobQueue",
    "LocalQueue",
    "QueueUnavailable",
]

_log = logging.getLogger("phase1")

CHAT: Final = "chat"
FEEDBACK: Final = "feedback"
ANALYTICS: Final = "analytics"
QUEUES: Final = {CHAT: "llm", FEEDBACK: "feedback", ANALYTICS: "analytics"}
"""On which queue the tasks of a kind go; `default` is the app's own tasks'."""
DEFAULT_PRIORITY: Final = 6
"""Of 0, the first, to 9."""


class QueueUnavailable(Phase1Error):
    """The message could not be sent; nobody will run the task because of it."""


class Job(NamedTuple):
    """One message."""

    task: str
    dispatch: int
    kind: str
    priority: int = DEFAULT_PRIORITY


class JobQueue(Protocol):
    """Where messages go."""

    async def submit(self, job: Job) -> None:
        """Send it. Raises `QueueUnavailable`."""


class LocalQueue:
    """A priority queue of this process, and `concurrency` workers on its loop: `run` it."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._jobs: asyncio.PriorityQueue[tuple[int, int, Job]] = asyncio.PriorityQueue()
        self._order = itertools.count()

    async def submit(self, job: Job) -> None:
        """Never waits: how much may wait is decided before."""
        self._jobs.put_nowait((job.priority, next(self._order), job))

    async def run(self, handle: Callable[[Job], Awaitable[object]]) -> None:
        """Until cancelled."""
        workers = [asyncio.create_task(self._work(handle)) for _ in range(self._concurrency)]
        try:
            await asyncio.wait(workers)
        finally:
            await end(workers)

    async def _work(self, handle: Callable[[Job], Awaitable[object]]) -> None:
        while True:
            _, _, job = await self._jobs.get()
            try:
                await handle(job)
            except Exception:  # noqa: BLE001 - the task's lease runs out; the next one is somebody else's
                _log.exception("offload: a %s task was given up", job.kind)
