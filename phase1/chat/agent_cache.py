"""How is an expensive agent built once, however many requests come first at the same time?

    @cached_agent
    def get_chat_agent() -> ChatAgent:          # get_chat_agent() from then on
        return ChatAgent()

    @cached_agent
    async def get_chat_agent() -> ChatAgent:    # await get_chat_agent()
        return await ChatAgent.create()

`functools.lru_cache`, which seed 001 recommends, keeps one result but may call the function several times while the
first call is not over (https://docs.python.org/3/library/functools.html#functools.lru_cache). Here the others wait for
the one that builds. A failure is theirs too, and is not kept: the next call builds anew. The building of an
asynchronous factory goes on when its caller is cancelled.

Once is once in a process: with `uvicorn --workers 4` there are four agents.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

from phase1.chat.exceptions import AgentNotBuilt
from phase1.doors.portal import await_, has_portal

__all__ = ["AsyncCachedAgent", "CacheInfo", "CachedAgent", "cached_agent"]

T = TypeVar("T")


class CacheInfo(NamedTuple):
    """As `functools.lru_cache` has it, and `age`: seconds since the agent was built, `None` without one.

    A miss is a call that began to build; calls that wait for it, and later ones, are hits.
    """

    hits: int
    misses: int
    maxsize: int
    currsize: int
    age: float | None

    def __str__(self) -> str:
        """As seed 001 shows it."""
        return f"hits={self.hits}, misses={self.misses}, maxsize={self.maxsize}, currsize={self.currsize}"


@dataclass(eq=False)
class _Build(Generic[T]):
    """An agent, or the one that is being built. `mine`: by this caller."""

    future: Future[T] = field(default_factory=Future)
    thread: int = field(default_factory=threading.get_ident)
    task: object = field(default_factory=lambda: _task())  # noqa: PLW0108 - defined below
    built_at: float = 0.0


class _Cache(Generic[T]):
    """What both kinds of agents have. State changes under a lock that is never held while something is built."""

    def __init__(self, factory: Callable[..., object], clock: Callable[[], float]) -> None:
        update_wrapper(cast("Callable[..., object]", self), factory)
        self._clock = clock
        self._lock = threading.Lock()
        self._build: _Build[T] | None = None
        self._hits = self._misses = 0
        self._process = os.getpid()

    def cache_clear(self) -> None:
        """Forget the agent and the numbers. One that is being built is given to those who wait for it, and not kept."""
        with self._lock:
            self._build = None
            self._hits = self._misses = 0

    def cache_info(self) -> CacheInfo:
        """The numbers of this process."""
        with self._lock:
            agent = self._built()
            age = None if agent is None else self._clock() - agent.built_at
            return CacheInfo(self._hits, self._misses, 1, int(agent is not None), age)

    def peek(self) -> T | None:
        """The agent, if there is one."""
        with self._lock:
            agent = self._built()
            return None if agent is None else agent.future.result()

    def _built(self) -> _Build[T] | None:
        build = self._build
        return build if build is not None and build.future.done() else None

    def _claim(self) -> tuple[_Build[T], bool]:
        """The build to wait for, and whether the caller is to do it."""
        with self._lock:
            if self._build is None or self._process != os.getpid():  # a fork has no thread that goes on building
                self._process = os.getpid()
                self._misses += 1
                self._build = _Build()
                return self._build, True
            self._hits += 1
            return self._build, False

    def _succeed(self, build: _Build[T], agent: T) -> None:
        build.built_at = self._clock()
        build.future.set_result(agent)

    def _fail(self, build: _Build[T], error: BaseException) -> None:
        with self._lock:
            if self._build is build:
                self._build = None
        build.future.set_exception(error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '__name__', '')} {self.cache_info()}>"


class CachedAgent(_Cache[T]):
    """A synchronous factory's agent: call it.

    Who waits for another thread's build blocks; on an event loop without a portal that is everybody: build at start-up.
    """

    def __init__(self, factory: Callable[[], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(factory, clock)
        self._factory = factory

    def __call__(self) -> T:
        """The agent. Raises what the factory raises, and `AgentNotBuilt` when the factory asks for its own agent."""
        build, mine = self._claim()
        return self._make(build) if mine else _wait(build)

    def _make(self, build: _Build[T]) -> T:
        try:
            agent = self._factory()
        except Exception as exc:
            self._fail(build, exc)
            raise
        except BaseException:  # Ctrl-C is not the others'
            self._fail(build, AgentNotBuilt("the agent's factory was interrupted; the next call builds anew"))
            raise
        self._succeed(build, agent)
        return agent


class AsyncCachedAgent(_Cache[T]):
    """An asynchronous factory's agent: await it. Built on the loop that asks first, and given to every loop."""

    def __init__(
        self, factory: Callable[[], Coroutine[Any, Any, T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(factory, clock)
        self._factory = factory
        self._building: set[asyncio.Task[None]] = set()

    async def __call__(self) -> T:
        """The agent. Raises what the factory raises, and `AgentNotBuilt` when it was cancelled or asks for its own."""
        build, mine = self._claim()
        if mine:
            task = asyncio.get_running_loop().create_task(self._make(build))
            self._building.add(task)
            task.add_done_callback(self._building.discard)
        elif not build.future.done() and build.task is _task():
            raise AgentNotBuilt(_OWN)
        return await asyncio.shield(asyncio.wrap_future(build.future))

    async def _make(self, build: _Build[T]) -> None:
        build.task = _task()
        try:
            agent = await self._factory()
        except asyncio.CancelledError:
            self._fail(build, AgentNotBuilt("the agent's factory was cancelled; the next call builds anew"))
        except BaseException as exc:  # noqa: BLE001 - all who wait raise it
            self._fail(build, exc)
        else:
            self._succeed(build, agent)


_OWN = "the agent's factory asks for the agent that it is building"


def _wait(build: _Build[T]) -> T:
    """The agent that somebody else builds; without blocking the loop where a portal can wait."""
    if not build.future.done() and has_portal() and build.task is not _task():
        return await_(_answer(build.future))
    if not build.future.done() and build.thread == threading.get_ident():
        raise AgentNotBuilt(_OWN)
    return build.future.result()


async def _answer(future: Future[T]) -> T:
    return await asyncio.shield(asyncio.wrap_future(future))


def _task() -> object | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop in this thread
        return None


@overload
def cached_agent(factory: Callable[[], Coroutine[Any, Any, T]]) -> AsyncCachedAgent[T]: ...  # type: ignore[overload-overlap]


@overload
def cached_agent(factory: Callable[[], T]) -> CachedAgent[T]: ...


def cached_agent(factory: Callable[[], Any]) -> CachedAgent[Any] | AsyncCachedAgent[Any]:
    """The factory's one agent of this process; `factory` takes no arguments.

    The result has `cache_clear()` and `cache_info()` as `functools.lru_cache` has, and `peek()`.
    """
    return AsyncCachedAgent(factory) if inspect.iscoroutinefunction(factory) else CachedAgent(factory)
