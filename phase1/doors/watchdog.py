"""Why does the loop stand still? If it does while the portal has calls suspended, say where; never hang silently.

A task that holds a `threading.Lock` while its LLM call is suspended makes every other task that wants the lock block
the whole loop, for good: without the portal the call would have blocked the loop itself, and nobody else would have
come that far. One daemon thread looks after all loops; it sleeps while no call is suspended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Watchdog", "suspended"]

_log = logging.getLogger("phase1")

_PERIOD = 1.0
_PATIENCE = 5.0


@dataclass(slots=True)
class _Watched:
    thread: int
    calls: int = 0
    unanswered: int = 0
    complained: bool = False


@dataclass(slots=True)
class Watchdog:
    """Asks each loop with suspended calls for a sign of life every `period` seconds, and complains after `patience`."""

    period: float = _PERIOD
    patience: float = _PATIENCE
    _loops: dict[asyncio.AbstractEventLoop, _Watched] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _work: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def enter(self, loop: asyncio.AbstractEventLoop) -> None:
        """A call is suspended on `loop`, whose thread this is."""
        with self._lock:
            watched = self._loops.get(loop)
            if watched is None:
                watched = self._loops[loop] = _Watched(threading.get_ident())
            watched.calls += 1
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, name="phase1-watchdog", daemon=True)
                self._thread.start()
        self._work.set()

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """It goes on."""
        with self._lock:
            watched = self._loops[loop]
            watched.calls -= 1
            if not watched.calls:
                del self._loops[loop]
            if not self._loops:
                self._work.clear()

    def _watch(self) -> None:
        while True:
            self._work.wait()
            threading.Event().wait(self.period)
            self.look()

    def look(self) -> None:
        """One round: who has not answered since the last ones?"""
        with self._lock:
            loops = list(self._loops.items())
        for loop, watched in loops:
            self._look_at(loop, watched)

    def _look_at(self, loop: asyncio.AbstractEventLoop, watched: _Watched) -> None:
        watched.unanswered += 1
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            loop.call_soon_threadsafe(_answer, watched)
        if watched.unanswered * self.period > self.patience and not watched.complained:
            watched.complained = True
            _complain(watched, self.patience)


def _answer(watched: _Watched) -> None:
    watched.unanswered = 0
    watched.complained = False


def _complain(watched: _Watched, seconds: float) -> None:
    frame = sys._current_frames().get(watched.thread)  # noqa: SLF001 - the documented way to another thread's stack
    stack = "".join(traceback.format_stack(frame)) if frame else "its thread is gone\n"
    _log.error(
        "the event loop has been blocked for %.0f s while %d LLM calls are suspended; is a threading.Lock held across "
        "one? LLM_UNBLOCK=false makes such calls block as before. The loop is here:\n%s",
        seconds,
        watched.calls,
        stack,
    )


_watchdog = Watchdog()


def _after_fork() -> None:
    """A forked child has neither the thread nor, perhaps, whoever was holding the lock."""
    global _watchdog  # noqa: PLW0603
    _watchdog = Watchdog()


os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def suspended(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have `loop` looked after while a call on it is suspended."""
    watchdog = _watchdog
    watchdog.enter(loop)
    try:
        yield
    finally:
        watchdog.leave(loop)
