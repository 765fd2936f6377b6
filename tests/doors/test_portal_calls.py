"""What does code see that waits over a portal, or from a thread? What it would see if it blocked: nothing strange."""

# ruff: noqa: ANN401 - fixtures

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

import phase1
from phase1.doors import background
from phase1.doors.bridge import Bridge, LoopBlocked, NoPortal
from phase1.doors.manager import LLMManager
from phase1.doors.portal import in_portal
from phase1.events import FellBack

from .answers import error, sse_reply, words
from .cases import HELLO
from .provider import Gate, Provider
from .world import APP_KEY, BOUND, Calls, app_request, bounded, heard_by, manager_of, no_portal

pytest_plugins = ["tests.doors.providing"]

VISIBLE: contextvars.ContextVar[str] = contextvars.ContextVar("VISIBLE", default="nothing")


@pytest.fixture
def client(provider: Provider) -> Iterator[phase1.OpenAI]:
    """A synchronous client of the app."""
    with phase1.OpenAI(api_key=APP_KEY, base_url=provider.url, max_retries=0) as made:
        yield made


def text(client: openai.OpenAI) -> str:
    """One answer."""
    return str(client.chat.completions.create(model="m", messages=HELLO).choices[0].message.content)


def stream(client: openai.OpenAI) -> Any:
    """One streamed answer."""
    return client.chat.completions.create(model="m", messages=HELLO, stream=True)


def said(chunks: Any) -> str:
    """The words of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def endpoint(manager: LLMManager, work: Callable[[], Any]) -> asyncio.Task[Any]:
    """`work`, called in the task of an app's request."""

    async def run() -> Any:
        async with app_request(manager):
            return work()

    return asyncio.create_task(in_portal(run()))


# Context variables, exceptions, threads


async def test_context_variables_are_those_of_the_request(provider: Provider, client: phase1.OpenAI) -> None:
    """What was set before the call is seen by observers of it, and what was set in the request stays set after it."""
    async with manager_of(provider) as manager:
        seen: list[str] = []

        class Observer:
            def on_event(self, event: object, /) -> None:
                seen.append(VISIBLE.get())

        manager.events.subscribe(Observer())

        def work() -> tuple[str, str]:
            VISIBLE.set("before")
            first = VISIBLE.get()
            text(client)
            return first, VISIBLE.get()

        assert await endpoint(manager, work) == ("before", "before")
        assert set(seen) == {"before"}
    assert VISIBLE.get() == "nothing"


async def test_context_variables_do_not_leak_between_requests(provider: Provider, client: phase1.OpenAI) -> None:
    """Two requests are suspended at the same time: each goes on with its own."""
    provider.party(2)
    async with manager_of(provider) as manager:

        def work(name: str) -> str:
            VISIBLE.set(name)
            text(client)
            return VISIBLE.get()

        assert await asyncio.gather(*(endpoint(manager, lambda n=name: work(n)) for name in "ab")) == ["a", "b"]


async def test_context_variables_go_along_into_legacys_threads(provider: Provider, client: phase1.OpenAI) -> None:
    """The client's own way runs in a thread, with the request's variables."""
    seen: list[tuple[str, str]] = []
    client._client.event_hooks = {
        "request": [lambda _: seen.append((VISIBLE.get(), threading.current_thread().name))],
        "response": [],
    }
    async with manager_of(provider, force_legacy_llm=True) as manager:

        def work() -> str:
            VISIBLE.set("of the request")
            return text(client)

        assert await endpoint(manager, work) == "Hello"
    assert seen == [("of the request", "phase1-legacy")]


async def test_exceptions_show_the_apps_own_lines(provider: Provider, client: phase1.OpenAI) -> None:
    """The traceback goes from the app's call to the SDK, as always."""
    provider.answers(error(400))
    async with manager_of(provider) as manager:

        def a_line_of_the_app() -> str:
            return text(client)

        with pytest.raises(openai.BadRequestError) as raised:
            await endpoint(manager, a_line_of_the_app)
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names.index("a_line_of_the_app") < names.index("text") < names.index("create")


async def test_a_suspended_call_lets_other_tasks_run(provider: Provider, client: phase1.OpenAI) -> None:
    """While one request waits for the provider, the loop does whatever else there is."""
    gate = Gate()
    provider.answers(sse_reply(gate, *words("Hello")))
    async with manager_of(provider) as manager:
        waiting = endpoint(manager, lambda: said(stream(client)))
        await provider.arrived(1)
        assert await asyncio.create_task(asyncio.sleep(0, "meanwhile")) == "meanwhile"
        gate.open()
        assert await bounded(waiting) == "Hello"  # type: ignore[arg-type]


async def test_asynchronous_code_goes_on_after_a_synchronous_call(provider: Provider, client: phase1.OpenAI) -> None:
    """An endpoint awaits before, between and after its synchronous calls."""
    async with manager_of(provider) as manager, app_request(manager):
        await asyncio.sleep(0)
        first = text(client)
        async with asyncio.timeout(BOUND), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        assert first + text(client) == "HelloHello"


# Cancellation


KINDS = {"whole": text, "streamed": lambda client: said(stream(client))}


@pytest.mark.parametrize("work", KINDS.values(), ids=KINDS)
async def test_a_cancelled_request_closes_the_upstreams_connection(
    work: Callable[[Any], str], provider: Provider, client: phase1.OpenAI
) -> None:
    """Cancelled while it waits for an answer: the upstream sees the connection close, the place is free."""
    provider.answers(sse_reply(Gate()))
    async with manager_of(provider) as manager:
        calls = Calls(manager)
        request = endpoint(manager, lambda: work(client))
        upstream = await provider.arrived(1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await upstream.gone()
        await calls.are_over()
        assert calls.kinds == ["cancelled"]
        assert not manager.tally.fallbacks


async def test_a_request_cancelled_in_the_middle_of_a_stream_closes_the_connection(
    provider: Provider, client: phase1.OpenAI
) -> None:
    """The same after the first word."""
    provider.answers(sse_reply(*words("Hel", "lo")[:2], Gate()))
    async with manager_of(provider) as manager:
        calls = Calls(manager)
        heard: list[str] = []
        first = asyncio.Event()

        def work() -> None:
            for chunk in stream(client):
                heard.append(chunk.choices[0].delta.content or "")
                if heard[-1]:
                    asyncio.get_running_loop().call_soon(first.set)

        request = endpoint(manager, work)
        await bounded(first.wait())
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert await (await provider.arrived(1)).gone()
        await calls.are_over()
    assert "".join(heard) == "Hel"


async def test_a_stream_left_early_closes_the_connection(provider: Provider, client: phase1.OpenAI) -> None:
    """`break`, or the end of `with`: nobody waits for the rest."""
    provider.answers(sse_reply(*words("Hel", "lo")[:2], Gate()))
    async with manager_of(provider) as manager:
        calls = Calls(manager)

        def work() -> str:
            with stream(client) as chunks:
                return str(next(chunk for chunk in chunks if chunk.choices[0].delta.content).choices[0].delta.content)

        assert await endpoint(manager, work) == "Hel"
        assert await (await provider.arrived(1)).gone()
        await calls.are_over()


async def test_a_stream_nobody_reads_is_given_back(provider: Provider, client: phase1.OpenAI) -> None:
    """Dropped without a word: the garbage collector frees the place."""
    provider.answers(sse_reply(*words("Hel", "lo")[:2], Gate()))
    async with manager_of(provider) as manager:
        calls = Calls(manager)
        await endpoint(manager, lambda: stream(client) and None)
        gc.collect()
        assert await (await provider.arrived(1)).gone()
        await calls.are_over()


class Impatient(BaseException):
    """What Ctrl-C is in the main thread."""


async def test_a_thread_that_gives_up_ends_its_call(provider: Provider, client: phase1.OpenAI) -> None:
    """An exception that arrives in a waiting thread does not leave its call running."""
    provider.answers(sse_reply(Gate()))
    async with manager_of(provider) as manager:
        calls = Calls(manager)
        threads: list[int] = []

        def work() -> None:
            threads.append(threading.get_ident())
            text(client)

        async with app_request(manager, patience=0.01):  # after that a waiting thread looks around
            waiting = asyncio.create_task(asyncio.to_thread(work))
        upstream = await provider.arrived(1)
        interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert interrupt(ctypes.c_ulong(threads[0]), ctypes.py_object(Impatient)) == 1
        with pytest.raises(Impatient):
            await waiting
        assert await upstream.gone()
        await calls.are_over()


# Streams that wander


async def test_a_stream_read_without_a_portal_says_what_to_do(provider: Provider, client: phase1.OpenAI) -> None:
    """Begun in the request's task, read in a child task: an error that names `phase1.iterate`, and that helps."""
    async with manager_of(provider) as manager:
        calls = Calls(manager)
        async with app_request(manager):
            begun = stream(client)

            async def child() -> None:
                with pytest.raises(NoPortal, match=r"phase1\.iterate"):
                    said(begun)

            await asyncio.create_task(child())
            begun.close()
        await calls.are_over()


async def test_iterate_reads_a_stream_in_any_task(provider: Provider, client: phase1.OpenAI) -> None:
    """`async for chunk in phase1.iterate(stream)`, where the stream itself could not be read."""
    async with manager_of(provider) as manager, app_request(manager):
        begun = stream(client)

        async def child() -> str:
            return said([chunk async for chunk in phase1.iterate(begun)])

        assert await bounded(asyncio.create_task(child())) == "Hello"  # type: ignore[arg-type]


async def test_a_stream_closed_without_a_portal_is_closed(provider: Provider, client: phase1.OpenAI) -> None:
    """Closing needs nobody to wait: the loop does it by itself."""
    provider.answers(sse_reply(*words("Hel", "lo")[:2], Gate()))
    async with manager_of(provider) as manager, app_request(manager):
        calls = Calls(manager)
        begun = stream(client)

        async def child() -> None:
            begun.close()

        await asyncio.create_task(child())
        assert await (await provider.arrived(1)).gone()
        await calls.are_over()


async def test_a_stream_begun_in_the_request_is_read_in_a_thread(provider: Provider, client: phase1.OpenAI) -> None:
    """`StreamingResponse(sync_generator)`: the thread asks the request's loop for each chunk."""
    async with manager_of(provider) as manager, app_request(manager):
        begun = stream(client)
        assert await asyncio.to_thread(said, begun) == "Hello"


async def test_a_stream_begun_in_a_thread_is_read_in_the_request(provider: Provider, client: phase1.OpenAI) -> None:
    """The other way round."""
    async with manager_of(provider) as manager, app_request(manager):
        begun = await asyncio.to_thread(stream, client)
        assert said(begun) == "Hello"


async def test_a_legacy_stream_is_read_in_threads(provider: Provider, client: phase1.OpenAI) -> None:
    """On the legacy route the stream is the client's own, and reading it on the loop blocks nobody."""
    gate = Gate()
    provider.answers(sse_reply(*words("Hel", "lo")[:2], gate, *words("lo")[1:]))
    async with manager_of(provider, force_legacy_llm=True) as manager:
        reading = endpoint(manager, lambda: said(stream(client)))
        await provider.arrived(1)
        assert await asyncio.create_task(asyncio.sleep(0, "meanwhile")) == "meanwhile"
        gate.open()
        assert await bounded(reading) == "Hello"  # type: ignore[arg-type]
        assert manager.bindings.current().legacy.in_flight == 0


async def test_a_legacy_stream_left_early_is_closed(provider: Provider, client: phase1.OpenAI) -> None:
    """The client's own connection is closed, in a thread."""
    provider.answers(sse_reply(*words("Hel", "lo")[:2], Gate()))
    async with manager_of(provider, force_legacy_llm=True) as manager:

        def work() -> None:
            with stream(client) as chunks:
                next(chunks)

        await endpoint(manager, work)
        assert await (await provider.arrived(1)).gone()
        assert manager.bindings.current().legacy.in_flight == 0


# Loops that stand still, and other loops


async def test_a_thread_does_not_wait_for_a_loop_that_waits_for_it(provider: Provider, client: phase1.OpenAI) -> None:
    """The loop blocks on the thread: after its patience the thread makes the plain call, and all goes on."""
    async with manager_of(provider) as manager, app_request(manager, patience=0.01):
        ear = heard_by(manager)
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(context.run, text, client).result(BOUND) == "Hello"
        assert [event.reason for event in ear.of(FellBack)] == ["loop_blocked"]
        await asyncio.sleep(0)
        assert manager.bindings.current().admission.in_flight == 0
        assert await asyncio.to_thread(text, client) == "Hello"
    assert len(provider.requests) == 2


async def test_a_patient_thread_waits_for_a_slow_answer(provider: Provider, client: phase1.OpenAI) -> None:
    """Beside it: patience is for the loop, not for the answer."""
    gate = Gate()
    provider.answers(sse_reply(gate, *words("Hello")))
    async with manager_of(provider) as manager, app_request(manager, patience=0.01):
        waiting = asyncio.create_task(asyncio.to_thread(lambda: said(stream(client))))
        await provider.arrived(1)
        await asyncio.to_thread(threading.Event().wait, 0.05)  # longer than its patience
        gate.open()
        assert await bounded(waiting) == "Hello"  # type: ignore[arg-type]
        assert not manager.tally.fallbacks


def test_a_call_on_a_loop_that_never_moves_is_given_up() -> None:
    """The coroutine is not run later by surprise."""
    ran: list[str] = []

    async def call() -> None:
        ran.append("it")

    loop = asyncio.new_event_loop()
    with pytest.raises(LoopBlocked, match="did not move"):
        Bridge(loop, portal=False, patience=0.01).wait(call())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert ran == []


def test_a_call_on_a_closed_loop_is_given_up_at_once() -> None:
    """An error that says so."""

    async def call() -> None:
        """Never runs."""

    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(LoopBlocked, match="closed"):
        Bridge(loop, portal=False, patience=BOUND).wait(call())
    Bridge(loop, portal=False, patience=BOUND).finish(call())


def test_a_call_on_a_loop_that_stops_is_given_up() -> None:
    """The loop ends in the middle of the call: the thread does not wait for ever."""
    loop = asyncio.new_event_loop()
    begun = threading.Event()

    async def call() -> None:
        begun.set()
        await asyncio.Event().wait()

    bridge = Bridge(loop, portal=False, patience=0.01)
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            bridge.wait(call())
        except BaseException as exc:  # noqa: BLE001 - whatever it is
            outcome.append(exc)

    thread = threading.Thread(target=wait)

    async def main() -> None:
        thread.start()
        await asyncio.to_thread(begun.wait, BOUND)

    loop.run_until_complete(main())
    thread.join(BOUND)
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert [type(exc) for exc in outcome] == [LoopBlocked]


async def test_a_second_loop_gets_connections_of_its_own(provider: Provider) -> None:
    """`asyncio.run` in a thread of a request: a fresh binding, and the request's own goes on."""
    async with manager_of(provider) as manager, app_request(manager):

        async def ask() -> str:
            async with phase1.AsyncOpenAI(api_key=APP_KEY, base_url=provider.url) as other:
                done = await other.chat.completions.create(model="m", messages=HELLO)
                return str(done.choices[0].message.content)

        def in_a_thread() -> str:
            return asyncio.run(ask())

        first = manager.bindings.current()
        assert await bounded(asyncio.to_thread(in_a_thread)) == "Hello"
        assert manager.bindings.current() is first
        assert not first.closed


# The process's own loop and manager


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[background._Process]:
    """No default manager yet, and afterwards none of this test's."""
    process = background._Process()
    monkeypatch.setattr(background, "_process", process)
    yield process
    process.close()


@pytest.fixture
def default_of(fresh_process: background._Process, env: Any) -> Callable[[Provider], None]:
    """Configure the process's manager."""

    def configure(provider: Provider, **variables: str) -> None:
        defaults = {"ENABLE_LLM_POOL": "true", "OPENAI_API_KEY": APP_KEY, "OPENAI_BASE_URL": provider.url}
        env(**(defaults | variables))

    return configure


def test_a_script_without_a_loop_uses_the_pool(
    default_of: Any, provider: Provider, fresh_process: background._Process
) -> None:
    """`phase1.OpenAI()` in a script: the calls run on a loop of ours, streams too."""
    default_of(provider)
    with phase1.OpenAI() as client:
        assert (text(client), said(stream(client))) == ("Hello", "Hello")
    assert fresh_process.manager is not None
    assert dict(fresh_process.manager.tally.calls) == {"ok": 2}


def test_an_adopted_client_in_a_script_uses_the_pool(
    default_of: Any, provider: Provider, fresh_process: background._Process
) -> None:
    """The same for `adopt`."""
    default_of(provider)
    with openai.OpenAI() as stock:
        assert text(phase1.adopt(stock)) == "Hello"
    assert fresh_process.manager is not None
    assert dict(fresh_process.manager.tally.calls) == {"ok": 1}


def test_a_script_with_the_pool_off_starts_nothing(
    default_of: Any, provider: Provider, fresh_process: background._Process
) -> None:
    """Beside it: no loop, no thread."""
    default_of(provider, ENABLE_LLM_POOL="false")
    with phase1.OpenAI() as client:
        assert text(client) == "Hello"
    assert fresh_process.loop is None


async def test_a_thread_of_the_users_own_uses_the_process_s_manager(
    default_of: Any, provider: Provider, fresh_process: background._Process
) -> None:
    """A plain `threading.Thread` knows nothing of the request that started it."""
    default_of(provider)
    answers: list[str] = []
    with phase1.OpenAI() as client:
        async with manager_of(provider) as manager, app_request(manager):
            thread = threading.Thread(target=lambda: answers.append(text(client)))
            thread.start()
            await asyncio.to_thread(thread.join, BOUND)
            assert not manager.tally.calls
    assert answers == ["Hello"]
    assert fresh_process.manager is not None
    assert dict(fresh_process.manager.tally.calls) == {"ok": 1}


def test_asyncio_run_twice_leaves_nothing_open(
    default_of: Any, provider: Provider, fresh_process: background._Process
) -> None:
    """The default manager's connections are closed together with each loop; warnings would be errors."""
    default_of(provider)

    async def ask() -> str:
        async with phase1.AsyncOpenAI() as client:
            return str((await client.chat.completions.create(model="m", messages=HELLO)).choices[0].message.content)

    assert [asyncio.run(ask()), asyncio.run(ask())] == ["Hello", "Hello"]
    gc.collect()


async def test_a_synchronous_call_on_a_users_loop_is_plain_and_counted(
    default_of: Any, provider: Provider, fresh_process: background._Process
) -> None:
    """A script's `async def` without any app: nothing can wait there, the call blocks as it always did."""
    default_of(provider)
    with phase1.OpenAI() as client, no_portal():
        assert text(client) == "Hello"
    assert fresh_process.manager is not None
    ((site, times),) = fresh_process.manager.tally.blocking_sites.items()
    assert (site.rpartition(":")[0], times) == (__file__, 1)


async def test_settings_that_cannot_be_honoured_leave_scripts_on_the_client(
    default_of: Any, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad value: one line in the log, and the client's own call."""
    default_of(provider, LLM_POOL_SIZE="0")
    with phase1.OpenAI() as client, caplog.at_level(logging.ERROR, "phase1"):
        assert await asyncio.to_thread(text, client) == "Hello"
    assert len([record for record in caplog.records if "LLM_POOL_SIZE=0" in record.message]) == 1
