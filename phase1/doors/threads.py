"""How does a blocking call run without blocking the loop?

In threads of our own, bounded, behind the same fair queue as the pool's: the loop's default executor is the app's.
The caller's context variables go along. A caller who goes away leaves the thread to finish; its place is given back
when the thread is done, not when the caller is.

A thread for each call costs what handing it to a `ThreadPoolExecutor` costs (0.07 ms). It is a daemon: the executor's
threads are joined when the interpreter ends, so that one client that never answers would keep the process alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from phase1.engine.manager import Manager

__all__ = ["iterate_in_threads", "run_in_threads", "start_thread", "until_done"]

P = ParamSpec("P")
T = TypeVar("T")
_END = object()


async def run_in_threads(manager: Manager, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """`fn(*args, **kwargs)` in one of the manager's legacy threads.

    Raises what `fn` raises, and `QueueFull`, `QueueTimeout` or `PoolClosed` when there is no place for it.
    """
    binding = manager.bindings.current()
    await binding.legacy.enter(None, timeout=manager.settings.llm_queue_timeout)
    work = partial(contextvars.copy_context().run, partial(fn, *args, **kwargs))
    try:
        running = start_thread(work)
    except BaseException:
        binding.legacy.leave()
        raise
    return await until_done(running, binding.legacy.leave)


def start_thread(work: Callable[[], T], *, name: str = "phase1-legacy") -> asyncio.Future[T]:
    """Begin `work` in a daemon thread of its own; the future belongs to the running loop."""
    loop = asyncio.get_running_loop()
    running: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(running.set_result, work())
        except StopIteration as exc:
            settle = partial(running.set_exception, _as_in_a_coroutine(exc))
        except BaseException as exc:  # noqa: BLE001 - the caller's business
            settle = partial(running.set_exception, exc)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name=name, daemon=True).start()
    return running


def _as_in_a_coroutine(exc: StopIteration) -> RuntimeError:
    """What the app got when it made the call itself; no future can hold a `StopIteration`."""
    error = RuntimeError("coroutine raised StopIteration")
    error.__cause__ = exc
    return error


async def until_done(running: asyncio.Future[T], leave: Callable[[], None]) -> T:
    """Wait for the thread; when cancelled, go at once but `leave` only when the thread has ended."""

    def ended(done: asyncio.Future[T]) -> None:
        leave()
        done.exception()  # seen, even if nobody waits any more

    running.add_done_callback(ended)
    return await asyncio.shield(running)


async def iterate_in_threads(manager: Manager, iterator: Iterator[T]) -> AsyncIterator[T]:
    """The items of a blocking iterator, each fetched in a legacy thread."""
    while (item := await run_in_threads(manager, _next, iterator)) is not _END:
        yield cast("T", item)


def _next(iterator: Iterator[T]) -> T | object:
    return next(iterator, _END)
