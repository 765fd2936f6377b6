"""When does the time of each of a thousand calls run out? A few timers tell all of them.

A timer of its own for each call is made and cancelled for nothing: nearly all calls are over long before. Those that
end in the same thirty-second of a second share one, which goes off at its beginning: nobody is late, and whoever has a
second or more loses at most three percent of it. Who has less has a timer of his own. A shared one goes off also when
all who had it are over: others may have come meanwhile, and thirty-two a second cost nothing.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Clock", "Deadlines"]

_PER_SECOND: Final = 32
_SOON: Final = 1.0


class Deadlines:
    """The clocks of the calls on one loop, that of the first call. Times are the loop's."""

    __slots__ = ("_loop", "_slots")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots: dict[int, dict[Clock, None]] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Theirs. To ask for the running one takes a system call each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def clock(self, at: float) -> Clock:
        """A clock that runs out at `at`; `inf` = never."""
        return Clock(self, at)

    def begin(self, clock: Clock, at: float) -> asyncio.TimerHandle | None:
        """Let `clock` run out at `at`: by the timer that is returned, else by a shared one, until `end`."""
        loop = self.loop
        if at - loop.time() < _SOON:
            return loop.call_at(at, clock.run_out)
        slot = self._slots.get(number := int(at * _PER_SECOND))
        if slot is not None:
            slot[clock] = None
            return None
        self._slots[number] = {clock: None}
        # It outlives this request, and must not keep alive what belongs to it.
        loop.call_at(number / _PER_SECOND, self._run_out, number, context=Context())
        return None

    def end(self, clock: Clock, at: float) -> None:
        """It is over, in time or not."""
        if (slot := self._slots.get(int(at * _PER_SECOND))) is not None:
            slot.pop(clock, None)

    def _run_out(self, number: int) -> None:
        for clock in self._slots.pop(number):
            clock.run_out()

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))


class Clock:
    """`with` it, the running task has until then; after that it is cancelled, and `TimeoutError` is what comes out.

    As `asyncio.timeout`, which takes 5.9 µs on uvloop where this takes 0.9.
    """

    __slots__ = ("_at", "_cancelling", "_deadlines", "_task", "_timer", "given_up", "ran_out")

    def __init__(self, deadlines: Deadlines, at: float) -> None:
        self._deadlines = deadlines
        self._at = at
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None
        self.ran_out = False
        self.given_up = False
        """Whether somebody has let it run out before its time."""

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._deadlines.loop)
        if task is None:
            raise RuntimeError("only a task can be cancelled when its time is over")
        self._task, self._cancelling = task, task.cancelling()
        if self._at != inf:
            self._timer = self._deadlines.begin(self, self._at)
        return self

    def give_up(self) -> None:
        """Let it run out now, if it runs."""
        self.given_up = self._task is not None and not self.ran_out
        self.run_out()

    def run_out(self) -> None:
        """The time is over. Before it begins, after its end, and again, that means nothing."""
        if self._task is not None and not self.ran_out:
            self.ran_out = True
            self._task.cancel()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        elif self._at != inf:
            self._deadlines.end(self, self._at)
        # Somebody else may have cancelled it too: his wish counts for more (asyncio.timeout has the same rule).
        ours = self.ran_out and task is not None and task.uncancel() <= self._cancelling
        if ours and exc_type is asyncio.CancelledError:
            raise TimeoutError from exc
