"""Which tasks does this process hold? It says so every three seconds, and hears who is to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from phase1.offload.config import Times
from phase1.offload.journal import Code, Journal, JournalUnavailable, Reply

__all__ = ["Held"]

_log = logging.getLogger("phase1")

_CALL: Final = 2.0
"""Seconds that one renewal may take: a loop that waits for ever renews nothing."""

Stop = Callable[[str], None]


class Held:
    """The leases of one process. `run` and `listen` each in a task."""

    def __init__(self, journal: Journal, times: Times, *, beat: Callable[[], None] = lambda: None) -> None:
        self._journal = journal
        self._times = times
        self._beat = beat
        self._stops: dict[str, tuple[int, Stop]] = {}

    def __len__(self) -> int:
        return len(self._stops)

    @contextmanager
    def holding(self, task: str, epoch: int, stop: Stop) -> Iterator[None]:
        """Inside, the lease of `task` is renewed. `stop` is told why the work is over."""
        self._stops[task] = (epoch, stop)
        try:
            yield
        finally:
            if self._stops.get(task) == (epoch, stop):
                del self._stops[task]

    async def run(self) -> None:
        """Until cancelled. Whatever a renewal comes to, the next one is tried."""
        while True:
            await asyncio.sleep(self._times.renewal)
            await self.renew()

    async def renew(self) -> None:
        """Once."""
        held = [(task, epoch) for task, (epoch, _) in self._stops.items()]
        try:
            async with asyncio.timeout(_CALL):
                replies = await self._journal.renew(held)
                if not held:  # what beats says that the journal can be reached
                    await self._journal.backlog()
        except (JournalUnavailable, TimeoutError):
            _log.warning("offload: %d leases could not be renewed; trying again", len(held))
            return
        self._beat()
        for (task, epoch), reply in zip(held, replies, strict=True):
            self._heard(task, epoch, reply)

    def _heard(self, task: str, epoch: int, reply: Reply) -> None:
        if self._stops.get(task, (0,))[0] != epoch:
            return
        if reply.code is not Code.OK:
            self.stop(task, reply.code.name.lower())
        elif reply.cancelled:
            self.stop(task, "cancelled")

    async def give_back(self) -> None:
        """The process ends: whoever reaps need not wait for the leases to run out."""
        held = [(task, epoch) for task, (epoch, _) in self._stops.items()]
        if held:
            try:
                async with asyncio.timeout(_CALL):
                    await self._journal.renew(held, lease_ms=0)
            except (JournalUnavailable, TimeoutError):
                _log.warning("offload: %d leases could not be given back; they run out by themselves", len(held))

    async def listen(self) -> None:
        """Until cancelled: who is to be stopped."""
        async for task in self._journal.cancellations():
            self.stop(task, "cancelled")

    def stop(self, task: str, reason: str) -> None:
        """Tell whoever works on it here."""
        if task in self._stops:
            self._stops[task][1](reason)
