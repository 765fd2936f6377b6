"""What runs beside the requests? Loops that are there from start to close, and come back after an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import Final

__all__ = ["Background"]

_log = logging.getLogger("phase1")
_PAUSE: Final = 1.0


class Background:
    """A few loops of one event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, loops: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Run each until `aclose`."""
        for loop in loops:
            # Not in the context of the request that happens to be the first: these loops belong to no request.
            self._tasks.add(asyncio.get_running_loop().create_task(_again_and_again(loop), context=Context()))

    async def aclose(self) -> None:
        """Cancel all of them and wait."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _again_and_again(loop: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await loop()
        except Exception:  # noqa: BLE001 - whatever it was, the next round may go well
            _log.exception("offload: %s failed; it goes on", getattr(loop, "__qualname__", loop))
        await asyncio.sleep(_PAUSE)
