"""What runs beside the requests? Loops that are there from start to close, and come back after an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any, Final, TypeVar

__all__ = ["Background", "apart", "end"]

T = TypeVar("T")

_log = logging.getLogger("phase1")
_PAUSE: Final = 1.0


def apart(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that does not belong to the request that happens to start it: not its context, and not its portal."""
    return Context().run(asyncio.ensure_future, work)


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel them, and wait until they are over.

    More than once if need be: before Python 3.12 `asyncio.wait_for`, with which redis-py sends, loses a cancellation
    that comes in the moment in which its work is done.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_PAUSE)


class Background:
    """A few loops of one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, loops: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Run each until `aclose`."""
        for loop in loops:
            self._tasks.add(apart(_again_and_again(loop)))

    async def aclose(self) -> None:
        """Cancel all of them and wait."""
        tasks, self._tasks = self._tasks, set()
        await end(tasks)


async def _again_and_again(loop: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001 - whatever it was, the next round may go well
            _log.exception("offload: %s failed; it goes on", getattr(loop, "__qualname__", loop))
        await asyncio.sleep(_PAUSE)
