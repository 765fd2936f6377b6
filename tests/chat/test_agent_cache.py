"""Is the agent built once, by threads and tasks that all come first; and is nothing kept that failed?"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import pytest

from phase1.chat import AgentNotBuilt, AsyncCachedAgent, CachedAgent, CacheInfo, cached_agent
from phase1.doors.portal import await_, in_portal

BOUND = 10.0
CALLERS = 100


class Agent:
    """Expensive."""


class Factory:
    """Builds when everybody who is to come is there: whoever does not wait for the first build shows up as another."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.built = 0
        self.lock = threading.Lock()
        self.may_finish = threading.Event()

    def __call__(self) -> Agent:
        with self.lock:
            self.built += 1
        self.may_finish.wait(BOUND)
        if self.errors:
            raise self.errors.pop(0)
        return Agent()


class AsyncFactory(Factory):
    def __init__(self, *errors: BaseException) -> None:
        super().__init__(*errors)
        self.may_go_on = asyncio.Event()

    async def build(self) -> Agent:
        self.built += 1
        await self.may_go_on.wait()
        if self.errors:
            raise self.errors.pop(0)
        return Agent()


def naive_singleton(factory: Callable[[], Agent]) -> Callable[[], Agent]:
    """The singleton that seed 001 begins with."""
    agent: Agent | None = None

    def get() -> Agent:
        nonlocal agent
        if agent is None:
            agent = factory()
        return agent

    return get


def race(get: Callable[[], Agent], factory: Factory, until: Callable[[], bool]) -> set[Agent]:
    """A hundred threads call for the first time at the same time; nothing is built before `until` is true."""
    all_there = threading.Barrier(CALLERS)

    def call() -> Agent:
        all_there.wait(BOUND)
        return get()

    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call) for _ in range(CALLERS)]
        give_up = time.monotonic() + BOUND
        while not until() and time.monotonic() < give_up:
            time.sleep(0.001)
        factory.may_finish.set()
        return {call.result(BOUND) for call in calls}


def all_have_called(get: CachedAgent[Agent]) -> Callable[[], bool]:
    """Whether everybody has asked."""
    return lambda: sum(get.cache_info()[:2]) == CALLERS


def test_race_of_a_hundred_threads_builds_one() -> None:
    """All get the same agent."""
    factory = Factory()
    get = cached_agent(factory)
    assert len(race(get, factory, all_have_called(get))) == 1
    assert factory.built == 1
    assert get.cache_info()[:4] == (CALLERS - 1, 1, 1, 1)


@pytest.mark.parametrize("make", [naive_singleton, lru_cache(maxsize=1)], ids=["the naive one", "lru_cache"])
def test_the_race_is_lost_by_others(make: Callable[[Factory], Callable[[], Agent]]) -> None:
    """The same race finds what it is there for: in seed 001's first version, and in the `lru_cache` it recommends."""
    factory = Factory()
    race(make(factory), factory, lambda: factory.built > 1)
    assert factory.built > 1


async def test_race_of_a_hundred_tasks_builds_one() -> None:
    """On the loop, with an asynchronous factory."""
    factory = AsyncFactory()
    get = AsyncCachedAgent(factory.build)
    calls = [asyncio.create_task(get()) for _ in range(CALLERS)]
    await asyncio.sleep(0)
    factory.may_go_on.set()
    assert len(set(await asyncio.gather(*calls))) == 1
    assert (factory.built, get.cache_info()[:4]) == (1, (CALLERS - 1, 1, 1, 1))


async def test_race_of_tasks_is_lost_by_the_naive_one() -> None:
    """`if agent is None: agent = await build()` builds a hundred."""
    factory = AsyncFactory()
    agent: Agent | None = None

    async def get() -> Agent:
        nonlocal agent
        if agent is None:
            agent = await factory.build()
        return agent

    calls = [asyncio.create_task(get()) for _ in range(CALLERS)]
    await asyncio.sleep(0)
    factory.may_go_on.set()
    await asyncio.gather(*calls)
    assert factory.built == CALLERS


def test_loops_of_several_threads_share_the_agent() -> None:
    """An asynchronous factory runs on the loop that asks first; the others wait for it."""
    built: list[Agent] = []

    @cached_agent
    async def get_agent() -> Agent:
        await asyncio.sleep(0.01)
        built.append(Agent())
        return built[-1]

    with ThreadPoolExecutor(8) as pool:
        agents = {call.result(BOUND) for call in [pool.submit(lambda: asyncio.run(get_agent())) for _ in range(8)]}
    assert agents == set(built)
    assert len(built) == 1


def test_decorator_keeps_the_factorys_name_and_text() -> None:
    """And the repr tells the numbers."""

    @cached_agent
    def get_chat_agent() -> Agent:
        """The agent."""
        return Agent()

    assert (get_chat_agent.__name__, get_chat_agent.__doc__) == ("get_chat_agent", "The agent.")
    get_chat_agent()
    assert repr(get_chat_agent) == "<CachedAgent get_chat_agent hits=0, misses=1, maxsize=1, currsize=1>"


def test_info_tells_hits_misses_size_and_age() -> None:
    """In the words of `functools`, and the age by the clock."""
    now = [10.0]
    get = CachedAgent(Agent, clock=lambda: now[0])
    assert get.cache_info() == CacheInfo(0, 0, 1, 0, None)
    assert get.peek() is None
    agent = get()
    now[0] = 12.5
    assert get() is agent
    assert get.peek() is agent
    assert get.cache_info() == CacheInfo(hits=1, misses=1, maxsize=1, currsize=1, age=2.5)
    assert str(get.cache_info()) == "hits=1, misses=1, maxsize=1, currsize=1"


def test_clear_begins_anew() -> None:
    """The next call builds another agent."""
    get = CachedAgent(Agent)
    first = get()
    get.cache_clear()
    assert get.cache_info() == CacheInfo(0, 0, 1, 0, None)
    assert get() is not first


async def test_clear_while_it_is_built_keeps_nothing() -> None:
    """Those who wait get that agent; the next call another."""
    factory = AsyncFactory()
    get = AsyncCachedAgent(factory.build)
    waiting = asyncio.create_task(get())
    await asyncio.sleep(0)
    get.cache_clear()
    factory.may_go_on.set()
    first = await waiting
    assert get.peek() is None
    assert await get() is not first


# --- failures ---------------------------------------------------------------------------------------------------------


def test_failure_is_everybodys_who_waits_and_is_not_kept() -> None:
    """The same exception; the next call builds, and succeeds."""
    factory = Factory(ConnectionError("no key"))
    get = cached_agent(factory)
    with pytest.raises(ConnectionError, match="no key"):
        race(get, factory, all_have_called(get))
    assert get.cache_info().currsize == 0
    assert isinstance(get(), Agent)


async def test_asynchronous_failure_likewise() -> None:
    """One build, one error for all."""
    factory = AsyncFactory(ConnectionError("no key"))
    factory.may_go_on.set()
    get = AsyncCachedAgent(factory.build)
    failures = await asyncio.gather(*(get() for _ in range(5)), return_exceptions=True)
    assert {type(failure) for failure in failures} == {ConnectionError}
    assert factory.built == 1
    assert isinstance(await get(), Agent)


async def test_cancelled_caller_does_not_cancel_the_build() -> None:
    """The first user has gone; the others get what they were waiting for."""
    factory = AsyncFactory()
    get = AsyncCachedAgent(factory.build)
    first, second = asyncio.create_task(get()), asyncio.create_task(get())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    factory.may_go_on.set()
    assert isinstance(await second, Agent)
    assert factory.built == 1


async def test_factory_that_is_cancelled_is_an_error_and_not_kept() -> None:
    """Not a cancellation of those who wait."""
    factory = AsyncFactory(asyncio.CancelledError())
    factory.may_go_on.set()
    get = AsyncCachedAgent(factory.build)
    for failure in await asyncio.gather(get(), get(), return_exceptions=True):
        assert isinstance(failure, AgentNotBuilt)
        assert "was cancelled; the next call builds anew" in str(failure)
    assert isinstance(await get(), Agent)


def test_interrupted_factory_is_an_error_for_the_others() -> None:
    """Ctrl-C is for the one whom it hits."""
    factory = Factory(KeyboardInterrupt())
    get = CachedAgent(factory)
    got: list[BaseException] = []

    def call() -> None:
        try:
            get()
        except BaseException as exc:  # noqa: BLE001
            got.append(exc)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    while sum(get.cache_info()[:2]) < 2:
        pass
    factory.may_finish.set()
    for thread in threads:
        thread.join(BOUND)
    assert {type(exc) for exc in got} == {KeyboardInterrupt, AgentNotBuilt}


def test_factory_that_asks_for_its_own_agent_is_an_error() -> None:
    """Rather than a deadlock."""
    get: CachedAgent[object] = CachedAgent(lambda: get())  # noqa: PLW0108 - not there yet
    with pytest.raises(AgentNotBuilt, match="asks for the agent that it is building"):
        get()


async def test_asynchronous_factory_that_asks_for_its_own_agent_is_an_error() -> None:
    """Likewise."""

    async def build() -> object:
        return await get()

    get: AsyncCachedAgent[object] = AsyncCachedAgent(build)
    async with asyncio.timeout(BOUND):
        with pytest.raises(AgentNotBuilt, match="asks for the agent"):
            await get()


async def test_factory_that_waits_over_a_portal_does_not_deadlock_the_loop() -> None:
    """A blocking factory suspends its task, as pooled clients do; another task of the same thread waits for it."""
    go = asyncio.Event()
    built: list[Agent] = []

    def build() -> Agent:
        await_(go.wait())
        built.append(Agent())
        return built[-1]

    get = CachedAgent(build)

    async def call() -> Agent:
        return get()

    calls = [asyncio.create_task(in_portal(call())) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(BOUND):
        assert set(await asyncio.gather(*calls)) == set(built)
    assert len(built) == 1


def test_forked_process_builds_its_own() -> None:
    """A connection must not be used by parent and child: once is once in a process."""
    get: Any = CachedAgent(Agent)
    first = get()
    get._process = os.getpid() - 1  # as it is after a fork
    assert get() is not first
