"""`llm.chat` with the app's own SDK client behind it: does it answer where the pool does not, whole or as a stream?"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest

from phase1.doors.facade import LLMClient
from phase1.engine.transport import Broken
from phase1.engine.transport.family import httpx
from phase1.engine.transport.mock import MockResponse
from phase1.events import FellBack, LegacyFinished
from tests.doors.bench import BOUND, HELLO, POOL_KEY, Answer, Bench, SyncLegacy, failure, until

FORCED = {"force_legacy_llm": True}
SDK = [openai.OpenAI, openai.AsyncOpenAI]
Client = openai.OpenAI | openai.AsyncOpenAI


def chunk(text: str | None, finish: str | None = None) -> bytes:
    """One event of a chat stream."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def stream_of(*words: str) -> list[bytes]:
    """A whole chat stream."""
    return [*(chunk(word) for word in words), chunk(None, "stop"), b"data: [DONE]\n\n"]


def streamed(*parts: bytes | Exception) -> Callable[[], Answer]:
    """An answer of the pool's upstream."""
    return lambda: MockResponse(200, [("content-type", "text/event-stream")], parts)


class Slowly(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a legacy stream: each chunk waits for the gate; it notes who reads it and that it was closed."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self._rest = iter(parts)  # like a socket: who reads again goes on, he does not begin anew
        self.gate = threading.Semaphore(len(parts))
        self.threads: set[str] = set()
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for part in self._rest:
            assert self.gate.acquire(timeout=BOUND)
            self.threads.add(threading.current_thread().name)
            yield part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in iter(self):
            yield part

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def sdk_client(kind: type[Client], body: Slowly | None = None, *, key: str = "sk-legacy", status: int = 200) -> Client:
    """The app's own client, without a network."""
    message = {"role": "assistant", "content": "legacy"}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}

    def answer(request: Any) -> Any:  # noqa: ANN401 - httpx or httpx2
        if json.loads(request.content).get("stream"):
            return httpx.Response(status, headers={"content-type": "text/event-stream"}, stream=body)
        return httpx.Response(status, json=whole)

    http = (httpx.AsyncClient if kind is openai.AsyncOpenAI else httpx.Client)(transport=httpx.MockTransport(answer))
    return kind(api_key=key, base_url="http://legacy.test/v1", http_client=http, max_retries=0)  # type: ignore[arg-type]


async def say(llm: LLMClient) -> str | None:
    """A whole answer."""
    completion = await llm.chat.completions.create(model="m", messages=HELLO)
    return completion.choices[0].message.content


async def read(llm: LLMClient) -> list[str]:
    """The words of a streamed answer."""
    stream = await llm.chat.completions.create(model="m", messages=HELLO, stream=True)
    return [event.choices[0].delta.content async for event in stream if event.choices[0].delta.content]


@pytest.mark.parametrize("kind", SDK)
async def test_legacy_route_is_the_apps_own_client(kind: type[Client]) -> None:
    """Whole and streamed; nothing goes to the pool."""
    body = Slowly(stream_of("one", "two"))
    bench = Bench(legacy=sdk_client(kind, body), **FORCED)
    async with bench.manager:
        llm = bench.manager.llm()
        assert await say(llm) == "legacy"
        assert await read(llm) == ["one", "two"]
    assert bench.upstream.requests == []
    assert len(bench.ear.of(LegacyFinished)) == 2
    assert body.closed


async def test_stream_of_a_blocking_client_is_read_in_threads_of_ours() -> None:
    """Item by item: while a thread waits for the next one the loop goes on."""
    body = Slowly(stream_of("one", "two"))
    body.gate = threading.Semaphore(1)
    bench = Bench(legacy=sdk_client(openai.OpenAI, body), **FORCED)
    async with bench.manager:
        stream = await bench.manager.llm().chat.completions.create(model="m", messages=HELLO, stream=True)
        assert (await anext(stream)).choices[0].delta.content == "one"
        following = asyncio.ensure_future(anext(stream))
        await until(lambda: bench.manager.bindings.current().legacy.in_flight == 1)
        assert not following.done()
        body.gate.release(len(body.parts))
        assert (await following).choices[0].delta.content == "two"
        await stream.close()
    assert body.threads == {"phase1-legacy"}
    assert body.closed


@pytest.mark.parametrize("kind", SDK)
async def test_fallback_is_the_apps_own_client(kind: type[Client]) -> None:
    """Whole, and as a stream that has not begun; one event each."""
    body = Slowly(stream_of("one", "two"))
    bench = Bench(lambda: failure(500), legacy=sdk_client(kind, body))
    async with bench.manager:
        assert await say(bench.manager.llm()) == "legacy"
        assert await read(bench.manager.llm()) == ["one", "two"]
    assert [event.reason for event in bench.ear.of(FellBack)] == ["server_error"] * 2


@pytest.mark.parametrize(
    "parts",
    [(Broken("ReadError"),), (b": keep-alive\n\n",), (chunk(""), Broken("ReadError"))],
    ids=["broken", "empty", "role only"],
)
async def test_stream_that_breaks_before_its_first_content_falls_back(parts: tuple[bytes | Exception, ...]) -> None:
    """Nothing has reached the caller yet: he never learns of it."""
    bench = Bench(streamed(*parts), legacy=sdk_client(openai.AsyncOpenAI, Slowly(stream_of("one"))))
    async with bench.manager:
        assert await read(bench.manager.llm()) == ["one"]
    assert len(bench.ear.of(FellBack)) == 1


async def test_stream_that_breaks_after_its_first_content_does_not() -> None:
    """The caller has read something: an honest error, nobody else's continuation."""
    bench = Bench(streamed(chunk("one"), Broken("ReadError")), legacy=sdk_client(openai.AsyncOpenAI))
    words = []
    async with bench.manager:
        stream = await bench.manager.llm().chat.completions.create(model="m", messages=HELLO, stream=True)
        words.append((await anext(stream)).choices[0].delta.content)
        with pytest.raises(openai.APIError):
            await anext(stream)
    assert words == ["one"]
    assert bench.ear.of(FellBack) == []


async def test_stream_of_the_pool_is_the_sdks() -> None:
    """Without trouble legacy is left alone."""
    bench = Bench(streamed(*stream_of("one", "two")), legacy=sdk_client(openai.AsyncOpenAI))
    async with bench.manager:
        assert await read(bench.manager.llm()) == ["one", "two"]
    assert bench.ear.of(LegacyFinished) == []


@pytest.mark.parametrize(("status", "error"), [(400, openai.BadRequestError), (422, openai.UnprocessableEntityError)])
async def test_errors_of_the_caller_stay_his(status: int, error: type[Exception]) -> None:
    """Legacy would say the same."""
    bench = Bench(lambda: failure(status), legacy=sdk_client(openai.AsyncOpenAI))
    async with bench.manager:
        with pytest.raises(error):
            await say(bench.manager.llm())
    assert bench.ear.of(FellBack) == []


@pytest.mark.parametrize(("key", "answer"), [("sk-another", "legacy"), (POOL_KEY, None)])
async def test_rate_limit_falls_back_to_other_credentials_only(key: str, answer: str | None) -> None:
    """The same key is throttled everywhere."""
    bench = Bench(lambda: failure(429, retry_after="7"), legacy=sdk_client(openai.AsyncOpenAI, key=key))
    async with bench.manager:
        if answer is None:
            with pytest.raises(openai.RateLimitError):
                await say(bench.manager.llm())
        else:
            assert await say(bench.manager.llm()) == answer


@pytest.mark.parametrize("kind", SDK)
async def test_error_of_the_apps_own_client_is_the_callers(kind: type[Client]) -> None:
    """The SDK's exception, from its own retries and all; it is told by name."""
    bench = Bench(legacy=sdk_client(kind, status=500), **FORCED)
    async with bench.manager:
        with pytest.raises(openai.InternalServerError):
            await say(bench.manager.llm())
    assert bench.ear.of(LegacyFinished)[0].error == "openai.InternalServerError"


async def test_object_of_the_seeds_kind_is_no_fallback_for_the_sdk() -> None:
    """It has no `chat`: the error is the SDK's."""
    legacy = SyncLegacy()
    bench = Bench(lambda: failure(500), legacy=legacy)
    async with bench.manager:
        with pytest.raises(openai.InternalServerError):
            await say(bench.manager.llm())
    assert legacy.calls == []
    assert bench.ear.of(FellBack) == []


async def test_fallback_has_what_the_deadline_leaves() -> None:
    """A blocking client that hangs does not make the request later."""
    body = Slowly(stream_of("one"))
    gate = threading.Event()

    def hang(request: Any) -> Any:  # noqa: ANN401 - httpx or httpx2
        assert gate.wait(BOUND)
        return httpx.Response(200, stream=body)

    http = httpx.Client(transport=httpx.MockTransport(hang))
    client = openai.OpenAI(api_key="sk", base_url="http://legacy.test/v1", http_client=http, max_retries=0)  # type: ignore[arg-type]
    bench = Bench(lambda: failure(500), legacy=client, llm_request_deadline=0.05)
    await bench.manager.start()
    try:
        with pytest.raises(openai.APITimeoutError):
            await say(bench.manager.llm())
    finally:
        gate.set()
        await bench.manager.aclose()
