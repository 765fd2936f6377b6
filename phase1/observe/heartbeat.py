"""How late is the event loop, and which line of the app holds it?

A daemon thread knocks at the loop ten times a second and notes how long the loop takes to answer. When it has not
answered for a tenth of a second somebody blocks it, and the thread looks at the loop thread's stack for the innermost
line that is the app's own. It tells of it when the loop moves again, with the seconds that it stood.

The loop has no timer for this: one that is always the next to run keeps cancelled timers, of every request's deadline,
from being thrown away. When the whole process stood still (stopped, swapped out), the thread itself is late: then
nobody is to blame.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from phase1.doors.sites import site_of
from phase1.events import LoopStalled

if TYPE_CHECKING:
    from phase1.events import Events

__all__ = ["PATIENCE", "PERIOD", "Heartbeat"]

_log = logging.getLogger("phase1")

PERIOD: Final = 0.1
"""Seconds between two knocks."""
PATIENCE: Final = 0.1
"""Seconds that an answer may take before somebody is to blame."""
_LATE_MYSELF: Final = 3
"""Periods after which the thread takes itself for the late one."""
_NAMED: Final = 50


class _Knock:
    """One question to the loop, and when it was answered."""

    __slots__ = ("answered_at", "asked_at", "site")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.answered_at: float | None = None
        self.site: str | None = None


class Heartbeat:
    """Watches one loop from `start` to `stop`: `was_late(seconds)` hears each answer, `each_second()` each second.

    Both run in the watching thread: what takes time there delays no request.
    """

    def __init__(
        self,
        events: Events,
        *,
        was_late: Callable[[float], None],
        each_second: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._was_late = was_late
        self._each_second = each_second
        self._clock = clock
        self._stop = threading.Event()
        self._knock: _Knock | None = None
        self._named: set[str] = set()
        self._complained = False
        self.talkative = True
        """Whether a line that is found for the first time goes to the log."""

    @property
    def standing_at(self) -> str | None:
        """The line that holds the loop right now; `None` when it moves."""
        knock = self._knock
        return knock.site if knock is not None and knock.answered_at is None else None

    @property
    def standing_for(self) -> float:
        """Seconds that the loop has owed an answer for now."""
        knock = self._knock
        return self._clock() - knock.asked_at if knock is not None and knock.answered_at is None else 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch `loop`, whose thread this is, and no other one any more."""
        self.stop()
        self._knock, self._stop = None, threading.Event()
        watch = (loop, threading.get_ident(), self._stop)
        threading.Thread(target=self._watch, args=watch, name="phase1-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Watch nobody."""
        self._stop.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int, stop: threading.Event) -> None:
        before, second = self._clock(), 0
        while not stop.wait(PERIOD) and not loop.is_closed():
            now = self._clock()
            self.look(loop, thread, late_myself=now - before > _LATE_MYSELF * PERIOD)
            before = now
            if int(now) != second:
                second = int(now)
                self._tell_second()

    def _tell_second(self) -> None:
        try:
            self._each_second()
        except Exception:  # noqa: BLE001 - whatever it is, the loop is watched on
            if not self._complained:
                self._complained = True
                _log.exception("the second's numbers could not be kept; this is said once")

    def look(self, loop: asyncio.AbstractEventLoop, thread: int, *, late_myself: bool = False) -> None:
        """One round: has the loop answered, and if not, who holds it?"""
        knock = self._knock
        if knock is None or knock.answered_at is not None:
            if knock is not None and knock.answered_at is not None:
                self._answered(knock, knock.answered_at - knock.asked_at)
            self._ask(loop)
        elif knock.site is None and not late_myself and self._clock() - knock.asked_at > PATIENCE:
            frame = sys._current_frames().get(thread)  # noqa: SLF001 - the documented way to another thread's stack
            site = site_of(frame) if frame is not None else None
            if knock.answered_at is None:  # or it was a moment too late to see who it was
                knock.site = site

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        knock = self._knock = _Knock(self._clock())

        def answer() -> None:
            knock.answered_at = self._clock()

        try:
            loop.call_soon_threadsafe(answer)
        except RuntimeError:  # closed meanwhile
            self._knock = None

    def _answered(self, knock: _Knock, seconds: float) -> None:
        self._was_late(seconds)
        if knock.site is None:
            return
        self._events.notify(LoopStalled(knock.site, seconds))
        if self.talkative and knock.site not in self._named and len(self._named) < _NAMED:
            self._named.add(knock.site)
            _log.warning("the event loop stood still for %.2f s at %s; this line is named once", seconds, knock.site)
