"""One explicit line for one blocking call, or one blocking stream, in an `async def`.

    answer = await phase1.call(chain.run, question)
    async for chunk in phase1.iterate(client.chat.completions.create(..., stream=True)):

With the pool off both are inline: same order, same exceptions, same objects, and the loop blocks as before.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast, overload

from phase1.doors.background import default_manager
from phase1.doors.threads import iterate_in_threads, run_in_threads
from phase1.doors.unit import current_unit

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager

__all__ = ["call", "iterate"]

P = ParamSpec("P")
T = TypeVar("T")


@overload
async def call(fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


@overload
async def call(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


async def call(fn: Callable[..., object], /, *args: object, **kwargs: object) -> object:
    """`fn(*args, **kwargs)`, in one of our bounded threads with the caller's context variables; awaited if it says so.

    Pooled clients inside `fn` go to the pool. Raises what `fn` raises, and `QueueFull`, `QueueTimeout` or `PoolClosed`
    when there is no thread for it. A cancelled caller goes at once; the thread finishes by itself.
    """
    manager = _manager()
    if not manager.switches.enabled or inspect.iscoroutinefunction(fn):
        answer = fn(*args, **kwargs)
    else:
        answer = await run_in_threads(manager, fn, *args, **kwargs)
    return await answer if inspect.isawaitable(answer) else answer


async def iterate(stream: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """The items of `stream`, fetched one by one in our bounded threads; an asynchronous one is passed through.

    The stream's `close()`, if it has one, is called when the iteration ends, also early.
    """
    if isinstance(stream, AsyncIterable):
        async for item in stream:
            yield item
        return
    manager = _manager()
    try:
        if not manager.switches.enabled:
            for item in stream:
                yield item
        else:
            async for item in iterate_in_threads(manager, iter(stream)):
                yield item
    finally:
        await _close(stream, manager)


async def _close(stream: Iterable[T], manager: LLMManager) -> None:
    close = getattr(stream, "close", None)
    if not callable(close) or getattr(stream, "gi_running", False):
        return  # the caller was cancelled: a thread is still in the generator, which is closed when nobody holds it
    if manager.switches.enabled:
        await run_in_threads(manager, close)
    else:
        cast("Callable[[], object]", close)()


def _manager() -> LLMManager:
    unit = current_unit.get()
    return unit.manager if unit is not None else default_manager()
