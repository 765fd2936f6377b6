"""How does a test let a minute pass without waiting for it?

On a `VirtualLoop` time moves only when nobody has anything to do: then it jumps to the next timer. `asyncio.sleep(60)`
takes no time, every timer fires in its order, and a test that waits for what will never happen ends at once.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

__all__ = ["VirtualLoop"]

_PATIENCE = 5.0
"""Real seconds that the loop waits for a thread or a socket when no timer is set."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is virtual, from 1000 s on. Sockets and threads work, as if they took no time."""

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_now

    def _jump(self, seconds: float) -> None:
        self._virtual_now += seconds


class _Jumping(selectors.DefaultSelector):
    """Waits for nobody: where it should wait, it tells how long."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if ready := super().select(_PATIENCE if timeout is None else 0):
            return ready
        if timeout is None:
            raise RuntimeError("nobody will ever wake this loop: the test waits for what cannot happen")
        self._jump(timeout)
        return []
