"""What has to be done now and then? One timer per chore, on the loop whose connections they are about.

Timers, not tasks: nothing of ours is pending when a loop ends. A chore that awaits runs as a task while it lasts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

__all__ = ["Caretaker"]

_log = logging.getLogger("phase1")

Chore = Callable[[], Awaitable[None] | None]


class Caretaker:
    """Does chores, each in its own interval of seconds, until it is closed. Made on the loop that it works on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Chore, asyncio.TimerHandle] = {}
        self._running: set[asyncio.Future[None]] = set()

    def every(self, seconds: float, chore: Chore) -> None:
        """Do `chore` every so often; what it raises is logged."""
        self._timers[chore] = self._loop.call_later(seconds, self._do, seconds, chore)

    def _do(self, seconds: float, chore: Chore) -> None:
        try:
            work = chore()
        except Exception:  # noqa: BLE001 - whatever it is, the next time may be better
            _log.exception("the pool's chore %s failed", chore)
            work = None
        if work is None:
            self.every(seconds, chore)
            return
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(lambda done: self._done(done, seconds, chore))

    def _done(self, task: asyncio.Future[None], seconds: float, chore: Chore) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        if error := task.exception():
            _log.error("the pool's chore %s failed", chore, exc_info=error)
        self.every(seconds, chore)

    async def aclose(self) -> None:
        """Stop, also what is being done."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running))
