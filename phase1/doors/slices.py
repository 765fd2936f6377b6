"""Who holds the event loop, and for how long?

Fifty requests that arrive together, or fifty answers, would be worked on in one turn of the loop: whoever else waits
for it (a health check, another user's next token) waits until the last of them is done. So work goes in slices: whoever
comes when the turn has lasted a few milliseconds goes on in one of the next turns, in the order of coming. How many go
on in a turn is learnt from how long the turns take.

A place where work begins or goes on says `await slices.next()`. Where nobody else is, that costs half a microsecond.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary, ref

__all__ = ["Slices", "slices_here"]

_SLICE: Final = 0.004
"""Seconds. A single piece of work may last longer: then it is alone."""
_MOST: Final = 1024


class Slices:
    """The turns of one loop. Not to be shared between loops; `clock` is in seconds."""

    __slots__ = ("_batch", "_began", "_clock", "_loop", "_passed", "_turning", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._loop = ref(loop)
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turning = False
        self._began = 0.0
        self._passed = 0
        self._batch = 1

    async def next(self) -> None:
        """Return at once while this turn is young, else when it is one's own turn; on another loop always at once."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop():
            return
        if not self._turning:
            self._turning, self._began, self._passed = True, self._clock(), 1
            loop.call_soon(self._turn)
        elif not self._waiting and self._clock() - self._began < _SLICE:
            self._passed += 1
        else:
            if not self._waiting:
                self._batch = self._passed
            waiter = loop.create_future()
            self._waiting.append(waiter)
            await waiter

    def _turn(self) -> None:
        """One turn is over, the next begins."""
        if not self._waiting:
            self._turning = False
            return
        now = self._clock()
        took, self._began = now - self._began, now
        if took > _SLICE:
            self._batch = max(1, self._batch // 2)
        elif took < _SLICE / 2:
            self._batch = min(_MOST, self._batch * 2)
        for _ in range(min(self._batch, len(self._waiting))):
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
        asyncio.get_running_loop().call_soon(self._turn)

    def __repr__(self) -> str:
        return f"<Slices waiting={len(self._waiting)}>"


_slices: WeakKeyDictionary[asyncio.AbstractEventLoop, Slices] = WeakKeyDictionary()


def slices_here() -> Slices:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    slices = _slices.get(loop)
    if slices is None:
        slices = _slices[loop] = Slices(loop)
    return slices
