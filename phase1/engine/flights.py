"""Who waits for the same work? One task does it for all who ask while it lasts.

The task is nobody's: a caller who is cancelled leaves the others alone, and when the last one has left it is cancelled
too. Flights belong to a loop, like the connections that they use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Flights"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiters: int = 0


class Flights(Generic[T]):
    """The work that is under way, by key."""

    def __init__(self) -> None:
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Flight[T]]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return sum(len(flights) for flights in tuple(self._of_loops.values()))

    def has(self, key: str) -> bool:
        """Whether work of that name is under way on the running loop."""
        return key in self._of_loops.get(asyncio.get_running_loop(), {})

    async def share(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """What comes of the work of that name, begun now if it is not under way; whether somebody else began it.

        Raises what the work raises.
        """
        loop = asyncio.get_running_loop()
        flights = self._of_loops.setdefault(loop, {})
        flight = flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = flights[key] = _Flight(loop.create_task(work()))
            flight.task.add_done_callback(lambda task: _over(flights, key, task))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task), joined
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                del flights[key]  # whoever comes now begins anew
                flight.task.cancel()


def _over(flights: dict[str, _Flight[T]], key: str, task: asyncio.Task[T]) -> None:
    flight = flights.get(key)
    if flight is not None and flight.task is task:
        del flights[key]
    if not task.cancelled():
        task.exception()  # seen, even if nobody waits any more
