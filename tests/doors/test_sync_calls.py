"""`llm.generate_response(messages)` in synchronous code: who answers, and is anybody held up?"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import openai
import pytest

from phase1.doors.facade import LLMClient
from phase1.doors.legacy import Messages
from phase1.events import BlockingCall, FellBack, Routed
from phase1.exceptions import ConfigurationError
from tests.doors.bench import BOUND, HELLO, Bench, SyncLegacy, failure
from tests.doors.world import no_portal

who: ContextVar[str] = ContextVar("who", default="nobody")


async def in_thread(llm: LLMClient, **params: object) -> str:
    """As FastAPI runs a `def` endpoint."""
    async with asyncio.timeout(BOUND):
        return await asyncio.to_thread(llm.generate_response, HELLO, **params)


async def test_def_endpoint_goes_to_the_pool_of_its_loop() -> None:
    """The thread waits, the loop works; parameters go along."""
    bench = Bench()
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        assert await in_thread(llm, temperature=0) == "from the pool"
        assert llm.route == "pool"
    assert bench.upstream.bodies == [{"model": "m", "messages": HELLO, "temperature": 0}]
    assert len(bench.upstream.transports) == bench.manager.settings.llm_pool_size


async def test_def_endpoint_on_the_legacy_route() -> None:
    """In one of our bounded threads, with the caller's context."""

    class Saying:
        def generate_response(self, messages: Messages) -> str:
            return f"{who.get()} on {threading.current_thread().name}"

    bench = Bench(legacy=Saying(), force_legacy_llm=True)
    who.set("alice")
    async with bench.manager:
        assert await in_thread(bench.manager.llm()) == "alice on phase1-legacy"


async def test_def_endpoint_falls_back_too() -> None:
    """The same rules as for coroutines."""
    bench = Bench(lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager:
        assert await in_thread(bench.manager.llm()) == "from legacy"
    assert len(bench.ear.of(FellBack)) == 1


@pytest.mark.parametrize("legacy", [None, SyncLegacy()])
async def test_def_endpoint_gets_the_sdks_exceptions(legacy: SyncLegacy | None) -> None:
    """In its own thread."""
    bench = Bench(lambda: failure(400), legacy=legacy)
    async with bench.manager:
        with pytest.raises(openai.BadRequestError):
            await in_thread(bench.manager.llm())


async def test_many_def_endpoints_at_once() -> None:
    """Thirty threads wait for one loop, and none of them for another."""
    bench = Bench(legacy=SyncLegacy())
    bench.upstream.gate.clear()
    async with bench.manager:
        loop = asyncio.get_running_loop()
        results: list[str] = []

        def endpoint(llm: LLMClient) -> None:
            results.append(llm.generate_response(HELLO))

        threads = [threading.Thread(target=endpoint, args=[bench.manager.llm(f"u{n}")]) for n in range(30)]
        for thread in threads:
            thread.start()
        await bench.upstream.seen(30)
        bench.upstream.gate.set()
        for thread in threads:
            await loop.run_in_executor(None, thread.join, BOUND)
    assert results == ["from the pool"] * 30


async def test_on_the_loop_itself_legacy_is_called_as_before_and_the_place_is_counted() -> None:
    """Without a portal nothing can wait there: the plain, blocking call; the file and line are told."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy)
    async with bench.manager:
        with no_portal():
            assert bench.manager.llm().generate_response(HELLO, temperature=0) == "from legacy"
    assert legacy.threads == [threading.current_thread()]
    assert legacy.calls == [(HELLO, {"temperature": 0})]
    assert ["test_sync_calls.py" in event.site for event in bench.ear.of(BlockingCall)] == [True]
    assert bench.upstream.requests == []


async def test_on_the_loop_itself_without_legacy_says_what_is_missing() -> None:
    """Better than a deadlock."""
    bench = Bench()
    async with bench.manager:
        with no_portal(), pytest.raises(ConfigurationError, match="no legacy client"):
            bench.manager.llm().generate_response(HELLO)


async def test_off_is_the_plain_call_in_the_same_thread() -> None:
    """On the loop or in a thread; nothing is counted, nothing is routed."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy, enable_llm_pool=False)
    llm = bench.manager.llm()
    assert llm.generate_response(HELLO) == "from legacy"
    assert await in_thread(llm) == "from legacy"
    assert legacy.threads[0] is threading.current_thread()
    assert legacy.threads[1].name != "phase1-legacy"
    assert bench.ear.of(BlockingCall) == bench.ear.of(Routed) == []


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
async def test_off_raises_the_clients_own_exception(error: BaseException) -> None:
    """The same object."""
    llm = Bench(legacy=SyncLegacy(error), enable_llm_pool=False).manager.llm()
    with pytest.raises(type(error)) as caught:
        llm.generate_response(HELLO)
    assert caught.value is error
