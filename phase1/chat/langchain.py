"""How do LangChain and LangGraph use the pool, and its limit of requests per second?

    llm = on_pool(ChatOpenAI, model="gpt-4o-mini", rate_limiter=PoolRateLimiter())

Needs LangChain: pip install "phase1[langchain]".
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

import phase1
from phase1.doors.portal import await_, has_portal
from phase1.exceptions import ConfigurationError, MissingExtraError
from phase1.policy.bucket import TokenBucket
from phase1.settings import Settings

try:
    from langchain_core.rate_limiters import BaseRateLimiter
except ModuleNotFoundError as missing:
    raise MissingExtraError("phase1.chat.langchain", "langchain") from missing

__all__ = ["PoolRateLimiter", "on_pool"]

P = ParamSpec("P")
M = TypeVar("M")


def on_pool(model: Callable[P, M], /, *args: P.args, **kwargs: P.kwargs) -> M:
    """`model(*args, **kwargs)` with HTTP clients whose API calls go through the pool.

    For classes that take `http_client` and `http_async_client`, as `ChatOpenAI` and `OpenAIEmbeddings` do. With the
    pool off the clients are ordinary ones. They are the model's: build it once (`cached_agent`) and close them with it.
    """
    pooled = {"http_client": phase1.http_client(), "http_async_client": phase1.async_http_client(), **kwargs}
    return cast("Callable[..., M]", model)(*args, **pooled)


class PoolRateLimiter(BaseRateLimiter):
    """The requests per second of `OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND`, for models that LangChain calls.

    The pool's own kind of token bucket, in the place of LangChain's `InMemoryRateLimiter`: whoever waits is woken once,
    when it is its turn, in the order of asking, instead of looking ten times a second; and where a portal is (an app's
    request with the pool on) `acquire` suspends its task instead of blocking the event loop.

    `requests_per_second`: default = the setting; without one nobody waits. `max_bucket_size`: requests at once after a
    pause; default = one second's, at least 1. `check_every_n_seconds` is taken for `InMemoryRateLimiter`'s sake, and
    does nothing. Per process, safe for threads and tasks. Raises `ConfigurationError` for senseless numbers.
    """

    def __init__(
        self,
        requests_per_second: float | None = None,
        *,
        check_every_n_seconds: float | None = None,  # noqa: ARG002 - nobody checks: who waits is woken
        max_bucket_size: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if requests_per_second is None:
            requests_per_second = Settings.load().openai_rate_limit_requests_per_second
        self.requests_per_second = requests_per_second
        self._bucket = _bucket(requests_per_second, max_bucket_size, clock)
        self._lock = threading.Lock()
        self._clock = clock
        self._sleep = sleep
        self._sleep_async = sleep_async

    def acquire(self, *, blocking: bool = True) -> bool:
        """Wait for this call's turn; with `blocking=False` say whether it is its turn now."""
        seconds = self._book(blocking=blocking)
        if not seconds:
            return seconds is not None
        if has_portal():
            await_(self._wait(seconds))
        else:
            self._sleep(seconds)
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """The same on the event loop. A caller that is cancelled gives its turn back."""
        seconds = self._book(blocking=blocking)
        if seconds:
            await self._wait(seconds)
        return seconds is not None

    def _book(self, *, blocking: bool) -> float | None:
        """Take a turn: the seconds until then. `None`: it is not now, and the caller does not wait."""
        if self._bucket is None:
            return 0.0
        with self._lock:
            now = self._clock()
            seconds = self._bucket.wait(1.0, now)
            if seconds and not blocking:
                return None
            self._bucket.take(1.0, now)
            return seconds

    async def _wait(self, seconds: float) -> None:
        try:
            await self._sleep_async(seconds)
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        if self._bucket is not None:
            with self._lock:
                self._bucket.give(1.0)

    def __repr__(self) -> str:
        return f"<PoolRateLimiter {self._bucket!r}>"


def _bucket(per_second: float | None, burst: float | None, clock: Callable[[], float]) -> TokenBucket | None:
    if per_second is None:
        return None
    if not per_second > 0:
        raise ConfigurationError(f"requests_per_second={per_second}: must be more than 0")
    if burst is not None and not burst >= 1:
        raise ConfigurationError(f"max_bucket_size={burst}: must be 1 or more")
    capacity = max(1.0, per_second) if burst is None else burst
    return TokenBucket(capacity=capacity, per_second=per_second, now=clock())
