"""Where do pooled calls run when no app's loop is there? On one loop in a daemon thread, for the default manager.

Scripts, notebooks and background threads call the pool through it. It is made by the first call that needs it, again
after a fork, and closed at exit. Connections on a loop of the caller's own (`asyncio.run` in a script or in a thread)
are closed together with that loop.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import wait
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from phase1.exceptions import PoolClosed

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.engine.manager import Manager

__all__ = ["background_loop", "close_with_loop", "default_manager"]

_CLOSING_SECONDS = 5.0


class _Process:
    """What there is one of in a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.manager: LLMManager | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._ends: WeakKeyDictionary[asyncio.AbstractEventLoop, _End] = WeakKeyDictionary()

    def start_loop(self) -> asyncio.AbstractEventLoop:
        """Let a loop run in a thread."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="phase1-loop", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        return self.loop

    def end_of(self, loop: asyncio.AbstractEventLoop) -> _End:
        """What happens at the end of the running loop."""
        end = self._ends.get(loop)
        if end is None:
            end = self._ends[loop] = _End()
        return end

    def close(self) -> None:
        """At exit: close what has connections on our loop, and the loop."""
        loop, self.loop = self.loop, None
        if loop is None or self._thread is None or self._pid != os.getpid():
            return
        wait([asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop)], _CLOSING_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(_CLOSING_SECONDS)
        if not self._thread.is_alive():
            loop.close()


class _End:
    """Closes connections when the running loop closes its generators, as `asyncio.run` does: one of them is ours."""

    def __init__(self) -> None:
        self.managers: WeakSet[Manager] = WeakSet()
        self._generator = self._at_the_end()
        with contextlib.suppress(StopIteration):
            self._generator.asend(None).send(None)

    async def _at_the_end(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            for manager in list(self.managers):
                await manager.bindings.aclose(drain=0.0)


_process = _Process()


def _after_fork() -> None:
    """A forked child must not use its parent's thread, nor wait for a lock that the parent held."""
    global _process  # noqa: PLW0603
    _process = _Process()


os.register_at_fork(after_in_child=_after_fork)


def default_manager() -> LLMManager:
    """The manager of calls outside any app, from the environment. Never raises but with `LLM_STRICT_START=true`."""
    process = _process
    with process.lock:
        if process.manager is None:
            from phase1.doors.manager import LLMManager  # noqa: PLC0415 - a circle otherwise

            process.manager = LLMManager()
        return process.manager


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop of calls that have none."""
    process = _process
    with process.lock:
        return process.loop or process.start_loop()


def close_with_loop(manager: Manager) -> None:
    """Have its connections on the running loop closed with the loop, if nobody has closed them before."""
    if manager.bindings.ends_with_loop:
        return
    with contextlib.suppress(PoolClosed):  # the call itself is told
        binding = manager.bindings.current()
        if not binding.ends_with_loop:
            _process.end_of(asyncio.get_running_loop()).managers.add(manager)
            binding.ends_with_loop = True
