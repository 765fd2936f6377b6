"""Are the threads of blocking calls bounded, given back when they end, and never in the way?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from phase1.doors.threads import iterate_in_threads, run_in_threads
from phase1.engine.manager import LEGACY_THREADS
from phase1.exceptions import PoolClosed, QueueFull, QueueTimeout
from tests.doors.bench import BOUND, Bench, SyncLegacy, until

FORCED = {"force_legacy_llm": True}


@pytest.fixture
def hanging() -> Iterator[SyncLegacy]:
    """A client that does not answer before the test is over."""
    legacy = SyncLegacy()
    legacy.gate.clear()
    yield legacy
    legacy.gate.set()


def places(bench: Bench) -> tuple[int, int]:
    """How many threads are in use, and how many calls wait for one."""
    admission = bench.manager.bindings.current().legacy
    return admission.in_flight, admission.waiting


async def fill(bench: Bench, legacy: SyncLegacy, calls: int) -> list[asyncio.Future[str]]:
    """So many calls at once; returns when as many as there are threads have begun."""
    running = [asyncio.ensure_future(bench.ask(f"user-{n}")) for n in range(calls)]
    await until(lambda: sum(places(bench)) == calls)
    await legacy.has_started(min(calls, LEGACY_THREADS))
    return running


async def test_threads_are_bounded_and_the_rest_waits_its_turn(hanging: SyncLegacy) -> None:
    """One more than there are threads: it runs when a thread ends, and all are answered."""
    bench = Bench(legacy=hanging, **FORCED)
    async with bench.manager:
        calls = await fill(bench, hanging, LEGACY_THREADS + 3)
        assert places(bench) == (LEGACY_THREADS, 3)
        assert len(hanging.calls) == LEGACY_THREADS
        hanging.gate.set()
        assert await asyncio.gather(*calls) == ["from legacy"] * (LEGACY_THREADS + 3)
        assert places(bench) == (0, 0)


async def test_queue_of_a_hanging_client_is_bounded(hanging: SyncLegacy) -> None:
    """One more than may wait is refused at once."""
    bench = Bench(legacy=hanging, llm_queue_size=2, **FORCED)
    async with bench.manager:
        calls = await fill(bench, hanging, LEGACY_THREADS + 2)
        with pytest.raises(QueueFull):
            await bench.ask()
        hanging.gate.set()
        await asyncio.gather(*calls)


async def test_wait_for_a_thread_of_a_hanging_client_is_bounded(hanging: SyncLegacy) -> None:
    """Whoever waits too long is told so, and leaves no trace."""
    bench = Bench(legacy=hanging, llm_queue_timeout=0.01, **FORCED)
    async with bench.manager:
        calls = await fill(bench, hanging, LEGACY_THREADS)
        with pytest.raises(QueueTimeout):
            await bench.ask()
        assert places(bench) == (LEGACY_THREADS, 0)
        hanging.gate.set()
        await asyncio.gather(*calls)


async def test_place_is_given_back_when_the_thread_ends_not_before(hanging: SyncLegacy) -> None:
    """A caller who goes away goes at once; the thread is still busy, so its place is still taken."""
    bench = Bench(legacy=hanging, **FORCED)
    async with bench.manager:
        call = asyncio.ensure_future(bench.ask())
        await hanging.has_started()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert places(bench) == (1, 0)
        assert hanging.running == 1
        hanging.gate.set()
        await until(lambda: places(bench) == (0, 0))
    assert hanging.running == 0


async def test_error_of_a_thread_nobody_waits_for_is_dropped(hanging: SyncLegacy) -> None:
    """No "exception was never retrieved" in the log."""
    hanging.answer = ValueError("too late")
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    bench = Bench(legacy=hanging, **FORCED)
    async with bench.manager:
        call = asyncio.ensure_future(bench.ask())
        await hanging.has_started()
        call.cancel()
        await asyncio.wait([call])
        hanging.gate.set()
        await until(lambda: places(bench) == (0, 0))
    assert complaints == []


async def test_waiter_who_goes_away_takes_no_place(hanging: SyncLegacy) -> None:
    """Cancelled in the queue: no thread is started for it."""
    bench = Bench(legacy=hanging, **FORCED)
    async with bench.manager:
        calls = await fill(bench, hanging, LEGACY_THREADS + 1)
        calls.pop().cancel()
        await until(lambda: places(bench) == (LEGACY_THREADS, 0))
        hanging.gate.set()
        await asyncio.gather(*calls)
    assert len(hanging.calls) == LEGACY_THREADS


async def test_place_is_given_back_when_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no more of them: that is the caller's error, and not for ever."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    bench = Bench(legacy=SyncLegacy(), **FORCED)
    async with bench.manager:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await bench.ask()
        assert places(bench) == (0, 0)
        assert await bench.ask() == "from legacy"


async def test_closed_manager_starts_no_thread() -> None:
    """After `aclose` there is nobody to drain it."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy, **FORCED)
    async with bench.manager:
        pass
    with pytest.raises(PoolClosed):
        await bench.ask()
    assert legacy.calls == []


async def test_closing_waits_for_the_threads(hanging: SyncLegacy) -> None:
    """Nothing is lost: whoever is inside gets his answer."""
    bench = Bench(legacy=hanging, **FORCED)
    await bench.manager.start()
    call = asyncio.ensure_future(bench.ask())
    await hanging.has_started()
    closing = asyncio.ensure_future(bench.manager.aclose())
    await until(lambda: bench.manager.bindings.peek() is None)
    assert not closing.done()
    hanging.gate.set()
    assert await call == "from legacy"
    await closing


async def test_closing_gives_a_hanging_thread_up(hanging: SyncLegacy, caplog: pytest.LogCaptureFixture) -> None:
    """When the drain time is over, with a word in the log."""
    bench = Bench(legacy=hanging, **FORCED)
    await bench.manager.start()
    call = asyncio.ensure_future(bench.ask())
    await hanging.has_started()
    async with asyncio.timeout(BOUND):
        await bench.manager.aclose(drain=0.01)
    assert "closing with 1 calls still in flight" in caplog.text
    call.cancel()
    hanging.gate.set()


HANGS = """
import asyncio, threading, phase1

class Legacy:
    def generate_response(self, messages):
        started.set()
        threading.Event().wait()

async def main():
    settings = phase1.Settings.load(enable_llm_pool=True, openai_api_key="sk", force_legacy_llm=True)
    manager = phase1.LLMManager(settings, Legacy())
    await manager.start()
    call = asyncio.ensure_future(manager.llm().generate_response_async([]))
    await asyncio.to_thread(started.wait)
    call.cancel()
    await manager.aclose(drain=0.01)

started = threading.Event()
asyncio.run(main())
print("over")
"""


def test_process_ends_although_a_thread_hangs() -> None:
    """Its thread is a daemon: a client that never answers does not keep the process alive."""
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, check=False, timeout=3 * BOUND)
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr


def test_thread_that_outlives_its_loop_says_nothing() -> None:
    """Its answer is for nobody; there is no error about a closed loop."""
    legacy = SyncLegacy()
    legacy.gate.clear()
    complaints: list[object] = []

    async def leave() -> None:
        bench = Bench(legacy=legacy, **FORCED)
        call = asyncio.ensure_future(bench.ask())
        await legacy.has_started()
        call.cancel()

    asyncio.run(leave())
    before, threading.excepthook = threading.excepthook, complaints.append
    try:
        legacy.gate.set()
        legacy.threads[0].join(BOUND)
    finally:
        threading.excepthook = before
    assert not legacy.threads[0].is_alive()
    assert complaints == []


async def test_items_of_a_blocking_iterator_come_one_by_one() -> None:
    """Each is fetched in a thread of ours, only when it is asked for."""
    fetched: list[str] = []

    def numbers() -> Iterator[int]:
        for number in range(3):
            fetched.append(threading.current_thread().name)
            yield number

    bench = Bench()
    async with bench.manager:
        items = iterate_in_threads(bench.manager, numbers())
        assert await anext(items) == 0
        assert fetched == ["phase1-legacy"]
        assert [item async for item in items] == [1, 2]
        assert places(bench) == (0, 0)


async def test_iterator_that_fails_raises_where_it_is_read() -> None:
    """What came before has been given."""

    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    bench = Bench()
    async with bench.manager:
        items = iterate_in_threads(bench.manager, numbers())
        assert await anext(items) == 1
        with pytest.raises(ValueError, match="broken"):
            await anext(items)


async def test_arguments_go_through() -> None:
    """Positional and by name."""
    bench = Bench()
    async with bench.manager:
        assert await run_in_threads(bench.manager, sorted, [1, 3, 2], reverse=True) == [3, 2, 1]
