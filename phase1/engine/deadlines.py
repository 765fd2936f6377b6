"""When does the time of each of a thousand calls run out? A few timers tell all of them.

A timer of its own for each call is made and cancelled for nothing: nearly all calls are over long before. Those that
end in the same thirty-second of a second share one, which goes off at its beginning: nobody is late, and whoever has a
second or more loses at most three percent of it. Who has less has a timer of his own.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

__all__ = ["Deadlines"]

_PER_SECOND: Final = 32
_SOON: Final = 1.0


class Deadlines:
    """The clocks of the calls on one loop. Times are the loop's."""

    __slots__ = ("_slots", "_timers")

    def __init__(self) -> None:
        self._slots: dict[int, dict[asyncio.Timeout, float]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def begin(self, scope: asyncio.Timeout, at: float) -> None:
        """Let `scope`, which has been entered without a time, run out at `at`; `inf` = never."""
        if at == inf:
            return
        slot = self._slots.get(number := int(at * _PER_SECOND))
        if slot is not None:
            slot[scope] = at
            return
        loop = asyncio.get_running_loop()
        if at - loop.time() < _SOON:
            scope.reschedule(at)
            return
        self._slots[number] = {scope: at}
        self._timers[number] = loop.call_at(number / _PER_SECOND, self._run_out, number)

    def end(self, scope: asyncio.Timeout, at: float) -> None:
        """It is over, in time or not."""
        if at == inf or (slot := self._slots.get(number := int(at * _PER_SECOND))) is None:
            return
        slot.pop(scope, None)
        if not slot:
            del self._slots[number]
            self._timers.pop(number).cancel()

    def _run_out(self, number: int) -> None:
        del self._timers[number]
        for scope, at in self._slots.pop(number).items():
            if not scope.expired():  # somebody else has let it run out in the same moment
                scope.reschedule(min(at, asyncio.get_running_loop().time()))

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))
