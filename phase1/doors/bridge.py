"""How does synchronous code wait for the engine without blocking the event loop?

- In a task that has a portal (opened by the middleware): the task is suspended, the loop goes on.
- In a thread without a loop (`def` endpoints, scripts): the call runs on the request's loop, or on our own.
- On a loop without a portal nothing can wait: the caller makes the plain call, as before, and it is counted.

A thread never waits for a loop that does not move: if the loop has not begun the call within the unit's `patience` (it
may be waiting for this very thread), or has stopped, `LoopBlocked` sends the caller to the plain call.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from phase1.doors.background import background_loop
from phase1.doors.portal import await_, has_portal
from phase1.doors.watchdog import suspended
from phase1.exceptions import Phase1Error

if TYPE_CHECKING:
    from phase1.doors.unit import Unit

__all__ = ["Bridge", "LoopBlocked", "NoPortal", "bridge_for"]

T = TypeVar("T")


class NoPortal(Phase1Error, RuntimeError):
    """A stream of the pool is read where nothing can wait: in another task on the event loop."""


class LoopBlocked(Phase1Error):
    """The loop that should make the call does not move."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """The way from synchronous code to the engine on `loop`. `portal`: from that loop's own thread."""

    loop: asyncio.AbstractEventLoop
    portal: bool
    patience: float

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or what it raises. May be called from any thread."""
        running = _running_loop()
        if running is None:
            return _wait_in_thread(coroutine, self.loop, self.patience)
        if not has_portal():
            coroutine.close()
            raise NoPortal(
                "this stream is read in a task without a portal: use `async for x in phase1.iterate(stream)`"
            )
        if running is not self.loop:
            return await_(_result(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))))
        with suspended(running):
            return await_(coroutine)

    def finish(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """The same for closing something: where nothing can wait, the loop does it by itself; if it is gone, nobody."""
        if not self.loop.is_closed() and (_running_loop() is None or has_portal()):
            with contextlib.suppress(LoopBlocked):
                self.wait(coroutine)
        else:
            self.leave(coroutine)

    def leave(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Let the loop do it by itself, some time; if it is gone, nobody."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()


def bridge_for(unit: Unit) -> Bridge | None:
    """The way from here, now; `None` on a loop's thread without a portal, or where `LLM_UNBLOCK=false` forbids it."""
    running = _running_loop()
    if running is not None:
        portal = unit.manager.settings.llm_unblock and has_portal()
        return Bridge(running, portal=True, patience=unit.patience) if portal else None
    loop = unit.loop
    if loop is None or loop.is_closed() or not loop.is_running():
        loop = background_loop()
    return Bridge(loop, portal=False, patience=unit.patience)


async def _result(future: asyncio.Future[T]) -> T:
    return await future


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wait_in_thread(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, patience: float) -> T:
    first = threading.Lock()  # taken by the loop when it begins the call, or by this thread when it gives up before

    async def begin() -> T:
        if first.acquire(blocking=False):
            return await coroutine
        raise asyncio.CancelledError

    beginning = begin()
    try:
        call = asyncio.run_coroutine_threadsafe(beginning, loop)
    except RuntimeError as exc:
        beginning.close()
        coroutine.close()
        raise LoopBlocked("the event loop of this call is closed") from exc
    try:
        while not futures.wait([call], patience).done:
            if first.acquire(blocking=False):
                coroutine.close()
                _give_up(f"the event loop did not move for {patience:g} s")
            elif not loop.is_running():
                _give_up("the event loop of this call has stopped")
        return call.result()
    except futures.CancelledError:  # no `except Exception` of the app's may take it for a failure
        raise asyncio.CancelledError from None
    except BaseException:  # also Ctrl-C
        call.cancel()
        raise


def _give_up(reason: str) -> NoReturn:
    raise LoopBlocked(reason)
