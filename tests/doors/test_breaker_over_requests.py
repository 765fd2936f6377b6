"""Three failed requests in a row: pool off, half-open, ramp. Does every request get an answer all the way?"""

from __future__ import annotations

import asyncio

import openai
import pytest

from phase1.events import BreakerChanged, FellBack
from phase1.policy.breaker import BreakerState
from phase1.policy.canary import Canary
from tests.doors.bench import Bench, SyncLegacy, completion, failure, until

OPEN_TIME = 3.75
"""Equal jitter with luck 0.5: 5 s · (0.5 + 0.25)."""


def broken(legacy: object | None = None, **overrides: object) -> Bench:
    """A pool whose upstream answers 500 to everything."""
    return Bench(lambda: failure(500), legacy=legacy or SyncLegacy(), **overrides)


def heal(bench: Bench) -> None:
    """From now on the upstream is well."""
    bench.upstream.script = [completion]


def keys_by_share(low: float, high: float, count: int) -> list[str]:
    """Keys whose place in the ramp lies between `low` and `high`."""
    canary = Canary(100)
    names = (f"user-{number}" for number in range(100_000))
    found = (name for name in names if low <= canary.share(canary.bucket(name)) < high)
    return [next(found) for _ in range(count)]


async def test_three_failures_in_a_row_switch_the_pool_off() -> None:
    """The fourth request goes to legacy without asking the pool; every one of them was answered."""
    bench = broken()
    async with bench.manager:
        assert await bench.ask_in_turn(3) == ["from legacy"] * 3
        assert bench.manager.breaker.state is BreakerState.DISABLED
        llm = bench.manager.llm("user-1")
        assert await llm.generate_response_async([]) == "from legacy"
        assert (llm.route, llm.reason) == ("legacy", "circuit_open")
    assert len(bench.upstream.requests) == 3
    assert len(bench.ear.of(FellBack)) == 3


async def test_two_failures_and_a_success_leave_it_on() -> None:
    """In a row means in a row."""
    bench = Bench(*[lambda: failure(500), lambda: failure(500), completion] * 3, legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask_in_turn(9)
        assert bench.manager.breaker.state is BreakerState.ACTIVE
    assert len(bench.upstream.requests) == 9


async def test_threshold_is_the_setting() -> None:
    """`LLM_FAILURE_THRESHOLD`."""
    bench = broken(llm_failure_threshold=5)
    async with bench.manager:
        await bench.ask_in_turn(4)
        assert bench.manager.breaker.state is BreakerState.ACTIVE
        await bench.ask_in_turn(1)
        assert bench.manager.breaker.state is BreakerState.DISABLED


async def test_open_pool_is_left_alone_until_its_time() -> None:
    """Not one request reaches the upstream before the open time is over."""
    bench = broken()
    async with bench.manager:
        await bench.ask_in_turn(3)
        bench.clock.now += OPEN_TIME - 0.001
        await bench.ask_in_turn(20)
        assert len(bench.upstream.requests) == 3
        bench.clock.now += 0.001
        await bench.ask_in_turn(1)
    assert len(bench.upstream.requests) == 4


async def test_one_probe_at_a_time() -> None:
    """Twenty requests at half-open: one probes, the others have their answer from legacy at once."""
    bench = broken()
    async with bench.manager:
        await bench.ask_in_turn(3)
        bench.clock.now += OPEN_TIME
        heal(bench)
        bench.upstream.gate.clear()
        probe = asyncio.ensure_future(bench.ask())
        await bench.upstream.seen(4)
        assert await asyncio.gather(*(bench.ask() for _ in range(19))) == ["from legacy"] * 19
        assert len(bench.upstream.requests) == 4
        bench.upstream.gate.set()
        assert await probe == "from the pool"


async def test_failed_probe_costs_its_caller_nothing() -> None:
    """A probe is a real request with legacy behind it; the pool stays off, for longer."""
    bench = broken()
    async with bench.manager:
        await bench.ask_in_turn(3)
        bench.clock.now += OPEN_TIME
        assert await bench.ask() == "from legacy"
        snapshot = bench.manager.breaker.snapshot()
        assert snapshot.state is BreakerState.DISABLED
        assert snapshot.until_in == pytest.approx(2 * OPEN_TIME)
        bench.clock.now += OPEN_TIME
        await bench.ask_in_turn(5)
    assert len(bench.upstream.requests) == 4


async def test_probe_whose_caller_goes_away_lets_the_next_one_probe() -> None:
    """It has said nothing about the pool."""
    bench = broken()
    async with bench.manager:
        await bench.ask_in_turn(3)
        bench.clock.now += OPEN_TIME
        heal(bench)
        bench.upstream.gate.clear()
        probe = asyncio.ensure_future(bench.ask())
        await bench.upstream.seen(4)
        probe.cancel()
        await asyncio.wait([probe])
        await until(bench.manager.breaker.admits)
        bench.upstream.gate.set()
        assert await bench.ask() == "from the pool"


async def test_two_probes_and_a_ramp_bring_it_back() -> None:
    """Half-open → two successes → 10 % of the keys, the low ones first → everybody, over a minute."""
    bench = broken()
    first, middle, last = keys_by_share(0.0, 0.1, 5), keys_by_share(0.45, 0.5, 5), keys_by_share(0.95, 1.0, 5)

    async def routes() -> list[int]:
        """How many of the five low, middle and high keys go to the pool now."""
        answers = [[await bench.ask(key) for key in keys] for keys in (first, middle, last)]
        return [group.count("from the pool") for group in answers]

    async with bench.manager:
        await bench.ask_in_turn(3)
        heal(bench)
        bench.clock.now += OPEN_TIME
        assert await bench.ask_in_turn(2) == ["from the pool"] * 2
        assert bench.manager.breaker.state is BreakerState.RAMPING
        assert await routes() == [5, 0, 0]
        llm = bench.manager.llm(last[0])
        assert (llm.route, llm.reason) == ("legacy", "ramping")
        bench.clock.now += 30
        assert await routes() == [5, 5, 0]
        bench.clock.now += 30
        assert await routes() == [5, 5, 5]
        assert bench.manager.breaker.state is BreakerState.ACTIVE
    states = [event.after for event in bench.ear.of(BreakerChanged)]
    assert states == ["disabled", "half_open", "ramping", "active"]


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_requests_that_are_wrong_themselves_never_switch_it_off(status: int) -> None:
    """A hundred of them say nothing about the pool."""
    bench = Bench(lambda: failure(status), legacy=SyncLegacy())
    async with bench.manager:
        for _ in range(100):
            with pytest.raises(openai.APIStatusError):
                await bench.ask()
        assert bench.manager.breaker.state is BreakerState.ACTIVE
        assert bench.manager.breaker.snapshot().window_requests == 0


async def test_wrong_requests_between_failures_do_not_hide_them() -> None:
    """Fail, fail, 400, fail: that is three in a row."""
    bench = Bench(*[lambda: failure(500)] * 2, lambda: failure(400), lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask_in_turn(2)
        with pytest.raises(openai.BadRequestError):
            await bench.ask()
        await bench.ask_in_turn(1)
        assert bench.manager.breaker.state is BreakerState.DISABLED


async def test_legacys_own_failures_say_nothing_about_the_pool() -> None:
    """On the legacy route the breaker hears nothing."""
    bench = Bench(legacy=SyncLegacy(ValueError("x")), llm_canary_percent=0)
    async with bench.manager:
        for _ in range(10):
            with pytest.raises(ValueError, match="x"):
                await bench.ask()
        assert bench.manager.breaker.state is BreakerState.ACTIVE
    assert bench.upstream.requests == []


async def test_open_pool_without_legacy_is_a_503_that_says_when() -> None:
    """The SDK's own exception, with our code and the time to come back."""
    bench = Bench(lambda: failure(500))
    async with bench.manager:
        for _ in range(3):
            with pytest.raises(openai.InternalServerError, match="scripted"):
                await bench.ask()
        with pytest.raises(openai.InternalServerError) as caught:
            await bench.ask()
    assert caught.value.code == "phase1_circuit_open"
    assert caught.value.response.headers["retry-after"] == "4"
    assert len(bench.upstream.requests) == 3


async def test_success_that_began_before_the_opening_changes_nothing_after_it() -> None:
    """Four requests at once: three failures come back first, then the success, too late to count."""
    bench = Bench(*[lambda: failure(500)] * 3, completion, legacy=SyncLegacy())
    bench.upstream.gate.clear()
    async with bench.manager:
        calls = [asyncio.ensure_future(bench.ask()) for _ in range(4)]
        await bench.upstream.seen(4)
        bench.upstream.gate.set()
        assert await asyncio.gather(*calls) == ["from legacy"] * 3 + ["from the pool"]
        assert bench.manager.breaker.state is BreakerState.DISABLED
