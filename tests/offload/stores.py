"""How is a store put to the test? With its journal and state at hand, and a way to let time pass for one task."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import redis.asyncio

from phase1.offload.background import Background
from phase1.offload.config import Config, Times
from phase1.offload.journal import Journal, NewTask
from phase1.offload.memory_journal import MemoryJournal
from phase1.offload.memory_state import MemoryState
from phase1.offload.redis_store import RedisStore
from phase1.offload.state import State

__all__ = ["SECRET", "TIMES", "Bench", "config_of", "memory_bench", "new_task", "redis_bench", "until"]

SECRET = b"0123456789abcdef"
TIMES = Times(poll=0.2, reap=0.05, renewal=0.05, read_patience=3, append_patience=3)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens on this loop."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - whatever it is, it tells nobody
            await asyncio.sleep(0.002)


def config_of(**changes: object) -> Config:
    """Small and quick."""
    return dataclasses.replace(Config(secret=SECRET, models=("m",), default_model="m", times=TIMES), **changes)  # type: ignore[arg-type]


def new_task(task: str = "t1", **changes: object) -> NewTask:
    """A task of the user `u`."""
    usual = NewTask(task=task, user="u", kind="chat", request="{}", grace_ms=30_000, deadline_ms=118_000)
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


@dataclass
class Bench:
    """`lapse(task)`: its lease is over. `late(task)`: its deadline too."""

    journal: Journal
    state: State
    config: Config
    lapse: Callable[[str], object]
    late: Callable[[str], object]
    keys: Callable[[], object]

    async def lapsed(self, task: str) -> None:
        """Let the lease run out."""
        result = self.lapse(task)
        if hasattr(result, "__await__"):
            await result

    async def overdue(self, task: str) -> None:
        """Let the deadline pass."""
        result = self.late(task)
        if hasattr(result, "__await__"):
            await result


def memory_bench(**changes: object) -> Bench:
    """In this process."""
    config = config_of(**changes)
    journal = MemoryJournal(config)

    def lapse(task: str) -> None:
        journal._leases[task] = 0

    def late(task: str) -> None:
        ledger = journal._ledgers[task]
        ledger.new = dataclasses.replace(ledger.new, deadline_ms=-1)

    return Bench(journal, MemoryState(), config, lapse, late, lambda: list(journal._ledgers))


@asynccontextmanager
async def redis_bench(url: str, prefix: str, **changes: object) -> AsyncIterator[Bench]:
    """In a real Redis, under keys of its own."""
    config = config_of(backend="redis", redis_url=url, prefix=prefix, **changes)
    store = RedisStore(config)
    background = Background()
    background.start(store.loops)
    client = redis.asyncio.Redis.from_url(url, decode_responses=True)

    async def lapse(task: str) -> None:
        await client.zadd(f"{prefix}active", {task: 0})

    async def late(task: str) -> None:
        await client.hset(f"{prefix}{{{task}}}:m", "deadline", "0")

    async def keys() -> list[str]:
        return [key async for key in client.scan_iter(f"{prefix}*")]

    try:
        yield Bench(store.journal, store.state, config, lapse, late, keys)
    finally:
        await background.aclose()
        await store.aclose()
        for key in await keys():
            await client.delete(key)
        await client.aclose()
