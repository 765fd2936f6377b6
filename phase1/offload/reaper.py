"""Who sees to tasks whose worker is gone? Every web process, once a second; of several the first does it."""

from __future__ import annotations

import asyncio
import logging

from phase1.offload.config import Times
from phase1.offload.jobs import Job, JobQueue, QueueUnavailable
from phase1.offload.journal import Code, Journal, JournalUnavailable

__all__ = ["Reaper"]

_log = logging.getLogger("phase1")
_AT_ONCE = 100


class Reaper:
    """Sends again, or ends, what nobody holds. `run` it in a task."""

    def __init__(self, journal: Journal, queue: JobQueue, times: Times) -> None:
        self._journal = journal
        self._queue = queue
        self._times = times

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._times.reap)
            await self.sweep()

    async def sweep(self) -> None:
        """Once. A journal that is away has nothing to reap."""
        try:
            for task in await self._journal.overdue(_AT_ONCE):
                await self._reap(task)
        except (JournalUnavailable, QueueUnavailable):
            _log.debug("offload: nothing could be reaped; trying again")

    async def _reap(self, task: str) -> None:
        reply = await self._journal.reap(task)
        if reply.code is Code.CLOSED_HERE:
            _log.warning("offload: a task was closed, for nobody could finish it")
        if reply.code is not Code.REDISPATCH:
            return
        meta = await self._journal.meta(task)
        if meta is not None:
            _log.warning("offload: a task is sent to another worker (dispatch %d)", reply.last)
            await self._queue.submit(Job(task, reply.last, meta.kind, 0))
