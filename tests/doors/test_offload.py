"""Do `phase1.call` and `phase1.iterate` take one blocking line off the loop, and nothing else?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from functools import partial

import pytest

import phase1
from phase1.doors.unit import current_unit
from phase1.exceptions import QueueFull

from .bench import BOUND, Bench, until
from .world import app_request, bounded

USER: ContextVar[str] = ContextVar("user", default="nobody")
LEGACY = "phase1-legacy"


def thread_name() -> str:
    """Where it runs."""
    return threading.current_thread().name


@pytest.fixture
def on() -> Bench:
    """The pool on."""
    return Bench()


@pytest.fixture
def off() -> Bench:
    """The pool off."""
    return Bench(enable_llm_pool=False)


class Stream:
    """A blocking stream that says where it was read and closed."""

    def __init__(self, *items: str, error: Exception | None = None) -> None:
        self.items = iter(items)
        self.error = error
        self.threads: list[str] = []
        self.closed: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.threads.append(thread_name())
        return next(self.items)

    def close(self) -> None:
        self.closed.append(thread_name())
        if self.error is not None:
            raise self.error


def _given(work: Callable[[], Awaitable[str]]) -> Awaitable[str]:
    return work()


# call


async def test_call_off_is_inline(off: Bench) -> None:
    """The same thread, the same order."""
    async with off.manager as manager, app_request(manager, portal=False):
        assert await phase1.call(thread_name) == threading.current_thread().name


async def test_call_on_runs_in_a_thread_while_the_loop_goes_on(on: Bench) -> None:
    """What it waits for is done by the loop."""
    gate, started = threading.Event(), threading.Event()

    def work() -> str:
        started.set()
        assert gate.wait(BOUND)
        return thread_name()

    async with on.manager as manager, app_request(manager, portal=False):
        task = asyncio.create_task(phase1.call(work))
        await until(started.is_set)
        gate.set()
        assert (await task).startswith(LEGACY)


async def test_call_passes_arguments(on: Bench) -> None:
    """Of both kinds."""
    async with on.manager as manager, app_request(manager, portal=False):
        assert await phase1.call(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


async def test_call_sees_context_variables_and_changes_none(on: Bench) -> None:
    """The caller's go along; what is set inside stays inside."""

    def work() -> str:
        seen = USER.get()
        USER.set("somebody else")
        return seen

    async with on.manager as manager, app_request(manager, portal=False):
        USER.set("alice")
        assert await phase1.call(work) == "alice"
        assert USER.get() == "alice"


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_call_raises_what_fn_raises(enabled: bool) -> None:  # noqa: FBT001
    """The very same exception."""
    error = LookupError("gone")

    def work() -> None:
        raise error

    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        with pytest.raises(LookupError) as caught:
            await phase1.call(work)
    assert caught.value is error


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_call_awaits_an_awaitable_result(enabled: bool) -> None:  # noqa: FBT001
    """A function that returns a coroutine: it runs on the loop."""

    async def on_the_loop() -> str:
        return thread_name()

    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        assert await phase1.call(partial(_given, on_the_loop)) == threading.current_thread().name


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_call_leaves_a_coroutine_function_on_the_loop(enabled: bool) -> None:  # noqa: FBT001
    """No thread: it runs in the caller's own task."""

    async def work() -> asyncio.Task[object] | None:
        return asyncio.current_task()

    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        assert await phase1.call(work) is asyncio.current_task()


async def test_cancelled_caller_goes_at_once_and_the_place_is_given_back_later(on: Bench) -> None:
    """The thread finishes by itself."""
    gate, started = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        gate.wait(BOUND)

    async with on.manager as manager, app_request(manager, portal=False):
        task = asyncio.create_task(phase1.call(work))
        await until(started.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        legacy = manager.bindings.current().legacy
        assert legacy.in_flight == 1
        gate.set()
        await until(lambda: legacy.in_flight == 0)


# iterate


async def test_iterate_off_is_inline(off: Bench) -> None:
    """Items and `close()` in this thread."""
    stream = Stream("a", "b")
    async with off.manager as manager, app_request(manager, portal=False):
        assert [item async for item in phase1.iterate(stream)] == ["a", "b"]
    assert {*stream.threads, *stream.closed} == {threading.current_thread().name}


async def test_iterate_on_fetches_in_threads(on: Bench) -> None:
    """Every item, and `close()`, once."""
    stream = Stream("a", "b")
    async with on.manager as manager, app_request(manager, portal=False):
        assert [item async for item in phase1.iterate(stream)] == ["a", "b"]
    assert len(stream.closed) == 1
    assert all(name.startswith(LEGACY) for name in (*stream.threads, *stream.closed))


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_iterate_passes_an_asynchronous_stream_through(enabled: bool) -> None:  # noqa: FBT001
    """It is read in this very task."""

    async def stream() -> AsyncIterator[object]:
        yield asyncio.current_task()

    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        assert [task async for task in phase1.iterate(stream())] == [asyncio.current_task()]


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_iterate_takes_what_has_no_close(enabled: bool) -> None:  # noqa: FBT001
    """A list is a stream too."""
    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        assert [item async for item in phase1.iterate([1, None, 2])] == [1, None, 2]


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_early_end_closes_the_stream_once(enabled: bool) -> None:  # noqa: FBT001
    """What has not been read is not read."""
    stream = Stream("a", "b", "c")
    async with (
        Bench(enable_llm_pool=enabled).manager as manager,
        app_request(manager, portal=False),
        aclosing(phase1.iterate(stream)) as items,  # type: ignore[type-var]
    ):
        assert await anext(items) == "a"
    assert (len(stream.threads), len(stream.closed)) == (1, 1)


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_error_of_close_is_the_callers(enabled: bool) -> None:  # noqa: FBT001
    """As with the stream itself: it is not swallowed."""
    stream = Stream("a", error=OSError("cannot close"))
    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        with pytest.raises(OSError, match="cannot close"):
            [item async for item in phase1.iterate(stream)]


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
async def test_error_of_the_stream_is_the_callers_and_closes_it(enabled: bool) -> None:  # noqa: FBT001
    """After the items that came before it."""
    closed = threading.Event()

    def stream() -> Iterator[str]:
        try:
            yield "a"
            raise LookupError("gone")
        finally:
            closed.set()

    seen: list[str] = []

    async def read() -> None:
        async for item in phase1.iterate(stream()):
            seen.append(item)  # noqa: PERF401 - what came before the error is the point

    async with Bench(enable_llm_pool=enabled).manager as manager, app_request(manager, portal=False):
        with pytest.raises(LookupError, match="gone"):
            await read()
    assert seen == ["a"]
    assert closed.is_set()


async def test_cancelled_mid_stream_is_a_cancellation(on: Bench) -> None:
    """A generator whose thread still works cannot be closed now: that error does not take the cancellation's place."""
    gate, started, closed = threading.Event(), threading.Event(), threading.Event()

    def stream() -> Iterator[str]:
        try:
            started.set()
            assert gate.wait(BOUND)
            yield "a"
        finally:
            closed.set()

    async def read() -> None:
        async for _ in phase1.iterate(stream()):
            pass

    async with on.manager as manager, app_request(manager, portal=False):
        task = asyncio.create_task(read())
        await until(started.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gate.set()
        await until(closed.is_set)


# both


async def test_the_units_route_goes_along(on: Bench) -> None:
    """Pooled clients inside the function belong to the request."""
    async with on.manager, app_request(on.manager) as unit:
        assert await phase1.call(current_unit.get) is unit


async def test_a_full_house_is_said_at_once() -> None:
    """All threads are busy and nobody may wait: `QueueFull`, nothing has run."""
    bench = Bench(llm_queue_size=0)
    async with bench.manager as manager, app_request(manager):
        legacy = manager.bindings.current().legacy
        for _ in range(legacy.capacity):
            await legacy.enter(None, timeout=1)
        with pytest.raises(QueueFull):
            await phase1.call(pytest.fail, "ran")
        for _ in range(legacy.capacity):
            legacy.leave()


async def test_the_loop_goes_on_between_items(on: Bench) -> None:
    """While an item is fetched, others run."""
    gate = threading.Event()

    def slow() -> Iterator[str]:
        gate.wait(BOUND)
        yield "late"

    async with on.manager, app_request(on.manager, portal=False):
        items = phase1.iterate(slow())
        first = asyncio.ensure_future(anext(items))
        assert await asyncio.create_task(asyncio.sleep(0, "meanwhile")) == "meanwhile"
        gate.set()
        assert await bounded(first) == "late"  # type: ignore[arg-type]
        await items.aclose()  # type: ignore[attr-defined]
