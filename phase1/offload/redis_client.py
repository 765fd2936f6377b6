"""How is Redis spoken to? With bounded waits, a pool that waits instead of raising, and one kind of error.

redis-py tries a command again by itself, so every write may happen twice: the scripts know that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Sequence
from importlib.resources import files
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import NoScriptError, RedisError

from phase1.offload.journal import JournalUnavailable
from phase1.validation import public_url

__all__ = ["RedisClient"]

T = TypeVar("T")

_CONNECT: Final = 2.0
_ANSWER: Final = 3.0
_WAIT: Final = 2.0
"""Seconds for a connection, for an answer, and for a free connection of the pool."""
_RETRIES: Final = 2
_NAMES: Final = ("create", "claim", "append", "renew", "cancel", "reap", "gcra", "hold", "count")

Call = tuple[str, Sequence[str], Sequence[str | int]]
"""Script, keys, arguments."""


class RedisClient:
    """Commands and scripts; `listener` is for subscriptions. Errors are `JournalUnavailable`."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._url = url
        self._scripts = {name: (files("phase1.offload") / "lua" / f"{name}.lua").read_text("utf-8") for name in _NAMES}
        self._digests = {name: hashlib.sha1(text.encode()).hexdigest() for name, text in self._scripts.items()}  # noqa: S324 - what EVALSHA is
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=_WAIT,
            socket_timeout=_ANSWER,
            socket_connect_timeout=_CONNECT,
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), _RETRIES),
            decode_responses=True,
        )
        self._redis: Redis = Redis(connection_pool=pool)

    @property
    def name(self) -> str:
        """Fit to be logged."""
        return public_url(self._url)

    def listener(self) -> Redis:
        """A client with a connection of its own, which says at once that it is broken."""
        return Redis.from_url(
            self._url,
            socket_timeout=_ANSWER,
            socket_connect_timeout=_CONNECT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )

    async def command(self, *parts: str | float) -> Any:  # noqa: ANN401 - what Redis says
        """One command."""
        return await self._guarded(self._redis.execute_command(*parts))  # type: ignore[no-untyped-call]

    async def script(self, name: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:  # noqa: ANN401
        """One script."""
        return (await self.scripts([(name, keys, arguments)]))[0]

    async def scripts(self, calls: Sequence[Call]) -> list[Any]:
        """Several, in order, in one round trip."""
        if not calls:
            return []
        try:
            return await self._guarded(self._evaluated(calls))
        except NoScriptError:
            for text in self._scripts.values():
                await self.command("SCRIPT", "LOAD", text)
            return await self._guarded(self._evaluated(calls))

    async def _evaluated(self, calls: Sequence[Call]) -> list[Any]:
        if len(calls) == 1:
            name, keys, arguments = calls[0]
            return [await self._redis.evalsha(self._digests[name], len(keys), *keys, *arguments)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name, keys, arguments in calls:
                pipeline.evalsha(self._digests[name], len(keys), *keys, *arguments)
            return await pipeline.execute()

    async def _guarded(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except NoScriptError:
            raise
        except (TimeoutError, RedisError, OSError) as error:
            raise JournalUnavailable(f"{self.name} cannot be used now ({type(error).__name__})") from error

    async def aclose(self) -> None:
        """Close every connection."""
        await self._redis.aclose(close_connection_pool=True)
        await self._redis.connection_pool.disconnect()
