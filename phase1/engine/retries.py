"""Is there a place for one more retry, or is one worth waiting for?

`policy.budget` bounds the retries in flight. When a node that had many calls goes bad, all of them want a retry in the
same moment, and most find no place. As long as there is a node that has not failed, such a call waits for a place: the
bound holds, and the call is served a little later. In a total outage nobody waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from phase1.policy.budget import RetryBudget

__all__ = ["Retries"]


class _Busy(Protocol):
    @property
    def in_flight(self) -> int:
        """Calls in flight."""


class Retries:
    """The retries of one pool."""

    __slots__ = ("_pool", "_waiters", "budget")

    def __init__(self, pool: _Busy) -> None:
        self._pool = pool
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.budget = RetryBudget()

    @property
    def _first_attempts(self) -> int:
        # Retries that earned retries would make it a quarter more in an outage, not a fifth.
        return self._pool.in_flight - self.budget.in_flight

    async def place(self, patience: float, hopeful: Callable[[], bool]) -> bool:
        """Take a place, waiting up to `patience` seconds as long as it is `hopeful`. Whoever got one must `release`."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + patience
        while (
            not self.budget.has_place(requests_in_flight=self._first_attempts) and hopeful() and loop.time() < ends_at
        ):
            await self._turn(ends_at)
        return self.budget.acquire(requests_in_flight=self._first_attempts)

    async def _turn(self, ends_at: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(ends_at):
                await waiter
        except TimeoutError:
            return
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # the turn came in the same moment: hand it on
            raise

    def take(self) -> bool:
        """Take a place at once, or say no: a hedge is not worth waiting for, nor ahead of those who wait."""
        return not self._waiters and self.budget.acquire(requests_in_flight=self._first_attempts)

    def release(self) -> None:
        """Give the place back: the next in line may take it."""
        self.budget.release()
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
