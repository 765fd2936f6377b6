"""Whatever the app's own client is: is it asked as it wants to be, inline when off, in threads when on?"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from phase1.doors.legacy import Messages
from phase1.engine.transport.family import httpx
from phase1.events import FellBack, LegacyFinished, Routed
from phase1.exceptions import ConfigurationError
from tests.doors.bench import HELLO, AsyncLegacy, Bench, SyncLegacy, failure

OFF = {"enable_llm_pool": False}
FORCED = {"force_legacy_llm": True}

who: ContextVar[str] = ContextVar("who", default="nobody")


class BothWays(SyncLegacy):
    """A client with a blocking and an awaitable method."""

    async def generate_response_async(self, messages: Messages, **params: object) -> object:
        self.threads.append(threading.current_thread())
        return "awaited"


class Disguised:
    """A blocking method that returns an awaitable, as decorators make them."""

    def generate_response(self, messages: Messages) -> Awaitable[str]:
        async def later() -> str:
            return "later"

        return later()


class Saying:
    """Tells what its thread knows of the caller's context."""

    def generate_response(self, messages: Messages) -> str:
        return who.get()


def on_threads(legacy: SyncLegacy | AsyncLegacy) -> list[str]:
    """Names of the threads it was called in."""
    return [thread.name for thread in legacy.threads]


# --- off: exactly as before -------------------------------------------------------------------------------------------


async def test_off_calls_a_sync_client_inline() -> None:
    """On the loop's own thread, with the very messages and parameters, and its very answer."""
    answer = SimpleNamespace(text="an object of the app's")
    legacy = SyncLegacy(answer)
    bench = Bench(legacy=legacy, **OFF)
    messages = list(HELLO)
    assert await bench.ask(messages=messages, temperature=0) is answer
    assert legacy.threads == [threading.current_thread()]
    assert legacy.calls[0][0] is messages
    assert legacy.calls[0][1] == {"temperature": 0}


async def test_off_blocks_the_loop_as_before() -> None:
    """Nothing else runs between the call and its answer: no thread, no await, no start of anything."""
    turns: list[str] = []
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy, **OFF)
    asyncio.get_running_loop().call_soon(turns.append, "another task")
    await bench.ask()
    assert turns == []
    assert not bench.manager.initialized


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("y"), asyncio.CancelledError(), SystemExit(3)])
async def test_off_raises_the_clients_own_exception(error: BaseException) -> None:
    """The same object, whatever it is."""
    bench = Bench(legacy=SyncLegacy(error), **OFF)
    with pytest.raises(type(error)) as caught:
        await bench.ask()
    assert caught.value is error


async def test_off_awaits_an_async_client_in_the_callers_task() -> None:
    """No task of ours in between."""
    legacy = AsyncLegacy()
    assert await Bench(legacy=legacy, **OFF).ask() == "from async legacy"
    assert legacy.tasks == [asyncio.current_task()]


async def test_off_has_no_fallback_and_no_route_to_count() -> None:
    """Only that legacy was called is written down."""
    bench = Bench(legacy=SyncLegacy(), **OFF)
    await bench.ask()
    assert [type(event) for event in bench.ear.heard] == [LegacyFinished]
    assert bench.upstream.transports == []


async def test_off_without_a_legacy_client_says_what_is_missing() -> None:
    """There is nobody to ask."""
    with pytest.raises(ConfigurationError, match="no legacy client"):
        await Bench(**OFF).ask()


# --- on, and the route is legacy --------------------------------------------------------------------------------------


async def test_sync_client_runs_in_a_thread_of_ours() -> None:
    """And the loop goes on meanwhile: it is the loop that opens the gate."""
    legacy = SyncLegacy()
    legacy.gate.clear()
    bench = Bench(legacy=legacy, **FORCED)
    async with bench.manager:
        call = asyncio.ensure_future(bench.ask(temperature=0))
        await legacy.has_started()
        assert not call.done()
        legacy.gate.set()
        assert await call == "from legacy"
    assert on_threads(legacy) == ["phase1-legacy"]
    assert legacy.calls == [(HELLO, {"temperature": 0})]


async def test_async_client_runs_on_the_loop() -> None:
    """It does not block, so it needs no thread."""
    legacy = AsyncLegacy()
    bench = Bench(legacy=legacy, **FORCED)
    async with bench.manager:
        assert await bench.ask() == "from async legacy"
    assert legacy.threads == [threading.current_thread()]


async def test_awaitable_method_is_preferred() -> None:
    """A client that has both needs no thread."""
    legacy = BothWays()
    bench = Bench(legacy=legacy, **FORCED)
    async with bench.manager:
        assert await bench.ask() == "awaited"
    assert legacy.threads == [threading.current_thread()]


async def test_awaitable_of_a_blocking_method_is_awaited() -> None:
    """A wrapped coroutine function does not look like one."""
    bench = Bench(legacy=Disguised(), **FORCED)
    async with bench.manager:
        assert await bench.ask() == "later"


async def test_context_variables_are_visible_in_the_thread() -> None:
    """Request ids and the like; what the thread sets stays there."""
    bench = Bench(legacy=Saying(), **FORCED)
    who.set("alice")
    async with bench.manager:
        assert await bench.ask() == "alice"


@pytest.mark.parametrize("error", [ValueError("x"), openai.OpenAIError("y"), TimeoutError()])
async def test_exception_of_the_thread_is_the_callers(error: Exception) -> None:
    """The same object; it is no failure of the pool, and nobody else is asked."""
    bench = Bench(legacy=SyncLegacy(error), **FORCED)
    async with bench.manager:
        with pytest.raises(type(error)) as caught:
            await bench.ask()
    assert caught.value is error
    assert bench.upstream.requests == []
    assert bench.ear.of(LegacyFinished)[0].error.endswith(type(error).__qualname__)


async def test_stop_iteration_of_the_thread_is_what_a_coroutine_makes_of_it() -> None:
    """No future can hold it: the caller would wait for ever."""
    bench = Bench(legacy=SyncLegacy(StopIteration()), **FORCED)
    async with bench.manager:
        with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
            await bench.ask()
        assert bench.manager.bindings.current().legacy.in_flight == 0


# --- which things are clients -----------------------------------------------------------------------------------------


async def test_callable_is_asked_each_time() -> None:
    """The app's global may be `None` at first, and be another one later."""
    client: SyncLegacy | None = None
    bench = Bench(lambda: failure(500), legacy=lambda: client, llm_failure_threshold=10)
    async with bench.manager:
        with pytest.raises(openai.InternalServerError):
            await bench.ask()
        client = SyncLegacy("the first")
        assert await bench.ask() == "the first"
        client = SyncLegacy("another one")
        assert await bench.ask() == "another one"
    assert len(bench.ear.of(FellBack)) == 2


@pytest.mark.parametrize("make", [SyncLegacy, AsyncLegacy, BothWays])
async def test_client_that_can_be_called_is_still_a_client(make: type[Any]) -> None:
    """What has a `generate_response` is never called as a factory."""

    class CallableClient(make):
        def __call__(self) -> None:
            raise AssertionError

    legacy = CallableClient()
    bench = Bench(legacy=legacy)
    assert bench.manager.legacy.resolve() is legacy


async def test_object_that_is_no_client_is_left_as_it_is() -> None:
    """It exists; that it cannot answer is the app's own error, when it is asked."""
    bench = Bench(legacy=SimpleNamespace(), **FORCED)
    async with bench.manager:
        assert bench.manager.legacy.exists
        with pytest.raises(AttributeError, match="generate_response"):
            await bench.ask()


def transport(seen: list[dict[str, Any]], status: int = 200) -> Callable[[Any], Any]:
    """An HTTP library's transport function that answers with a completion."""

    def handle(request: Any) -> Any:  # noqa: ANN401 - httpx or httpx2
        seen.append(json.loads(request.content) | {"_thread": threading.current_thread().name})
        body = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "the SDK"}}],
        }
        return httpx.Response(status, json=body)

    return handle


def sdk_client(
    kind: type[openai.OpenAI | openai.AsyncOpenAI], seen: list[dict[str, Any]], key: str = "sk-legacy"
) -> openai.OpenAI | openai.AsyncOpenAI:
    """The app's own SDK client, without a network."""
    mock = httpx.MockTransport(transport(seen))
    http = (httpx.AsyncClient if kind is openai.AsyncOpenAI else httpx.Client)(transport=mock)
    return kind(api_key=key, base_url="http://legacy.test/v1", http_client=http, max_retries=0)


@pytest.mark.parametrize(
    ("kind", "mode", "thread"),
    [
        (openai.OpenAI, OFF, "MainThread"),
        (openai.OpenAI, FORCED, "phase1-legacy"),
        (openai.AsyncOpenAI, OFF, "MainThread"),
        (openai.AsyncOpenAI, FORCED, "MainThread"),
    ],
)
async def test_sdk_client_is_a_legacy_client(
    kind: type[openai.OpenAI | openai.AsyncOpenAI], mode: Mapping[str, object], thread: str
) -> None:
    """`generate_response` becomes `chat.completions.create`, with the configured model unless the call names one."""
    seen: list[dict[str, Any]] = []
    bench = Bench(legacy=sdk_client(kind, seen), **mode)
    async with bench.manager:
        assert await bench.ask(messages=tuple(HELLO)) == "the SDK"
        assert await bench.ask(model="another", temperature=0) == "the SDK"
    assert [(call["model"], call["messages"], call["_thread"]) for call in seen] == [
        ("m", HELLO, thread),
        ("another", HELLO, thread),
    ]
    assert seen[1]["temperature"] == 0


async def test_answer_without_text_is_empty_text() -> None:
    """A tool call has no content; by pool and by legacy that is the empty string."""
    message = SimpleNamespace(content=None)
    legacy = SyncLegacy(SimpleNamespace(choices=[SimpleNamespace(message=message)]))
    for mode in (OFF, FORCED):
        bench = Bench(legacy=legacy, **mode)
        async with bench.manager:
            assert await bench.ask() == ""


@pytest.mark.parametrize(
    ("legacy", "model"),
    [
        (SyncLegacy(), "legacy-model"),
        (SimpleNamespace(model_name="named", generate_response=None), "named"),
        (SimpleNamespace(model=object(), generate_response=None), None),
        (None, None),
    ],
)
def test_model_of_the_legacy_client_is_used_when_none_is_set(legacy: object, model: str | None) -> None:
    """`.model` or `.model_name`, if it is a text."""
    assert Bench(legacy=legacy, llm_model=None).manager.model == model
    assert Bench(legacy=legacy).manager.model == "m"


# --- for synchronous callers ------------------------------------------------------------------------------------------


async def test_async_client_cannot_be_asked_by_synchronous_code() -> None:
    """Off, in a thread: nobody can await for it, and it says what to use."""
    bench = Bench(legacy=AsyncLegacy(), **OFF)
    llm = bench.manager.llm()
    with pytest.raises(TypeError, match="generate_response_async"):
        await asyncio.to_thread(llm.generate_response, HELLO)


async def test_future_of_a_client_is_no_answer_either() -> None:
    """An awaitable that is no coroutine need not be closed."""
    future = asyncio.get_running_loop().create_future()
    bench = Bench(legacy=SyncLegacy(future), **OFF)
    with pytest.raises(TypeError, match="asynchronous"):
        bench.manager.llm().generate_response(HELLO)


async def test_sync_client_is_asked_in_the_callers_thread_when_off() -> None:
    """As the app did: no hop to another thread."""
    legacy = SyncLegacy()
    llm = Bench(legacy=legacy, **OFF).manager.llm()
    assert await asyncio.to_thread(llm.generate_response, HELLO, temperature=0) == "from legacy"
    assert legacy.calls == [(HELLO, {"temperature": 0})]
    assert legacy.threads[0] is not threading.current_thread()
    assert legacy.threads[0].name != "phase1-legacy"


# --- what is written down ---------------------------------------------------------------------------------------------


async def test_every_legacy_call_is_told_once() -> None:
    """How long it took and what it raised, by name."""
    bench = Bench(legacy=SyncLegacy(), **FORCED)
    async with bench.manager:
        await bench.ask()
    assert [type(event) for event in bench.ear.heard] == [Routed, LegacyFinished]
    finished = bench.ear.of(LegacyFinished)[0]
    assert finished.error is None
    assert finished.seconds >= 0


async def test_caller_who_goes_away_is_told_as_such() -> None:
    """The thread goes on, the wait is over."""
    legacy = SyncLegacy()
    legacy.gate.clear()
    bench = Bench(legacy=legacy, **FORCED)
    async with bench.manager:
        call = asyncio.ensure_future(bench.ask())
        await legacy.has_started()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert bench.ear.of(LegacyFinished)[0].error == "asyncio.exceptions.CancelledError"
        legacy.gate.set()


def test_partial_is_no_client() -> None:
    """A zero-argument callable is called, whatever kind it is."""
    legacy = SyncLegacy()
    assert Bench(legacy=partial(lambda client: client, legacy)).manager.legacy.resolve() is legacy
