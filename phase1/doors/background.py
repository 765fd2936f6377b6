"""Where do pooled calls run when no app's loop is there? On one loop in a daemon thread, for the default manager.

Scripts, notebooks and background threads call the pool through it. It is made by the first call that needs it, again
after a fork, and closed at exit.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager

__all__ = ["background_loop", "default_manager"]

_CLOSING_SECONDS = 5.0
_lock = threading.Lock()


class _Process:
    """What there is one of in a process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.manager: LLMManager | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def close(self) -> None:
        """At exit: close the manager's connections and stop the loop."""
        if self.loop is None or self.pid != os.getpid() or not self.loop.is_running():
            return
        if self.manager is not None:
            closing = asyncio.run_coroutine_threadsafe(self.manager.aclose(drain=0.0), self.loop)
            closing.exception(timeout=_CLOSING_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)


_process = _Process()


def _this_process() -> _Process:
    global _process  # noqa: PLW0603 - a forked child must not use its parent's thread
    if _process.pid != os.getpid():
        _process = _Process()
    return _process


def default_manager() -> LLMManager:
    """The manager of calls outside any app, from the environment. Never raises but with `LLM_STRICT_START=true`."""
    with _lock:
        process = _this_process()
        if process.manager is None:
            from phase1.doors.manager import LLMManager  # noqa: PLC0415 - a circle otherwise

            process.manager = LLMManager()
        return process.manager


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop of calls that have none."""
    with _lock:
        process = _this_process()
        if process.loop is None:
            process.loop = asyncio.new_event_loop()
            threading.Thread(target=process.loop.run_forever, name="phase1-loop", daemon=True).start()
            atexit.register(process.close)
        return process.loop
