"""Where are the doors tested? In an app's request, over a portal or from a thread, with a manager on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from phase1.doors.manager import LLMManager
from phase1.doors.portal import _own_worker, has_portal
from phase1.doors.unit import PATIENCE, Unit, current_unit
from phase1.events import CallFinished, Event
from phase1.settings import Settings

from .bench import Ear
from .provider import Provider

__all__ = [
    "APP_KEY",
    "BOUND",
    "Calls",
    "Ear",
    "app_request",
    "bounded",
    "drive",
    "given",
    "heard_by",
    "items",
    "manager_of",
    "no_portal",
    "opened",
    "settings_of",
]

T = TypeVar("T")

APP_KEY = "sk-of-the-app"
"""The key that the app is configured with."""
BOUND = 10.0


def settings_of(provider: Provider, **overrides: object) -> Settings:
    """The pool on, with one node and no retries: each request is one attempt."""
    defaults = {
        "enable_llm_pool": True,
        "openai_api_key": APP_KEY,
        "openai_base_url": provider.url,
        "openai_max_retries": 0,
        "llm_pool_size": 1,
    }
    return Settings.load(**(defaults | overrides))


@asynccontextmanager
async def manager_of(provider: Provider, **overrides: object) -> AsyncIterator[LLMManager]:
    """A manager in front of one provider; `overrides` are settings."""
    async with LLMManager(settings_of(provider, **overrides)) as manager:
        yield manager


def heard_by(manager: LLMManager) -> Ear:
    """What the manager tells from now on."""
    ear = Ear()
    manager.events.subscribe(ear)
    return ear


class Calls:
    """Knows when calls through the pool are over, and what they came to."""

    def __init__(self, manager: LLMManager) -> None:
        self.kinds: list[str] = []
        self._manager = manager
        self._one_more = threading.Semaphore(0)
        manager.events.subscribe(self)

    def on_event(self, event: Event, /) -> None:
        if isinstance(event, CallFinished):
            self.kinds.append(event.kind)
            self._one_more.release()

    async def are_over(self, number: int = 1) -> None:
        """Wait for so many more; then nothing of the pool is held any more.

        openai 1 does not close a stream that broke, so that the garbage collector has to: it is called until it has.
        """
        for _ in range(number):
            tries = (await asyncio.to_thread(self._one_more.acquire, timeout=0.1) for _ in range(100))
            async for is_over in tries:
                if is_over:
                    break
                gc.collect()
            else:
                raise AssertionError("a call is not over")
        binding = self._manager.bindings.peek()
        assert binding is not None
        assert binding.pool is not None
        assert (binding.admission.in_flight, binding.pool.in_flight) == (0, 0)


@asynccontextmanager
async def app_request(
    manager: LLMManager, *, key: str | None = None, portal: bool = True, patience: float = PATIENCE
) -> AsyncIterator[Unit]:
    """What the middleware opens around an endpoint. The portal is that of the test (`conftest`)."""
    unit = Unit(manager, key_of=lambda: key, loop=asyncio.get_running_loop(), patience=patience)
    token = current_unit.set(unit)
    try:
        with contextlib.nullcontext() if portal else no_portal():
            assert has_portal() is portal
            yield unit
    finally:
        current_unit.reset(token)


@contextmanager
def no_portal() -> Iterator[None]:
    """Inside, this task has none."""
    worker = _own_worker()
    assert worker is not None
    task, worker.task = worker.task, None
    try:
        yield
    finally:
        worker.task = task


async def bounded(work: Coroutine[Any, Any, T]) -> T:
    """The same, in this task, but a test that would hang fails."""
    async with asyncio.timeout(BOUND):
        return await work


# One text for a synchronous and an asynchronous client: `await given(client.chat.completions.create(...))`.


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise AssertionError("it waits for something")


async def given(answer: Any) -> Any:  # noqa: ANN401
    """The answer, whether it has to be awaited or not."""
    return await answer if inspect.isawaitable(answer) else answer


async def items(stream: Iterable[Any] | AsyncIterable[Any]) -> list[Any]:
    """All that comes."""
    return [item async for item in stream] if isinstance(stream, AsyncIterable) else list(stream)


@asynccontextmanager
async def opened(manager: Any) -> AsyncIterator[Any]:  # noqa: ANN401
    """`with` or `async with`."""
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


@contextmanager
def no_fallback(manager: LLMManager) -> Iterator[Callable[[], int]]:
    """Inside, every call is answered by the pool; gives how many there were."""
    yield lambda: sum(manager.tally.calls.values())
    assert not manager.tally.fallbacks
    assert not manager.tally.legacy
    assert not manager.tally.blocking_sites
