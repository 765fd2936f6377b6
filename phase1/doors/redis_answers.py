"""How are answers kept in Redis, so that several workers and hosts share them?

    phase1:answer:<digest>  →  the packed answer, until its time is over

A request waits 20 ms for Redis and no longer. One that is slower or away is left alone for a second, then two, at most
thirty; a command that was under way may end meanwhile, so that its connection is there next time. Writing is done
beside the request, and dropped when too much of it is waiting. How much is kept is Redis's own business (`maxmemory`,
with an `allkeys-lru` or `volatile-ttl` policy). Clients belong to their event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from phase1.engine.answers import StoreAway
from phase1.validation import public_url

__all__ = ["RedisStore"]

_PREFIX: Final = "phase1:answer:"
_PATIENCE: Final = 0.02
_FIRST_REST: Final = 1.0
_LONGEST_REST: Final = 30.0
_ANSWER: Final = 1.0
"""Seconds for a place among the connections, for a connection and for an answer, behind the request's back."""
_CONNECTIONS: Final = 32
_MOST_WRITES: Final = 64


class RedisStore:
    """A `Store` at `url`; `patience` in seconds, `clock` is monotonic."""

    def __init__(self, url: str, *, patience: float = _PATIENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._patience = patience
        self._clock = clock
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()
        self._under_way: set[asyncio.Future[Any]] = set()
        self._writes = 0
        self._rest = 0.0
        self._rests_until = 0.0
        self.dropped = 0
        """Answers that were not written."""

    async def get(self, key: str) -> bytes | None:
        """What is kept there. Raises `StoreAway`."""
        if self._clock() < self._rests_until:
            raise StoreAway
        reading = self._begin(self._client().get(_PREFIX + key))
        done, _ = await asyncio.wait({reading}, timeout=self._patience)
        if not done:
            self._failed()
            raise StoreAway
        try:
            value: bytes | None = reading.result()
        except (RedisError, OSError) as exc:
            self._failed()
            raise StoreAway from exc
        self._rest = 0.0
        return value

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep it, if Redis can; nobody waits for that."""
        if self._clock() < self._rests_until or self._writes >= _MOST_WRITES:
            self.dropped += 1
            return
        self._writes += 1
        self._begin(self._write(key, value, max(1, int(seconds * 1000))))

    async def _write(self, key: str, value: bytes, milliseconds: int) -> None:
        try:
            await self._client().set(_PREFIX + key, value, px=milliseconds)
        except (RedisError, OSError):
            self.dropped += 1
            self._failed()
        finally:
            self._writes -= 1

    def _begin(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any more

    def _failed(self) -> None:
        self._rest = min(_LONGEST_REST, self._rest * 2 or _FIRST_REST)
        self._rests_until = self._clock() + self._rest

    def _client(self) -> Redis:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=_CONNECTIONS,
                timeout=_ANSWER,
                socket_timeout=_ANSWER,
                socket_connect_timeout=_ANSWER,
                retry=Retry(NoBackoff(), 0),
            )
            client = self._clients[loop] = Redis.from_pool(pool)
        return client

    def describe(self) -> dict[str, object]:
        """Where it is, and whether it is away."""
        away = max(0.0, self._rests_until - self._clock())
        return {"store": public_url(self._url), "away_for": away, "dropped": self.dropped}

    async def aclose(self) -> None:
        """Let writes finish for a moment, then close this loop's connections."""
        loop = asyncio.get_running_loop()
        own = {task for task in self._under_way if task.get_loop() is loop}
        if own:
            _, late = await asyncio.wait(own, timeout=_ANSWER)
            for task in late:
                task.cancel()
        if (client := self._clients.pop(loop, None)) is not None:
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()
