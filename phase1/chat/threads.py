"""How does a blocking query run without blocking the loop? In daemon threads, a bounded number at once.

They are the helper's own: the loop's default executor is the app's, and the pool's legacy threads may all be waiting
for a model. A caller who gives up leaves the thread to finish; its place is free when the thread has ended.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from phase1.doors.threads import start_thread, until_done

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """At most `limit` calls at once (on each event loop, of which an app has one); the others wait their turn."""

    def __init__(self, limit: int, *, name: str) -> None:
        self.limit = limit
        self.in_flight = 0
        self._name = name
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def run(self, work: Callable[[], T]) -> T:
        """`work()` in a thread, with the caller's context variables. Raises what it raises."""
        places = self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self.limit))
        await places.acquire()
        self.in_flight += 1
        leave = partial(self._leave, places)
        try:
            running = start_thread(partial(contextvars.copy_context().run, work), name=self._name)
        except BaseException:
            leave()
            raise
        return await until_done(running, leave)

    def _leave(self, places: asyncio.Semaphore) -> None:
        self.in_flight -= 1
        places.release()

    def __repr__(self) -> str:
        return f"<Threads {self._name}: {self.in_flight} of {self.limit} busy>"
