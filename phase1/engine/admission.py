"""Who may start now, and who waits?

A bounded queue in front of the pool, fair between keys: waiting keys take turns, so that one user with a hundred calls
delays nobody but himself. Waiters are futures on one loop; a cancelled one leaves at once. Whoever would have to wait
longer than he can is refused at once, with the time after which it is worth coming back. Every step is O(1), whatever
the number waiting.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable

from phase1.engine.deadlines import Deadlines
from phase1.exceptions import PoolClosed, QueueFull, QueueTimeout
from phase1.policy.waiting import WaitEstimate

__all__ = ["Admission"]

_Waiter = asyncio.Future[None]
_Line = OrderedDict[_Waiter, None]


class Admission:
    """`capacity` calls at once, at most `queue_size` waiting."""

    __slots__ = (
        "_capacity",
        "_closed",
        "_deadlines",
        "_idle",
        "_lines",
        "_queue_size",
        "_waits",
        "in_flight",
        "waiting",
    )

    def __init__(self, *, capacity: int, queue_size: int) -> None:
        self._capacity = capacity
        self._queue_size = queue_size
        self._lines: OrderedDict[str | None, _Line] = OrderedDict()
        self._idle: list[_Waiter] = []
        self._waits = WaitEstimate()
        self._deadlines = Deadlines()
        self._closed = False
        self.in_flight = 0
        self.waiting = 0

    @property
    def capacity(self) -> int:
        """How many calls may be in flight."""
        return self._capacity

    def resize(self, capacity: int) -> None:
        """Another capacity from now on: places that come are handed to those who wait."""
        self._capacity = max(1, capacity)
        while self.in_flight < self._capacity and (waiter := self._next_waiter()) is not None:
            self.in_flight += 1
            waiter.set_result(None)

    def _wait_of(self, key: str | None) -> float | None:
        """Seconds until somebody of this key who joins now has a place; `None` = nobody knows."""
        line = self._lines.get(key)
        turns = (len(self._lines) + 1) if line is None else len(self._lines) * (len(line) + 1)
        return self._waits.seconds(min(turns, self.waiting + 1))

    def enter_at_once(self) -> bool:
        """Take a place, if there is one and nobody waits. Whoever enters must `leave` exactly once.

        Raises `PoolClosed`.
        """
        if self._closed:
            raise PoolClosed("the pool is closing")
        if self.in_flight >= self._capacity or self.waiting:
            return False
        self.in_flight += 1
        return True

    def enter(self, key: str | None, *, timeout: float) -> Awaitable[None]:
        """Take a place, waiting up to `timeout` seconds. Whoever enters must `leave` exactly once.

        Raises `QueueFull`, `QueueTimeout` (also at once, when the wait would be longer) or `PoolClosed`; then no place
        is taken.
        """
        if self.enter_at_once():
            return _entered()
        wait = self._wait_of(key)
        if self.waiting >= self._queue_size:
            message = f"the pool's queue is full ({self._queue_size} waiting)"
            raise QueueFull(message, retry_after=wait or 1.0)
        if timeout <= 0 or (wait is not None and wait > timeout):
            message = f"a place in the pool would take about {wait or 0:.3g} s, and there are {max(0, timeout):.3g} s"
            raise QueueTimeout(message, retry_after=wait or 1.0)
        return self._wait(key, timeout)

    async def _wait(self, key: str | None, timeout: float) -> None:
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, OrderedDict())[waiter] = None
        self.waiting += 1
        try:
            with self._deadlines.clock(waiter.get_loop().time() + timeout):
                await waiter
        except TimeoutError:
            self._withdraw(key, waiter)
            message = f"no place in the pool became free within {timeout:.3g} s"
            raise QueueTimeout(message, retry_after=self._wait_of(key) or 1.0) from None
        except asyncio.CancelledError:
            self._withdraw(key, waiter)
            raise

    def _withdraw(self, key: str | None, waiter: _Waiter) -> None:
        if not waiter.cancelled():
            self.leave()  # the place came in the same moment: hand it on
            return
        line = self._lines.get(key)
        if line is None or waiter not in line:
            return  # `leave` has skipped it already
        del line[waiter]
        self.waiting -= 1
        if not line:
            del self._lines[key]

    def leave(self) -> None:
        """Give the place back: the next waiter of the next key has it."""
        waiter = self._next_waiter() if self.in_flight <= self._capacity else None
        if waiter is not None:
            self._waits.freed(waiter.get_loop().time())
            waiter.set_result(None)
            return
        if not self.waiting:
            self._waits.idle()
        self.in_flight -= 1
        if not self.in_flight:
            self._wake_idle()

    def _next_waiter(self) -> _Waiter | None:
        while self._lines:
            key, line = self._lines.popitem(last=False)
            waiter, _ = line.popitem(last=False)
            self.waiting -= 1
            if line:
                self._lines[key] = line
            if not waiter.cancelled():
                return waiter
        return None

    async def drain(self, *, timeout: float) -> bool:
        """Admit nobody new; let those inside and those waiting finish. False when `timeout` seconds were too short."""
        self._closed = True
        if not self.in_flight:
            return True
        idle: _Waiter = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        try:
            async with asyncio.timeout(timeout):
                await idle
        except TimeoutError:
            return False
        return True

    def _wake_idle(self) -> None:
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        self._idle.clear()

    def __repr__(self) -> str:
        return f"<Admission in_flight={self.in_flight}/{self._capacity} waiting={self.waiting}>"


async def _entered() -> None:
    """There was a place."""
