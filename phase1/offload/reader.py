"""How is a journal followed? Subscribe, replay, then forward; and look again whenever something may have been missed.

Whoever reads slowly costs no memory: the journal is the buffer. A notification that brings the direct successor is
taken as it is; anything else, or two seconds of silence, sends the reader back to the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import pairwise
from typing import Final

from phase1.offload.config import Times
from phase1.offload.journal import Cursor, Entry, Journal, JournalUnavailable, Watch

__all__ = ["TaskGone", "follow"]

_PAGE: Final = 256
_RETRY: Final = 0.2


class TaskGone(Exception):
    """The journal knows nothing of the task any more."""


async def follow(
    journal: Journal, task: str, after: Cursor, *, times: Times, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[Sequence[Entry], None]:
    """The entries after a place, in order, each once, up to the last one. An empty batch: nothing for a while.

    Raises `TaskGone`, and `JournalUnavailable` when the journal has been away for `times.read_patience`.
    """
    reader = _Reader(journal, task, after, times, clock)
    async with journal.watch(task) as watch:
        while True:
            page = await reader.page()
            if page:
                yield page
                if page[-1].terminal:
                    return
            if len(page) == _PAGE:
                continue
            while batch := await reader.heard(watch):
                yield batch
                if batch[-1].terminal:
                    return
            if reader.silent:
                yield ()


class _Reader:
    """Where one reader is."""

    def __init__(self, journal: Journal, task: str, after: Cursor, times: Times, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._task = task
        self._after = after
        self._times = times
        self._clock = clock
        self._away_since: float | None = None
        self.silent = False

    async def page(self) -> Sequence[Entry]:
        """What the journal has; nothing while it is away."""
        try:
            page = await self._journal.read(self._task, self._after, _PAGE)
            if not page and self.silent and await self._journal.meta(self._task) is None:
                raise TaskGone
        except JournalUnavailable:
            await self._wait_for_it()
            return ()
        self._away_since = None
        return self._advance(page)

    async def _wait_for_it(self) -> None:
        now = self._clock()
        self._away_since = now if self._away_since is None else self._away_since
        if now - self._away_since >= self._times.read_patience:
            raise JournalUnavailable("the journal has been away for too long")
        await asyncio.sleep(_RETRY)

    async def heard(self, watch: Watch) -> Sequence[Entry]:
        """What can be taken as it was heard; nothing: look."""
        heard = await watch.next(self._times.poll if self._away_since is None else _RETRY)
        self.silent = heard is None
        fresh = [entry for entry in heard or () if entry.cursor > self._after]
        return self._advance(fresh) if fresh and self._follows(fresh) else ()

    def _follows(self, entries: Sequence[Entry]) -> bool:
        places = [self._after, *(entry.cursor for entry in entries)]
        return all(first.is_next(second) for first, second in pairwise(places))

    def _advance(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        if entries:
            self._after = entries[-1].cursor
        return entries
