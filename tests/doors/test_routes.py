"""Which way does a request go, and does it stay on it?"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import openai
import pytest

from phase1.events import Routed
from phase1.policy.canary import Arm, Canary
from phase1.policy.selection import Selection, select
from tests.doors.bench import HELLO, POOL_KEY, AsyncLegacy, Bench, SyncLegacy, failure

KEYS = [f"user-{number}" for number in range(10_000)]
KILLS = ["force_legacy_llm", "disable_pool", "emergency_mode"]


def routes(bench: Bench) -> list[str]:
    """Where the ten thousand keys go."""
    manager = bench.manager
    return [
        select(switches=manager.switches, canary=manager.canary, breaker=manager.breaker, key=key).route for key in KEYS
    ]


# --- canary -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "share"), [(0, 0), (10, 0.10), (50, 0.50), (100, 1)])
def test_canary_sends_the_expected_share_of_ten_thousand_keys(percent: float, share: float) -> None:
    """Within three standard deviations; and each key the same way each time, in another process too."""
    found = routes(Bench(llm_canary_percent=percent))
    spread = 3 * (share * (1 - share) / len(KEYS)) ** 0.5
    assert found.count("pool") / len(KEYS) == pytest.approx(share, abs=spread)
    assert routes(Bench(llm_canary_percent=percent)) == found


def test_higher_percent_takes_nobody_out() -> None:
    """Who is in at 10 % is in at 50 %."""
    few, many = routes(Bench(llm_canary_percent=10)), routes(Bench(llm_canary_percent=50))
    assert all(late == "pool" for early, late in zip(few, many, strict=True) if early == "pool")


async def test_canary_decides_who_answers() -> None:
    """A covered key is answered by the pool, another one by legacy, each time it asks."""
    canary = Canary(10)
    covered = next(key for key in KEYS if canary.covers(canary.bucket(key)))
    other = next(key for key in KEYS if not canary.covers(canary.bucket(key)))
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=10)
    async with bench.manager:
        assert await bench.ask_in_turn(3, covered) == ["from the pool"] * 3
        assert await bench.ask_in_turn(3, other) == ["from legacy"] * 3
    assert {(event.route, event.reason) for event in bench.ear.of(Routed)} == {("pool", "split"), ("legacy", "split")}


@pytest.mark.parametrize(("percent", "answer"), [(99.99, "from legacy"), (100, "from the pool")])
async def test_no_key_means_legacy_below_hundred(percent: float, answer: str) -> None:
    """There is nothing to be sticky by."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=percent)
    async with bench.manager:
        assert await bench.ask(None) == answer
        assert await bench.ask("") == answer


async def test_without_legacy_everybody_is_on_the_pool() -> None:
    """There is nobody else who could answer, whatever the canary says."""
    bench = Bench(llm_canary_percent=0)
    async with bench.manager:
        assert await bench.ask() == "from the pool"


# --- kill switches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("switch", KILLS)
async def test_kill_switch_sends_everybody_to_legacy(switch: str) -> None:
    """Off the loop, in our threads; the reason is told."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy, **{switch: True})
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        assert await llm.generate_response_async(HELLO) == "from legacy"
        assert (llm.route, llm.reason) == ("legacy", "kill_switch")
    assert bench.upstream.requests == []
    assert [thread.name for thread in legacy.threads] == ["phase1-legacy"]


@pytest.mark.parametrize(("switch", "clients"), [("force_legacy_llm", 5), ("disable_pool", 0), ("emergency_mode", 0)])
async def test_only_force_legacy_keeps_the_pool_warm(switch: str, clients: int) -> None:
    """The other two have no connections at all."""
    bench = Bench(legacy=SyncLegacy(), **{switch: True})
    async with bench.manager:
        await bench.ask()
        assert bench.manager.status()["pool"]["clients"] == clients
    assert len(bench.upstream.transports) == clients


@pytest.mark.parametrize("switch", KILLS)
async def test_kill_switch_without_legacy_is_a_503(switch: str) -> None:
    """The SDK's own exception: nothing is sent although there is nobody else."""
    bench = Bench(**{switch: True})
    async with bench.manager:
        with pytest.raises(openai.InternalServerError) as caught:
            await bench.ask()
    assert caught.value.code == "phase1_pool_closed"
    assert bench.upstream.requests == []


@pytest.mark.parametrize("switch", KILLS)
async def test_kill_switch_beats_the_canary_and_loses_to_off(switch: str) -> None:
    """Off is off: inline, reason `disabled`."""
    bench = Bench(legacy=AsyncLegacy(), enable_llm_pool=False, llm_canary_percent=100, **{switch: True})
    async with bench.manager:
        assert bench.manager.llm("user-1").reason == "disabled"
        assert await bench.ask() == "from async legacy"


# --- once per request -------------------------------------------------------------------------------------------------


async def test_route_is_chosen_once_per_request() -> None:
    """However often it is asked for or used: one choice, one event, and none before somebody asks."""
    bench = Bench(legacy=SyncLegacy())
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        assert bench.ear.heard == []
        assert repr(llm) == "<LLMClient <Unit not routed yet>>"
        for _ in range(3):
            await llm.generate_response_async(HELLO)
            assert llm.route == "pool"
    assert len(bench.ear.of(Routed)) == 1
    assert repr(llm) == "<LLMClient <Unit pool (split)>>"


async def test_route_stays_when_the_canary_changes_in_between() -> None:
    """A conversation of two calls is not torn apart; the next request has the new route."""
    bench = Bench(legacy=SyncLegacy())
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        assert await llm.generate_response_async(HELLO) == "from the pool"
        bench.manager.canary = Canary(0)
        assert await llm.generate_response_async(HELLO) == "from the pool"
        assert await bench.ask("user-1") == "from legacy"


async def test_legacy_route_stays_when_the_breaker_closes_in_between() -> None:
    """The other way round."""
    bench = Bench(legacy=SyncLegacy())
    async with bench.manager:
        for _ in range(3):
            bench.upstream.script = [lambda: failure(500)]
            await bench.ask()
        llm = bench.manager.llm("user-1")
        assert await llm.generate_response_async(HELLO) == "from legacy"
        bench.manager.breaker.reset()
        assert await llm.generate_response_async(HELLO) == "from legacy"
    assert len(bench.upstream.requests) == 3


async def test_kill_switch_acts_at_once_all_the_same() -> None:
    """The route says pool, but nothing more is sent: the refusal is free, and legacy answers."""
    bench = Bench(legacy=SyncLegacy())
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        assert await llm.generate_response_async(HELLO) == "from the pool"
        bench.manager.switches = replace(bench.manager.switches, force_legacy=True)
        assert await llm.generate_response_async(HELLO) == "from legacy"
        assert llm.route == "pool"
    assert len(bench.upstream.requests) == 1


async def test_selection_tells_bucket_and_share() -> None:
    """What the breaker's ramp goes by."""
    bench = Bench()
    async with bench.manager:
        selection = bench.manager.llm("user-1").selection
    bucket = Canary(100).bucket("user-1")
    assert selection == Selection(selection.route, selection.reason, bucket, bucket / 10_000, Arm.CANARY)


# --- the SDK's resources ----------------------------------------------------------------------------------------------


async def test_chat_of_the_facade_takes_the_same_route() -> None:
    """`llm.chat.completions.create(...)`: the SDK's own type, from the pool, with the node's key."""
    bench = Bench()
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        completion = await llm.chat.completions.create(model="m", messages=HELLO)
        assert type(completion).__name__ == "ChatCompletion"
        assert completion.choices[0].message.content == "from the pool"
        await llm.generate_response_async(HELLO)
    assert len(bench.ear.of(Routed)) == 1
    assert {dict(request.headers)["authorization"] for request in bench.upstream.requests} == {f"Bearer {POOL_KEY}"}


@pytest.mark.parametrize(
    "name", ["chat", "responses", "embeddings", "images", "audio", "files", "models", "moderations"]
)
async def test_every_resource_is_the_sdks_own(name: str) -> None:
    """Of one client per request."""
    async with Bench().manager as manager:
        llm = manager.llm()
        assert isinstance(getattr(llm, name), type(getattr(openai.AsyncOpenAI(api_key="x"), name)))
        assert llm.client is llm.client
        assert manager.llm().client is not llm.client


async def test_chat_on_the_legacy_route_without_an_sdk_client_asks_nobody() -> None:
    """The seeds' object has no `chat`: the call is refused as the SDK would, unless the canary just has no key."""
    bench = Bench(legacy=SyncLegacy(), force_legacy_llm=True)
    async with bench.manager:
        with pytest.raises(openai.InternalServerError) as caught:
            await bench.manager.llm().chat.completions.create(model="m", messages=HELLO)
    assert caught.value.code == "phase1_pool_closed"


async def test_hundred_first_calls_build_one_set_of_clients() -> None:
    """Without a start: the first ones all arrive together."""
    bench = Bench()
    answers = await asyncio.gather(*(bench.ask(f"user-{n}") for n in range(100)))
    assert answers == ["from the pool"] * 100
    assert len(bench.upstream.transports) == bench.manager.settings.llm_pool_size
    await bench.manager.aclose()


async def test_parameters_go_to_the_completion() -> None:
    """`generate_response_async(messages, temperature=0)`."""
    bench = Bench()
    async with bench.manager:
        await bench.ask(temperature=0, model="another")
    assert bench.upstream.bodies == [{"model": "another", "messages": HELLO, "temperature": 0}]


async def test_two_requests_of_a_process_share_connections_not_routes() -> None:
    """The pool is the manager's, the route the request's."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=10)
    async with bench.manager:
        found = {bench.manager.llm(key).route for key in KEYS[:200]}
    assert found == {"pool", "legacy"}
    assert len(bench.upstream.transports) == bench.manager.settings.llm_pool_size
