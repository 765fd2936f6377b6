"""Are answers kept in a real Redis, and is nobody kept waiting when it is slow or away?"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from phase1.doors.manager import LLMManager
from phase1.doors.redis_answers import RedisStore
from phase1.engine.answers import StoreAway
from phase1.engine.repeats import CACHE_HEADER
from phase1.exceptions import ConfigurationError
from phase1.lab.chaos.faults import healthy
from phase1.lab.chaos.upstream import Endpoint, Exchange
from phase1.settings import Settings
from tests.doors.bench import BOUND, HELLO, Clock
from tests.offload.redis_server import RedisServer, needed_program, started

PATIENT = 5.0
"""Seconds for a Redis that works, on a machine that is busy."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with started(needed_program()) as server:
        yield server


@contextlib.asynccontextmanager
async def opened(url: str, *, patience: float = PATIENT, clock: Clock | None = None) -> AsyncIterator[RedisStore]:
    """A store, closed at the end."""
    store = RedisStore(url, patience=patience, clock=clock or Clock())
    try:
        async with asyncio.timeout(BOUND):
            yield store
    finally:
        await store.aclose()


async def kept(store: RedisStore, key: str) -> bytes:
    """What is there, as soon as it is written."""
    while (value := await store.get(key)) is None:  # noqa: ASYNC110 - it is written beside us
        await asyncio.sleep(0.01)
    return value


async def test_answer_of_one_worker_is_there_for_another(server: RedisServer) -> None:
    """For its time, under a digest."""
    async with opened(server.url) as one, opened(server.url) as other:
        assert await one.get("digest") is None
        one.put("digest", b"\x00bytes", seconds=60.0)
        assert await kept(other, "digest") == b"\x00bytes"
        with server.client() as client:
            assert client.keys("*") == ["phase1:answer:digest"]
            assert 0 < client.pttl("phase1:answer:digest") <= 60_000
        assert one.describe() == {"store": server.url, "away_for": 0.0, "dropped": 0}


async def test_silent_redis_is_left_alone_for_longer_and_longer(server: RedisServer) -> None:
    """Nobody waits while it rests; when it speaks again it is asked again."""
    clock = Clock()
    async with opened(server.url, patience=0.02, clock=clock) as store:
        server.pause()
        for rest in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
            with pytest.raises(StoreAway):
                await store.get("a")
            assert store.describe()["away_for"] == rest
            with pytest.raises(StoreAway):  # without a word to Redis
                await store.get("a")
            store.put("a", b"1", seconds=60.0)
            clock.now += rest
        assert store.dropped == 7
        server.resume()
    async with opened(server.url) as store:
        store.put("a", b"1", seconds=60.0)
        assert await kept(store, "a") == b"1"


async def test_redis_that_is_not_there_answers_nothing_and_keeps_nothing() -> None:
    """Whoever comes first finds out."""
    async with opened("redis://127.0.0.1:1/0") as store:
        store.put("a", b"1", seconds=60.0)
        while not store.dropped:  # noqa: ASYNC110 - it is written beside us
            await asyncio.sleep(0.01)
    async with opened("redis://127.0.0.1:1/0") as store:
        with pytest.raises(StoreAway) as away:
            await store.get("a")
        assert isinstance(away.value.__cause__, RedisConnectionError)


async def test_writes_that_wait_are_bounded(server: RedisServer) -> None:
    """A slow Redis takes no memory of ours."""
    async with opened(server.url) as store:
        for number in range(100):
            store.put(str(number), b"1", seconds=60.0)
        assert store.dropped == 36
        assert await kept(store, "63") == b"1"


async def test_closing_does_not_wait_for_a_silent_redis(server: RedisServer) -> None:
    """A second, and no more."""
    async with opened(server.url, patience=0.02) as store:
        server.pause()
        with pytest.raises(StoreAway):
            await store.get("a")
    server.resume()


async def answers(exchange: Exchange) -> None:
    """At once."""
    await healthy(exchange, latency=0.0)


def settings_of(endpoint: Endpoint, **overrides: object) -> Settings:
    """A pool in front of it, with a cache."""
    given = {"enable_llm_pool": True, "openai_api_key": "sk-test", "openai_base_url": endpoint.url}
    return Settings(**given, llm_cache_seconds=60.0, **overrides)


async def ask(manager: LLMManager, **more: object) -> tuple[str, str | None]:
    """One question by the SDK: the answer, and where it came from."""
    create = manager.client.chat.completions.with_raw_response.create
    raw = await create(model="m", messages=HELLO, temperature=0, **more)  # type: ignore[arg-type]
    return raw.parse().choices[0].message.content or "", raw.headers.get(CACHE_HEADER)


async def test_two_workers_share_answers_and_outlive_redis(server: RedisServer) -> None:
    """Over sockets on all sides; prompts stand in no key; when Redis is killed the upstream is asked."""
    async with asyncio.timeout(BOUND), Endpoint(answers) as endpoint:
        settings = settings_of(endpoint, llm_state_url=server.url)
        async with LLMManager(settings) as one, LLMManager(settings) as other:
            for manager in (one, other):
                store = manager.repeats.store if manager.repeats is not None else None
                assert isinstance(store, RedisStore)
                store._patience, store._clock = PATIENT, Clock()  # a machine that stops for a second is no miss
            text, where = await ask(one)
            assert where == "miss"
            again = await ask(other)
            while again[1] == "miss":
                again = await ask(other)
            assert again == (text, "hit")
            asked = endpoint.requests
            assert await ask(one) == (text, "hit")
            assert endpoint.requests == asked
            with server.client() as client:
                (key,) = client.keys("*")
                assert not any(message["content"] in key for message in HELLO)
                client.set(key, "somebody else's bytes")
            assert await ask(one) == (text, "miss")
            server.kill9()
            assert await ask(one) == (text, "miss")
            assert await ask(other) == (text, "miss")
            assert one.tally.cache["error"] >= 1
            assert str(one.status()["cache"]["store"]) == server.url  # type: ignore[index]


async def test_memory_is_the_default_and_the_sdk_sees_what_happened() -> None:
    """The plain call and the raw one are one question; a stream is none."""
    async with asyncio.timeout(BOUND), Endpoint(answers) as endpoint, LLMManager(settings_of(endpoint)) as manager:
        text, where = await ask(manager)
        assert (where, await ask(manager)) == ("miss", (text, "hit"))
        plain = await manager.client.chat.completions.create(model="m", messages=HELLO, temperature=0)
        assert plain.choices[0].message.content == text
        assert endpoint.requests == 1
        assert (await ask(manager, extra_headers={"cache-control": "no-store"}))[1] is None
        stream = await manager.client.chat.completions.create(model="m", messages=HELLO, temperature=0, stream=True)
        assert [chunk async for chunk in stream]
        assert endpoint.requests == 3


async def test_failure_is_raised_to_everybody_who_shares_it() -> None:
    """As the SDK raises it."""

    async def fails(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await exchange.whole(400, {"error": {"message": "no", "type": "x", "param": None, "code": "x"}})

    async with asyncio.timeout(BOUND), Endpoint(fails) as endpoint:
        settings = settings_of(endpoint, llm_single_flight=True)
        async with LLMManager(settings) as manager:
            ends = await asyncio.gather(*(ask(manager) for _ in range(5)), return_exceptions=True)
            assert {type(end) for end in ends} == {openai.BadRequestError}
            assert endpoint.requests == 1


@pytest.mark.parametrize("strict", [False, True])
def test_missing_library_is_said_at_start(strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """By name and extra; without the password that stands in the URL."""
    monkeypatch.setitem(sys.modules, "redis", None)
    settings = Settings(
        enable_llm_pool=True,
        openai_api_key="sk-test",
        llm_cache_seconds=60.0,
        llm_state_url="redis://:hunter22@cache:6379/0",
        llm_strict_start=strict,
    )
    said = 'LLM_STATE_URL=redis://cache:6379/0: needs redis-py: pip install "phase1[cache]"'
    if strict:
        with pytest.raises(ConfigurationError) as problem:
            LLMManager(settings)
        assert str(problem.value) == said
    else:
        assert LLMManager(settings).problem == said


def test_redis_is_loaded_by_nobody_else() -> None:
    """`LLM_STATE_URL` alone, and a cache in memory, need no library."""
    settings = Settings(enable_llm_pool=True, openai_api_key="sk-test", llm_state_url="redis://cache:6379/0")
    manager = LLMManager(settings)
    assert (manager.problem, manager.repeats) == (None, None)
