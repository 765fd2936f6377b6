"""Which way does a call go, and who answers when the pool cannot? The same for every door.

The pool's node and the client's own address are two providers, so that each test can count who was asked.
"""

# ruff: noqa: ANN401, FBT001 - fixtures and parameters

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import openai
import pytest

import phase1
from phase1.doors.manager import LLMManager
from phase1.events import FellBack, Routed
from phase1.policy.breaker import BreakerMode
from phase1.policy.canary import Canary
from phase1.policy.selection import Route, Selection

from .answers import DONE, Reply, error, json_reply, spoken, sse_reply, words
from .cases import CASES
from .provider import Fault, Gate, Provider, Providers, Request
from .ways import STREAMED, WAYS, Way
from .world import APP_KEY, Calls, app_request, heard_by, manager_of

pytest_plugins = ["tests.doors.providing"]

NODE_KEY = "sk-of-the-node"

every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
whole_and_streamed = pytest.mark.parametrize("stream", STREAMED.values(), ids=STREAMED)
http_ways = pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name.startswith("http")])
sdk_ways = pytest.mark.parametrize("way", [way for name, way in WAYS.items() if not name.startswith("http")])


def saying(text: str) -> Callable[[Request], Reply]:
    """An answer, whole or as a stream."""

    def reply(request: Request) -> Reply:
        return sse_reply(*words(text)) if request.json.get("stream") else spoken(text)

    return reply


@dataclass
class World:
    """The pool's node says "pool", the client's own address says "own"."""

    manager: LLMManager
    pool: Provider
    own: Provider

    @property
    def asked(self) -> tuple[int, int]:
        """How often the pool's node and the client's own address were asked."""
        return len(self.pool.requests), len(self.own.requests)


@pytest.fixture
def new_world(providers: Providers, provider: Provider, env: Callable[..., None]) -> Callable[..., Any]:
    """A pool and the client's own address; its arguments are settings."""
    env(ENABLE_LLM_POOL="true")  # what `adopt` looks at

    @asynccontextmanager
    async def make(node_key: str = NODE_KEY, **overrides: object) -> AsyncIterator[World]:
        own = providers.new()
        provider.answers(saying("pool"))
        own.answers(saying("own"))
        nodes = json.dumps([{"name": "node", "base_url": provider.url, "api_key": node_key}])
        async with manager_of(own, llm_nodes=nodes, **overrides) as manager:
            yield World(manager, provider, own)

    return make


@every_way
@whole_and_streamed
async def test_with_the_pool_on_the_pool_answers(way: Way, stream: bool, new_world: Any) -> None:
    """The node is asked, with its own key; the client's own address is not."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        assert await ask(stream=stream) == "pool"
    assert world.asked == (1, 0)
    assert world.pool.keys == [f"Bearer {NODE_KEY}"]


@pytest.mark.parametrize("switch", ["force_legacy_llm", "disable_pool", "emergency_mode"])
@every_way
@whole_and_streamed
async def test_a_kill_switch_leaves_calls_to_the_client(way: Way, stream: bool, switch: str, new_world: Any) -> None:
    """The client's own address is asked with its own key, and the call is counted as legacy's."""
    async with new_world(**{switch: True}) as world, way(world.own.url) as ask, app_request(world.manager):
        assert await ask(stream=stream) == "own"
        assert world.manager.get_metrics()["legacy_calls"] == {"ok": 1}
    assert world.asked == (0, 1)
    assert world.own.keys == [f"Bearer {APP_KEY}"]


@every_way
@whole_and_streamed
async def test_an_open_breaker_leaves_calls_to_the_client(way: Way, stream: bool, new_world: Any) -> None:
    """The pool is not asked while it is switched off."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.manager.breaker.force(BreakerMode.FORCED_OFF)
        assert await ask(stream=stream) == "own"
    assert world.asked == (0, 1)


@pytest.mark.parametrize(("percent", "asked"), [(0, (0, 1)), (100, (1, 0))])
@every_way
async def test_the_canary_decides(way: Way, percent: int, asked: tuple[int, int], new_world: Any) -> None:
    """At 0 % nobody goes to the pool, at 100 % everybody does."""
    async with (
        new_world(llm_canary_percent=percent) as world,
        way(world.own.url) as ask,
        app_request(world.manager, key="user"),
    ):
        await ask()
    assert world.asked == asked


@every_way
async def test_at_half_the_canary_goes_by_the_key(way: Way, new_world: Any) -> None:
    """The same key takes the same way in every request; of many keys about half go each way."""
    async with new_world(llm_canary_percent=50) as world, way(world.own.url) as ask:
        taken = [await _route_of(world.manager, f"user-{number}", ask) for number in range(12)]
        again = [await _route_of(world.manager, f"user-{number}", ask) for number in range(12)]
    assert taken == again
    assert set(taken) == {"pool", "own"}


async def _route_of(manager: LLMManager, key: str, ask: Any) -> str:
    async with app_request(manager, key=key):
        return str(await ask())


@every_way
async def test_a_switch_in_the_middle_of_a_request_waits_for_the_next(way: Way, new_world: Any) -> None:
    """All LLM calls of one app request take one route."""
    async with new_world() as world, way(world.own.url) as ask:
        async with app_request(world.manager, key="user"):
            before = await ask()
            world.manager.switches = replace(world.manager.switches, force_legacy=True)
            world.manager.canary = Canary(0)
            world.manager.switches = replace(world.manager.switches, force_legacy=False)
            after = await ask()
        async with app_request(world.manager, key="user"):
            assert (before, after, await ask()) == ("pool", "pool", "own")


async def test_all_doors_of_one_request_take_one_route(new_world: Any) -> None:
    """Whatever the doors: the route is chosen once for the request."""
    async with new_world(llm_canary_percent=50) as world:
        ear = heard_by(world.manager)
        for number in range(4):
            async with app_request(world.manager, key=f"user-{number}") as unit:
                answers = set()
                for way in WAYS.values():
                    async with way(world.own.url) as ask:
                        answers.add(await ask())
                assert answers == {"pool" if unit.selection.route is Route.POOL else "own"}
        assert len(ear.of(Routed)) == 4


FAILURES = {
    "500": error(500),
    "503": error(503),
    "html": Reply(200, [("content-type", "text/html")], [b"<html>sign in</html>"]),
    "cut": Reply(200, [("content-type", "application/json"), ("content-length", "99")], [b"{", Fault.CUT]),
    "refused key": error(401, code="invalid_api_key"),
    "no quota": error(429, code="insufficient_quota"),
    "unknown model": error(404, code="model_not_found"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@every_way
async def test_what_the_pool_cannot_answer_the_client_does(way: Way, failure: Reply, new_world: Any) -> None:
    """One failed request at the pool, one at the client's own address with the same body, and an answer."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        ear = heard_by(world.manager)
        world.pool.answers(failure)
        assert await ask() == "own"
        assert len(ear.of(FellBack)) == 1
    assert world.asked == (1, 1)
    assert world.own.requests[0].json == world.pool.requests[0].json
    assert world.own.keys == [f"Bearer {APP_KEY}"]


EARLY = {
    "500": error(500),
    "empty": sse_reply(DONE),
    "only the role": sse_reply(words()[0]),
    "in-band error": sse_reply(b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'),
    "cut": sse_reply(words()[0], Fault.CUT),
}


@pytest.mark.parametrize("failure", EARLY.values(), ids=EARLY)
@every_way
async def test_a_stream_that_has_not_begun_is_answered_by_the_client(way: Way, failure: Reply, new_world: Any) -> None:
    """Before the first content nobody has seen anything: the client's own stream is the answer."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(failure)
        assert await ask(stream=True) == "own"
    assert world.asked == (1, 1)


@every_way
async def test_nobody_listening_costs_nothing_but_the_fallback(way: Way, new_world: Any) -> None:
    """A node that refuses connections: the client answers."""
    nodes = json.dumps([{"name": "gone", "base_url": "http://127.0.0.1:9/v1", "api_key": NODE_KEY}])
    async with (
        new_world() as world,
        manager_of(world.own, llm_nodes=nodes) as manager,
        way(world.own.url) as ask,
        app_request(manager),
    ):
        assert await ask() == "own"
    assert world.asked == (0, 1)


@every_way
async def test_a_stream_that_breaks_after_its_first_token_is_not_repeated(way: Way, new_world: Any) -> None:
    """The user has seen something: he is told honestly, and nobody is asked again."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(sse_reply(*words("half")[:2], Fault.CUT))
        calls = Calls(world.manager)
        with pytest.raises(openai.APIError, match="broke"):
            await ask(stream=True)
        await calls.are_over()
    assert world.asked == (1, 0)


NEUTRAL = {
    "bad request": (error(400), openai.BadRequestError),
    "not found": (error(404), openai.NotFoundError),
    "conflict": (error(409), openai.ConflictError),
    "too long": (error(400, code="context_length_exceeded"), openai.BadRequestError),
    "filtered": (error(400, code="content_filter"), openai.BadRequestError),
    "unprocessable": (error(422), openai.UnprocessableEntityError),
}


@pytest.mark.parametrize(("failure", "raised"), NEUTRAL.values(), ids=NEUTRAL)
@every_way
@whole_and_streamed
async def test_the_callers_errors_are_not_repeated(
    way: Way,
    stream: bool,
    failure: Reply,
    raised: type[Exception],
    new_world: Any,
) -> None:
    """They would fail anywhere: one request, the SDK's exception."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(failure)
        with pytest.raises(raised):
            await ask(stream=stream)
    assert world.asked == (1, 0)


@sdk_ways
async def test_a_rate_limit_goes_to_a_client_with_another_key(way: Way, new_world: Any) -> None:
    """429 for the node's key says nothing about the client's."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(error(429))
        assert await ask() == "own"
    assert world.asked == (1, 1)


@sdk_ways
async def test_a_rate_limit_is_not_repeated_with_the_same_key(way: Way, new_world: Any) -> None:
    """Beside it: the same key meets the same limit."""
    async with new_world(node_key=APP_KEY) as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(error(429, headers={"retry-after": "7"}))
        with pytest.raises(openai.RateLimitError) as raised:
            await ask()
    assert world.asked == (1, 0)
    assert raised.value.response.headers["retry-after"] == "7"


@http_ways
async def test_a_library_is_told_of_a_rate_limit(way: Way, new_world: Any) -> None:
    """At the HTTP doors nobody knows whose key it would be: the library gets its 429."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(error(429))
        with pytest.raises(openai.RateLimitError):
            await ask()
    assert world.asked == (1, 0)


@sdk_ways
async def test_if_the_client_fails_too_its_error_counts(way: Way, new_world: Any) -> None:
    """Pool down, own address says 400: that is the answer."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(error(500))
        world.own.answers(error(400))
        with pytest.raises(openai.BadRequestError):
            await ask()
        (failed,) = world.manager.get_metrics()["legacy_calls"]
        assert failed != "ok"
    assert world.asked == (1, 1)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("way", [WAYS[name] for name in ("sdk_async", "sdk_portal", "sdk_thread")])
async def test_every_resource_falls_back_whole(way: Way, case: Any, new_world: Any) -> None:
    """Whatever the SDK took out of the request's options for the pool, the client's own way finds it there."""
    async with new_world(llm_failure_threshold=1000) as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(error(500))
        world.own.answers()
        await ask(case)
    assert world.asked[0] == world.asked[1]
    assert [request.path for request in world.pool.requests] == [request.path for request in world.own.requests]
    assert all(_same_body(*pair) for pair in zip(world.pool.requests, world.own.requests, strict=True))


def _same_body(first: Request, second: Request) -> bool:
    if (first.header("content-type") or "").startswith("multipart"):
        return abs(len(first.body) - len(second.body)) < 2
    return first.body == second.body


@pytest.mark.parametrize("way", [WAYS[name] for name in ("sdk_async", "sdk_portal")])
async def test_the_fallback_ends_with_the_deadline(way: Way, new_world: Any) -> None:
    """The client's own way gets what the request's deadline leaves; then it is the SDK's timeout."""
    limits = {"llm_request_deadline": 0.6, "llm_connect_timeout": 0.1}
    async with new_world(**limits) as world, way(world.own.url) as ask, app_request(world.manager):
        world.pool.answers(error(500))
        world.own.answers(Reply(parts=[gate := Gate()]))
        with pytest.raises(openai.APITimeoutError):
            await ask()
        gate.open()
    assert world.asked == (1, 1)


async def test_a_full_house_of_legacy_threads_is_told_in_the_sdks_words(new_world: Any) -> None:
    """No thread for the client's own way: a 503 that says so, not an exception nobody knows."""
    async with new_world(force_legacy_llm=True, llm_queue_size=0) as world:
        legacy = world.manager.bindings.current().legacy
        for _ in range(legacy.capacity):
            await legacy.enter(None, timeout=1)
        async with app_request(world.manager), WAYS["sdk_portal"](world.own.url) as ask:
            with pytest.raises(openai.InternalServerError) as raised:
                await ask()
        async with app_request(world.manager), WAYS["http_portal"](world.own.url) as ask:
            with pytest.raises(openai.InternalServerError):
                await ask()
        for _ in range(legacy.capacity):
            legacy.leave()
    assert (raised.value.status_code, raised.value.code) == (503, "phase1_queue_full")
    assert world.asked == (0, 0)


@every_way
async def test_a_closed_pool_leaves_calls_to_the_client(way: Way, new_world: Any) -> None:
    """After `aclose` a call is answered all the same where that is possible, and never hangs."""
    async with new_world() as world, way(world.own.url) as ask, app_request(world.manager):
        await ask()
        await world.manager.aclose()
        try:
            assert await ask() == "own"
        except openai.InternalServerError as exc:
            assert exc.code == "phase1_pool_closed"  # noqa: PT017 - either is right: our threads are closed, too


async def test_a_selection_made_by_hand_is_kept(new_world: Any) -> None:
    """A unit whose route is legacy keeps it for SDK clients too."""
    async with new_world() as world, app_request(world.manager) as unit, WAYS["sdk_async"](world.own.url) as ask:
        unit._selection = Selection(Route.LEGACY, unit.selection.reason)
        assert await ask() == "own"


async def test_an_outcome_in_json_is_not_a_stream(new_world: Any) -> None:
    """A whole answer to a request without `stream` is read as such, whatever its text says."""
    async with new_world() as world, app_request(world.manager), WAYS["sdk_async"](world.own.url) as ask:
        text = 'say "stream": true'
        world.pool.answers(json_reply(json.loads(spoken(text).parts[0])))
        assert await ask() == text


def test_both_doors_are_named_by_the_package() -> None:
    """They are public."""
    assert {"OpenAI", "AsyncOpenAI"} <= set(phase1.__all__)
