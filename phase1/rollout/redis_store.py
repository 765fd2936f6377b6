"""How do the workers of several hosts agree through Redis? Leases by its clock, the record by a script of three lines.

Waits are short and nothing is tried again: the next round comes in half a second anyway.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from phase1.rollout.store import AUDITED, StoreUnavailable
from phase1.validation import public_url

__all__ = ["RedisStore"]

_PATIENCE: Final = 0.5
"""Seconds for a connection, and for an answer."""

_SWAP: Final = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[4]), -1)
return 1
"""
_LEASE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class RedisStore:
    """See `rollout.store.Store`. `namespace` keeps the states of several apps apart."""

    shared = True

    def __init__(self, url: str, namespace: str) -> None:
        self.name = public_url(url)
        self._prefix = f"phase1:{{{namespace}}}:"
        self._redis = Redis.from_url(
            url,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            encoding_errors="replace",
        )

    def read(self) -> str | None:
        """See `Store`."""
        return self._text("state")

    def swap(self, before: str | None, after: str, audit: str) -> bool:
        """See `Store`."""
        return bool(self._script(_SWAP, ["state", "audit"], [before or "", after, audit, AUDITED]))

    def audit(self, limit: int) -> list[str]:
        """See `Store`."""
        with self._problems():
            found: Any = self._redis.lrange(self._key("audit"), -limit, -1)
            return [str(line) for line in found]

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """See `Store`."""
        return bool(self._script(_LEASE, [f"lease:{name}"], [owner, round(seconds * 1000)]))

    def release(self, name: str, owner: str) -> None:
        """See `Store`."""
        self._script(_RELEASE, [f"lease:{name}"], [owner])

    def get(self, name: str) -> str | None:
        """See `Store`."""
        return self._text(name)

    def put(self, name: str, text: str) -> None:
        """See `Store`."""
        with self._problems():
            self._redis.set(self._key(name), text)

    def report(self, worker: str, text: str) -> None:
        """See `Store`."""
        with self._problems():
            self._redis.hset(self._key("workers"), worker, text)

    def reports(self) -> dict[str, str]:
        """See `Store`."""
        with self._problems():
            found: Any = self._redis.hgetall(self._key("workers"))
            return dict(found)

    def forget(self, worker: str) -> None:
        """See `Store`."""
        with self._problems():
            self._redis.hdel(self._key("workers"), worker)

    def close(self) -> None:
        """See `Store`."""
        self._redis.close()

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _text(self, name: str) -> str | None:
        with self._problems():
            found: Any = self._redis.get(self._key(name))
            return None if found is None else str(found)

    def _script(self, script: str, keys: list[str], arguments: list[str | int]) -> object:
        with self._problems():
            named = [self._key(key) for key in keys]
            return self._redis.eval(script, len(named), *named, *map(str, arguments))

    @contextlib.contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as exc:
            raise StoreUnavailable(f"{self.name} does not answer ({type(exc).__name__})") from exc
