"""Does the rate limiter keep the pace, in order, for threads and tasks? Models on the pool: `tests/integrations`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from phase1.chat.langchain import PoolRateLimiter
from phase1.doors.portal import in_portal
from phase1.exceptions import ConfigurationError
from tests.doors.world import APP_KEY


class Time:
    """Moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


def limiter_of(per_second: float | None, **more: Any) -> tuple[PoolRateLimiter, Time]:  # noqa: ANN401 - its options
    """A limiter in a time of its own."""
    time = Time()
    clocks: dict[str, Any] = {"clock": time, "sleep": time.sleep, "sleep_async": time.sleep_async}
    return PoolRateLimiter(per_second, **(clocks | more)), time


# --- the pace ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_second", "burst"), [(10, 10), (3 / 60, 1), (50, 50), (0.5, 1)])
async def test_burst_then_pace(per_second: float, burst: int) -> None:
    """The rates of seed 001: one second's requests at once, at least one, and then one after the other."""
    limiter, time = limiter_of(per_second)
    for _ in range(burst):
        assert await limiter.aacquire()
    assert time.slept == []
    for _ in range(3):
        assert await limiter.aacquire()
    assert time.now == pytest.approx(3 / per_second)
    assert limiter.acquire()
    assert time.now == pytest.approx(4 / per_second)


async def test_not_blocking_says_whether_it_is_the_turn() -> None:
    """And takes no turn when it is not."""
    limiter, time = limiter_of(1)
    assert limiter.acquire(blocking=False)
    assert not limiter.acquire(blocking=False)
    assert not await limiter.aacquire(blocking=False)
    time.now = 1.0
    assert await limiter.aacquire(blocking=False)
    assert time.slept == []


async def test_without_a_rate_nobody_waits() -> None:
    """The setting is not set by default."""
    limiter, time = limiter_of(None)
    for _ in range(1000):
        assert limiter.acquire(blocking=False)
        assert await limiter.aacquire()
    assert (time.slept, limiter.requests_per_second) == ([], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requests_per_second": 0}, "requests_per_second=0: must be more than 0"),
        ({"requests_per_second": -1}, "requests_per_second=-1"),
        ({"requests_per_second": 1, "max_bucket_size": 0.5}, "max_bucket_size=0.5: must be 1 or more"),
    ],
)
def test_senseless_numbers_are_refused(options: dict[str, float], message: str) -> None:
    """With the number and what is allowed."""
    with pytest.raises(ConfigurationError, match=message):
        PoolRateLimiter(**options)  # type: ignore[arg-type]


async def test_cancelled_waiter_gives_its_turn_back() -> None:
    """The next one does not wait for somebody who has gone."""
    waiting = asyncio.Event()

    async def never(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    limiter, time = limiter_of(1, sleep_async=never)
    assert limiter.acquire()
    waiter = asyncio.create_task(limiter.aacquire())
    await waiting.wait()
    waiter.cancel()
    await asyncio.wait({waiter})
    time.now = 1.0
    assert limiter.acquire(blocking=False)


async def test_blocking_call_suspends_its_task_where_a_portal_is() -> None:
    """The event loop goes on: the task that ends the wait gets its turn."""
    go = asyncio.Event()

    async def until_go(seconds: float) -> None:
        await go.wait()

    def forbidden(seconds: float) -> None:
        raise AssertionError("the loop is blocked")

    limiter, _ = limiter_of(1, sleep_async=until_go, sleep=forbidden)
    assert limiter.acquire()

    async def blocking() -> bool:
        return limiter.acquire()

    call = asyncio.create_task(in_portal(blocking()))
    await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(10):
        assert await call


def test_threads_share_the_pace() -> None:
    """Twenty threads take twenty turns, each its own."""
    waits: list[float] = []
    limiter, _ = limiter_of(10, sleep=waits.append)
    threads = [threading.Thread(target=limiter.acquire) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(waits) == pytest.approx([n / 10 for n in range(1, 11)])
    assert repr(limiter) == "<PoolRateLimiter <TokenBucket -10/10 +10/s>>"


def test_settings_set_the_rate(env: Callable[..., None]) -> None:
    """The variable that the pool reads."""
    env(OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND="7")
    assert PoolRateLimiter().requests_per_second == 7


def test_key_of_the_app_is_no_part_of_it() -> None:
    """The repr shows numbers only."""
    assert APP_KEY not in repr(PoolRateLimiter(1))
