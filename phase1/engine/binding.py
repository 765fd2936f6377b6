"""What belongs to one event loop of one process?

Connections, admission and in-flight calls live on the loop they were made on. A second loop (a test client's, a
thread's) and a forked worker get a fresh set; what is known about the upstreams (breaker, canary, numbers) is the
manager's and shared.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakSet

from phase1.engine.admission import Admission
from phase1.engine.caretaker import Caretaker
from phase1.engine.pool import Pool
from phase1.exceptions import PoolClosed

__all__ = ["Binding", "Bindings"]

_log = logging.getLogger("phase1")


@dataclass(slots=True)
class Binding:
    """The pool at work on one loop; `legacy` bounds the calls to the legacy client that run in threads."""

    pool: Pool | None
    admission: Admission
    legacy: Admission
    closed: bool = False
    ends_with_loop: bool = False
    """Whether somebody sees to it that it is closed together with its loop."""
    caretaker: Caretaker | None = None

    async def aclose(self, *, drain: float) -> None:
        """Admit nobody new, let everybody inside finish for up to `drain` seconds, then close every connection.

        Cancelled while it waits, it closes them at once.
        """
        self.closed = True
        if self.caretaker is not None:
            await self.caretaker.aclose()
        try:
            drained = await asyncio.gather(self.admission.drain(timeout=drain), self.legacy.drain(timeout=drain))
            if not all(drained):
                cut = self.admission.in_flight + self.legacy.in_flight
                _log.warning("closing with %d calls still in flight after %.0f s of draining", cut, drain)
        finally:
            if self.pool is not None:
                await self.pool.aclose()


class Bindings:
    """The bindings of all loops. `build` makes one; it must not await: a hundred first requests get the same one.

    A forked child has none: the sockets are its parent's, it leaves them alone.
    """

    __slots__ = ("__weakref__", "_build", "_by_loop")

    def __init__(self, build: Callable[[], Binding]) -> None:
        self._build = build
        self._by_loop: dict[asyncio.AbstractEventLoop, Binding] = {}
        _bindings.add(self)

    def current(self) -> Binding:
        """The running loop's binding, made when there is none. Raises `PoolClosed` after `aclose` on this loop."""
        loop = asyncio.get_running_loop()
        binding = self._by_loop.get(loop) or self._bind(loop)
        if binding.closed:
            raise PoolClosed("the pool is closed; `await manager.start()` opens it again")
        return binding

    @property
    def ends_with_loop(self) -> bool:
        """Whether there is a binding to the running loop that is closed together with it."""
        binding = self._by_loop.get(asyncio.get_running_loop())
        return binding is not None and binding.ends_with_loop

    def peek(self) -> Binding | None:
        """An open binding if there is one: of the running loop first, else any (for reading numbers)."""
        alive = [binding for binding in tuple(self._by_loop.values()) if not binding.closed]
        try:
            own = self._by_loop.get(asyncio.get_running_loop())
        except RuntimeError:
            own = None
        if own is not None and not own.closed:
            return own
        return alive[-1] if alive else None

    def open(self) -> list[tuple[asyncio.AbstractEventLoop, Binding]]:
        """Every open binding with its loop."""
        bindings = tuple(self._by_loop.items())  # other threads bind their loops meanwhile
        return [(loop, binding) for loop, binding in bindings if not (binding.closed or loop.is_closed())]

    def reopen(self) -> None:
        """Forget that the running loop's binding was closed."""
        loop = asyncio.get_running_loop()
        if (binding := self._by_loop.get(loop)) is not None and binding.closed:
            del self._by_loop[loop]

    async def aclose(self, *, drain: float) -> None:
        """Drain and close the running loop's binding; forget those of loops that are gone."""
        binding = self._by_loop.get(asyncio.get_running_loop())
        if binding is not None and not binding.closed:
            await binding.aclose(drain=drain)
        self._forget_dead_loops()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> Binding:
        self._forget_dead_loops()
        binding = self._by_loop[loop] = self._build()
        return binding

    def _forget_dead_loops(self) -> None:
        for loop in tuple(self._by_loop):  # other threads bind their loops meanwhile
            if loop.is_closed():
                self._by_loop.pop(loop, None)

    def forget(self) -> None:
        """Let go of all bindings as they are: nothing is closed."""
        self._by_loop.clear()


_bindings: WeakSet[Bindings] = WeakSet()


def in_forked_child() -> None:
    """Every manager begins anew."""
    for bindings in tuple(_bindings):
        bindings.forget()


os.register_at_fork(after_in_child=in_forked_child)  # asking for the process id in each call would cost 2 µs
