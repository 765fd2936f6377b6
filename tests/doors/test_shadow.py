"""Does the pool answer copies beside legacy, and does nobody else notice? Over every door, on real sockets.

The pool's node says "pool", the client's own address says "own"; each can count who was asked.
"""

# ruff: noqa: ANN401 - fixtures and the SDK's objects

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

import phase1
from phase1.doors.background import default_manager
from phase1.doors.shadow.answers import of_json, of_object
from phase1.doors.shadow.copies import LARGEST
from phase1.doors.shadow.report import DROPS
from phase1.doors.shadow.shadow import Shadow
from phase1.doors.shadow.watch import Watch
from phase1.doors.unit import Unit
from phase1.policy.breaker import BreakerMode

from .answers import Reply, chat, error, json_reply
from .bench import BOUND, HELLO, SHADOW, Bench, SyncLegacy, until
from .provider import Fault, Gate, Provider, Providers
from .ways import WAYS, Way
from .world import app_request, heard_by, manager_of

pytest_plugins = ["tests.doors.providing"]

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def said(text: str, *, finish: str = "stop", tokens: tuple[int, int] | None = (3, 4)) -> Reply:
    """A chat completion."""
    document = chat(text)
    document["choices"][0]["finish_reason"] = finish
    usage = tokens and {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return json_reply({**document, "usage": usage})


class World:
    """A manager whose copies can be waited for."""

    def __init__(self, manager: Any, pool: Provider, own: Provider) -> None:
        self.manager = manager
        self.pool = pool
        self.own = own

    @property
    def shadow(self) -> Shadow:
        shadow = self.manager.shadow
        assert shadow is not None
        return shadow

    @property
    def report(self) -> dict[str, Any]:
        """What the page shows."""
        return json.loads(json.dumps(self.manager.status()["shadow"]))

    async def counted(self, number: int = 1) -> dict[str, Any]:
        """Wait until so many calls were compared or dropped."""
        report = self.shadow.report
        async with asyncio.timeout(BOUND):
            while report.compared + sum(report.dropped.values()) < number or self.shadow.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return self.report


@pytest.fixture
def new_world(providers: Providers, provider: Provider, env: Callable[..., None]) -> Callable[..., Any]:
    """Legacy below 100 %, and every call copied; its arguments are settings."""
    env(ENABLE_LLM_POOL="true")  # what `adopt` looks at

    @asynccontextmanager
    async def make(**overrides: object) -> AsyncIterator[World]:
        own = providers.new()
        provider.answers(said("from the pool"))
        own.answers(said("from legacy"))
        nodes = json.dumps([{"name": "node", "base_url": provider.url, "api_key": "sk-of-the-node"}])
        async with manager_of(own, llm_nodes=nodes, **(SHADOW | overrides)) as manager:
            yield World(manager, provider, own)

    return make


@every_way
async def test_legacy_answers_and_the_pool_gets_a_copy(way: Way, new_world: Any) -> None:
    """The same question, with the node's key; the differences are counted."""
    async with new_world() as world, way(world.own.url) as ask:
        async with app_request(world.manager, key="user"):
            assert await ask() == "from legacy"
        report = await world.counted()
        assert world.pool.requests[0].header("authorization") == "Bearer sk-of-the-node"
        assert world.pool.requests[0].json == world.own.requests[0].json
    assert (report["sampled"], report["compared"], report["dropped"]) == (1, 1, {})
    assert report["statuses"] == [{"legacy": "200", "pool": "200", "count": 1}]
    assert report["finish_reasons"] == [{"legacy": "stop", "pool": "stop", "count": 1}]
    assert report["tokens"] == {"legacy": {"input": 3, "output": 4}, "pool": {"input": 3, "output": 4}}
    assert report["similarity"]["sum"] == pytest.approx(0.4)
    assert [report["seconds"][route]["count"] for route in ("legacy", "pool")] == [1, 1]
    assert report["money"]["spent"] == pytest.approx((3 * 1 + 4 * 2) / 1e6)


@every_way
async def test_stream_is_not_copied(way: Way, new_world: Any) -> None:
    """Nor any other call than a chat completion."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager, key="user"):
        world.own.answers()
        await ask(stream=True)
    assert world.pool.requests == []
    assert world.shadow.report.sampled == 0


@every_way
async def test_legacys_error_is_raised_and_compared(way: Way, new_world: Any) -> None:
    """As if there were no shadow."""
    async with new_world() as world, way(world.own.url) as ask:
        world.own.answers(error(429))
        async with app_request(world.manager, key="user"):
            with pytest.raises(openai.RateLimitError):
                await ask()
        report = await world.counted()
    assert report["statuses"] == [{"legacy": "429", "pool": "200", "count": 1}]
    assert report["similarity"]["count"] == 0


@every_way
async def test_failing_copies_are_counted_and_nothing_else(way: Way, new_world: Any) -> None:
    """No breaker opens, no metric of the pool moves, nobody hears of a call, users have their answers."""
    async with new_world() as world, way(world.own.url) as ask:
        ear, world.pool._script = heard_by(world.manager), [error(500)]
        for number in range(4):
            async with app_request(world.manager, key="user"):
                assert await ask() == "from legacy"
            await world.counted(number + 1)
        metrics, kinds = world.manager.get_metrics(), {type(event).__name__ for event in ear.heard}
        assert world.manager.breaker.snapshot().consecutive_failures == 0
        assert str(world.manager.breaker.state) == "active"
        report = world.report
    assert (metrics["calls"], metrics["attempts"], metrics["legacy_calls"]) == ({}, [], {"ok": 4})
    assert kinds == {"Routed", "LegacyFinished"}
    assert report["dropped"].get("refused", 0) + report["compared"] == 4
    assert report["statuses"][0] == {"legacy": "200", "pool": "500", "count": 3}
    assert report["dropped"] == {"refused": 1}  # its own breaker has seen enough
    assert report["money"]["spent"] == 0.0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"force_legacy_llm": True}, "user"),
        ({"disable_pool": True}, "user"),
        ({"emergency_mode": True}, "user"),
        ({"llm_canary_deny": "user"}, "user"),
        ({"llm_canary_percent": 100}, "user"),
        ({"llm_shadow_percent": 0}, "user"),
    ],
    ids=["forced", "disabled", "emergency", "denied", "pool", "off"],
)
async def test_who_is_not_outside_by_the_percent_is_not_copied(
    settings: dict[str, Any], key: str, new_world: Any
) -> None:
    """A kill switch, a deny list: nothing of theirs goes to the pool, no copy either."""
    async with new_world(**settings) as world, WAYS["sdk_async"](world.own.url) as ask:
        async with app_request(world.manager, key=key):
            await ask()
        await asyncio.sleep(0)
        assert world.manager.shadow is None or world.shadow.report.sampled == 0
        assert len(world.pool.requests) == (1 if settings.get("llm_canary_percent") == 100 else 0)


async def test_fallback_is_not_copied(new_world: Any) -> None:
    """The pool was asked already."""
    async with new_world(llm_canary_percent=100) as world, WAYS["sdk_async"](world.own.url) as ask:
        world.pool.answers(error(500))
        async with app_request(world.manager, key="user"):
            assert await ask() == "from legacy"
        assert (len(world.pool.requests), world.shadow.report.sampled) == (1, 0)


async def test_without_a_key_calls_are_copied_too(new_world: Any) -> None:
    """At 0 % that is the way to see what a pool would do."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        async with app_request(world.manager):
            await ask()
        assert (await world.counted())["compared"] == 1


async def test_pool_in_trouble_has_no_copies(new_world: Any) -> None:
    """Also one that got into it after the route was chosen."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        async with app_request(world.manager, key="user") as unit:
            assert unit.selection.reason == "split"
            world.manager.breaker.force(BreakerMode.FORCED_OFF)
            assert await ask() == "from legacy"
        report = await world.counted()
    assert report["dropped"] == {"breaker": 1}
    assert world.pool.requests == []


async def test_kill_switch_stops_copies_at_once(new_world: Any) -> None:
    """Also of calls that were under way."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        async with app_request(world.manager, key="user") as unit:
            assert unit.selection.reason == "split"
            world.manager.switches = replace(world.manager.switches, force_legacy=True)
            assert await ask() == "from legacy"
        report = await world.counted()
    assert report["dropped"] == {"closed": 1}
    assert world.pool.requests == []


async def test_copies_are_dropped_rather_than_queued(new_world: Any) -> None:
    """Two under way, and no more; users are answered meanwhile."""
    gate = Gate()
    async with new_world(llm_shadow_concurrency=2) as world, WAYS["sdk_async"](world.own.url) as ask:
        held = said("late")
        world.pool.answers(Reply(held.status, held.headers, [gate, *held.parts]))
        for number in range(5):
            async with app_request(world.manager, key="user"):
                assert await ask() == "from legacy"
            if number < 2:
                await world.pool.arrived(number + 1)
        assert (world.shadow.in_flight, dict(world.shadow.report.dropped)) == (2, {"busy": 3})
        gate.open()
        report = await world.counted(5)
    assert (report["sampled"], report["compared"], report["dropped"]) == (5, 2, {"busy": 3})


async def test_shutdown_cancels_copies(new_world: Any) -> None:
    """It waits for none of them, and leaves no connection; afterwards there are none until the next start."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        held = said("never")
        world.pool.answers(Reply(held.status, held.headers, [Gate(), *held.parts]))
        async with app_request(world.manager, key="user"):
            await ask()
        request = await world.pool.arrived(1)
        await world.manager.aclose()
        assert await request.gone()
        report = world.report
        assert (report["in_flight"], report["compared"], report["dropped"]) == (0, 0, {"closed": 1})
        assert report["money"]["spent"] > 0  # nobody knows what the provider takes for it
        await world.manager.start()
        world.pool.answers(said("again"))
        async with app_request(world.manager, key="user"):
            await ask()
        assert (await world.counted(2))["compared"] == 1


async def test_copy_that_had_not_begun_is_counted_too(new_world: Any) -> None:
    """Sampled calls are compared or dropped: nothing is lost between."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        async with app_request(world.manager, key="user"):
            await ask()
        for _ in range(2):  # the callback that begins it, and no step of its task
            if not world.shadow.in_flight:
                await asyncio.sleep(0)
        await world.manager.aclose()
        report = world.report
    assert (report["sampled"], report["compared"], report["dropped"]) == (1, 0, {"closed": 1})
    assert world.pool.requests == []


async def test_switches_at_run_time_are_those_of_the_copies(new_world: Any) -> None:
    """Legacy was forced when the app started; an operator has taken that back."""
    async with new_world(force_legacy_llm=True) as world, WAYS["sdk_async"](world.own.url) as ask:
        world.manager.switches = replace(world.manager.switches, force_legacy=False)
        async with app_request(world.manager, key="user"):
            await ask()
        assert (await world.counted())["compared"] == 1


async def test_bug_in_a_copy_is_said_once(
    new_world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And its money is gone."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        monkeypatch.setattr("phase1.doors.shadow.shadow.of_json", lambda *args: 1 / 0)
        for number in range(2):
            async with app_request(world.manager, key="user"):
                assert await ask() == "from legacy"
            report = await world.counted(number + 1)
    assert report["dropped"] == {"unreadable": 2}
    assert caplog.text.count("a copy could not be made") == 1
    assert report["money"]["spent"] > 0


async def test_copies_answers_are_not_kept(new_world: Any) -> None:
    """Nor shared, nor asked for twice: each copy is one call."""
    extras = {"llm_cache_seconds": 60, "llm_cache_nondeterministic": True, "llm_single_flight": True, "llm_hedge": True}
    async with new_world(**extras) as world, WAYS["sdk_async"](world.own.url) as ask:
        for number in range(3):
            async with app_request(world.manager, key="user"):
                await ask()
            await world.counted(number + 1)
        assert len(world.pool.requests) == 3


async def test_money_is_never_overdrawn(new_world: Any) -> None:
    """1,024 tokens are foreseen where nobody knows better: a budget for two such calls sends two at once."""
    gate = Gate()
    cost = (3 * 1 + 1024 * 2) / 1e6
    async with new_world(llm_shadow_budget=2.5 * cost, llm_shadow_concurrency=10) as world:
        held = said("late")
        world.pool.answers(Reply(held.status, held.headers, [gate, *held.parts]))
        async with WAYS["sdk_async"](world.own.url) as ask:
            for _ in range(4):
                async with app_request(world.manager, key="user"):
                    await ask()
            await world.pool.arrived(2)
            assert world.report["money"]["spent"] == pytest.approx(2 * cost)
            gate.open()
            report = await world.counted(4)
    assert (report["compared"], report["dropped"]) == (2, {"budget": 2})
    assert report["money"]["spent"] == pytest.approx(2 * 11 / 1e6)


@pytest.mark.parametrize(
    ("arguments", "cost"),
    [
        ({"max_tokens": 10}, 3 + 2 * 10),
        ({"max_completion_tokens": 20, "max_tokens": 100}, 3 + 2 * 20),
        ({"max_tokens": 10, "n": 3}, 3 + 2 * 30),
        ({"n": 0}, 3 + 2 * 1024),
        ({}, 3 + 2 * 1024),
    ],
)
async def test_cost_is_foreseen_by_what_the_caller_allows(
    arguments: dict[str, Any], cost: float, new_world: Any
) -> None:
    """An answer without a count costs what was foreseen."""
    async with new_world() as world, phase1.AsyncOpenAI(base_url=world.own.url, api_key="sk-of-the-app") as client:
        world.pool.answers(said("hello", tokens=None))
        async with app_request(world.manager, key="user"):
            await client.chat.completions.create(model="m", messages=HELLO, **arguments)  # type: ignore[call-overload]
        report = await world.counted()
    assert report["money"]["spent"] == pytest.approx(cost / 1e6)


async def test_call_that_cannot_be_copied_is_counted_by_its_reason(new_world: Any) -> None:
    """A model without a price, a question that is too large, one that the provider would store, a raw answer."""
    async with new_world(llm_shadow_prices="m=1/2") as world:
        async with phase1.AsyncOpenAI(base_url=world.own.url, api_key="sk-of-the-app") as client:
            create = client.chat.completions.create
            long = [{"role": "user", "content": "x" * LARGEST}]
            async with app_request(world.manager, key="user"):
                await create(model="dear", messages=HELLO)  # type: ignore[call-overload]
                await create(model="m", messages=long)  # type: ignore[call-overload]
                await create(model="m", messages=HELLO, store=True)  # type: ignore[call-overload]
                raw = await client.chat.completions.with_raw_response.create(model="m", messages=HELLO)  # type: ignore[call-overload]
                await client.models.list()
        report = await world.counted(4)
    assert raw.parse().choices[0].message.content == "from legacy"
    assert report["dropped"] == {"no_price": 1, "too_large": 1, "unfit": 1, "unreadable": 1}
    assert report["dropped"].keys() <= set(DROPS)
    assert world.pool.requests == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(200, [("content-type", "application/json"), ("content-length", "3")], [b"[1]"]), None),
        (Reply(200, [("content-type", "text/event-stream")], [b"data: {}\n\n"]), None),
        (Reply(200, [("content-type", "application/json"), ("content-length", "99")], [b"{", Fault.CUT]), "connection"),
        (error(400), "400"),
    ],
    ids=["list", "stream", "cut", "400"],
)
async def test_whatever_the_pool_answers_is_counted(reply: Reply, status: str | None, new_world: Any) -> None:
    """Users never see it."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        world.pool.answers(reply)
        async with app_request(world.manager, key="user"):
            assert await ask() == "from legacy"
        report = await world.counted()
    if status is None:
        assert report["dropped"] == {"unreadable": 1}
    else:
        assert report["statuses"] == [{"legacy": "200", "pool": status, "count": 1}]


async def test_copy_that_takes_too_long_ends_at_the_deadline(new_world: Any) -> None:
    """And costs what was foreseen, for nobody knows."""
    async with new_world(llm_request_deadline=0.3, llm_connect_timeout=0.2) as world:
        world.pool.answers(Reply(200, [("content-type", "application/json")], [Gate()]))
        async with WAYS["sdk_async"](world.own.url) as ask, app_request(world.manager, key="user"):
            assert await ask() == "from legacy"
        report = await world.counted()
    assert report["statuses"] == [{"legacy": "200", "pool": "timeout", "count": 1}]
    assert report["money"]["spent"] > 0


async def test_cancelled_call_is_offered_to_nobody(new_world: Any) -> None:
    """The caller has gone."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        held = said("never")
        world.own.answers(Reply(held.status, held.headers, [Gate(), *held.parts]))
        async with app_request(world.manager, key="user"):
            asking = asyncio.create_task(ask())
            await world.own.arrived(1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert world.shadow.report.sampled == 0


async def test_sample_is_a_share_of_the_calls() -> None:
    """By the manager's own dice."""
    bench = Bench(legacy=SyncLegacy(), **(SHADOW | {"llm_shadow_percent": 50}))
    shadow = bench.manager.shadow
    assert shadow is not None
    async with bench.manager:
        for luck in (0.49, 0.51, 0.1, 0.9):  # half of them below
            bench.luck = luck
            await bench.ask()
            await until(lambda: not shadow.in_flight)
        await until(lambda: shadow.report.compared == 2)
    assert shadow.report.sampled == 2


async def test_own_wrapper_is_compared_by_its_text() -> None:
    """`generate_response` knows neither tokens nor a finish reason."""
    bench = Bench(legacy=SyncLegacy("From the pool!"), **SHADOW)
    shadow = bench.manager.shadow
    assert shadow is not None
    async with bench.manager:
        assert await bench.ask(temperature=0) == "From the pool!"
        await until(lambda: shadow.report.compared == 1)
    assert bench.upstream.bodies == [{"model": "m", "messages": HELLO, "temperature": 0}]
    assert (shadow.report.similarity.total, shadow.report.finish_reasons, shadow.report.tokens) == (1.0, {}, {})


@pytest.mark.parametrize(
    ("params", "reason"), [({"stop": object()}, "unfit"), ({"model": 7}, "no_model"), ({"stream": True}, "unfit")]
)
async def test_wrapper_with_arguments_of_its_own_is_left_alone(params: dict[str, Any], reason: str) -> None:
    """They may be anything."""
    bench = Bench(legacy=SyncLegacy(), **SHADOW)
    assert bench.manager.shadow is not None
    async with bench.manager:
        assert await bench.ask(**params) == "from legacy"
    assert bench.manager.shadow.report.dropped == {reason: 1}
    assert bench.upstream.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=7, tool_calls=[7]), finish_reason=0)]),
        SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="x"))]),
        b"bytes",
        None,
    ],
)
async def test_answer_that_only_looks_like_one_reaches_the_app(answer: object) -> None:
    """Whatever it is."""
    bench = Bench(**SHADOW)
    assert bench.manager.shadow is not None
    async with bench.manager:
        with Watch(bench.manager.shadow, Unit(bench.manager), {"model": "m", "messages": HELLO}) as watch:
            assert watch.heard(answer) is answer
    assert bench.manager.shadow.report.dropped == {"unreadable": 1}


def test_tool_calls_are_compared_as_words() -> None:
    """Of an object and of JSON alike: the function and its arguments."""
    document = chat("")
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    document["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
    read = of_json(200, json.dumps(document).encode(), 1.0)
    assert read is not None
    assert read.text == ' weather {"city": "Paris"}'
    assert of_object(ChatCompletion.model_validate(document), 1.0) == read


@pytest.mark.parametrize("failure", [TimeoutError(), RuntimeError("the app's own")])
async def test_error_of_an_own_wrapper_is_one_of_two_words(failure: Exception) -> None:
    """Never its text."""
    bench = Bench(legacy=SyncLegacy(failure), **SHADOW)
    shadow = bench.manager.shadow
    assert shadow is not None
    async with bench.manager:
        with pytest.raises(type(failure)):
            await bench.ask()
        await until(lambda: shadow.report.compared == 1)
    assert list(shadow.report.statuses) == [("timeout" if isinstance(failure, TimeoutError) else "error", "200")]


async def test_pool_with_people_waiting_has_no_copies() -> None:
    """They come first."""
    bench = Bench(legacy=SyncLegacy(), llm_pool_size=1, llm_client_concurrency=1, **SHADOW)
    shadow = bench.manager.shadow
    assert shadow is not None
    async with bench.manager:
        binding = bench.manager.bindings.current()
        await binding.admission.enter("a", timeout=BOUND)
        waiting = asyncio.create_task(binding.admission.enter("b", timeout=BOUND))
        await until(lambda: binding.admission.waiting == 1)
        await bench.ask()
        await until(lambda: bool(shadow.report.dropped))
        binding.admission.leave()
        await waiting
        binding.admission.leave()
    assert shadow.report.dropped == {"busy": 1}


async def test_copies_follow_the_nodes(new_world: Any, providers: Providers) -> None:
    """Other nodes while the app runs are other nodes for copies; a drained one gets none."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        async with app_request(world.manager, key="user"):
            await ask()
        await world.counted()
        other = providers.new()
        other.answers(said("other"))
        (spec,) = world.manager.nodes
        world.manager.renew((type(spec)(name="other", base_url=other.url, api_key="sk-other"),))
        async with app_request(world.manager, key="user"):
            await ask()
        await world.counted(2)
        assert (len(world.pool.requests), len(other.requests)) == (1, 1)
        world.manager.drain("other")
        async with app_request(world.manager, key="user"):
            await ask()
        report = await world.counted(3)
    assert report["dropped"] == {"refused": 1}


async def test_nothing_that_was_said_is_kept(new_world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the status, a repr or the log."""
    caplog.set_level(logging.DEBUG, "phase1")  # the SDK's own log is its own business
    async with new_world(llm_pool_debug=True) as world, WAYS["sdk_async"](world.own.url) as ask:
        world.pool.answers(said("planted in the pool"))
        world.own.answers(said("planted in legacy"))
        async with app_request(world.manager, key="planted-user"):
            await ask()
        await world.counted()
        told = [repr(world.shadow), repr(vars(world.shadow)), json.dumps(world.manager.status()), caplog.text]
    assert not [text for text in told if "planted" in text or "hello" in text]
    assert repr(world.shadow).startswith("<Shadow 100 % in_flight=0 <Report 1 sampled, 1 compared> <Purse ")


def test_script_without_a_loop_is_copied_on_ours(
    providers: Providers, provider: Provider, env: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of an app's request, from a plain thread."""
    own = providers.new()
    own.answers(said("from legacy"))
    provider.answers(said("from the pool"))
    nodes = json.dumps([{"name": "node", "base_url": provider.url, "api_key": "sk-of-the-node"}])
    env(ENABLE_LLM_POOL="true", OPENAI_API_KEY="sk-of-the-app", OPENAI_BASE_URL=own.url, LLM_NODES=nodes)
    env(**{name.upper(): str(value) for name, value in SHADOW.items()})
    monkeypatch.setattr("phase1.doors.background._process.manager", None)
    manager = default_manager()
    with phase1.OpenAI() as client:
        answer = client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[call-overload]
    assert answer.choices[0].message.content == "from legacy"
    assert manager.shadow is not None
    for _ in range(1000):
        if not manager.shadow.report.compared:
            threading.Event().wait(0.01)
    assert manager.shadow.report.compared == 1


async def test_shadow_that_fails_breaks_no_request(
    new_world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once."""
    async with new_world() as world, WAYS["sdk_async"](world.own.url) as ask:
        monkeypatch.setattr("phase1.doors.shadow.shadow.copy_of", lambda *args: 1 / 0)
        for _ in range(2):
            async with app_request(world.manager, key="user"):
                assert await ask() == "from legacy"
    assert caplog.text.count("a copy could not be made") == 1
