"""Do the names of the migration guide work as it uses them?"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

import phase1
from phase1.exceptions import ConfigurationError

if TYPE_CHECKING:
    from llmock.pytest_plugin import LLMock

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def upstream(llmock: LLMock, env: Callable[..., None]) -> LLMock:
    """A provider on a real socket, and a model for calls that name none."""
    env(OPENAI_API_KEY="sk-test-0123456789", LLM_MODEL="gpt-4o-mini")
    return llmock


def guides_app() -> FastAPI:  # noqa: C901 - as the guide has it
    """Steps 2 and 3 of the guide, and its page of numbers, with these names for the modules it imports from."""
    logger = logging.getLogger("app")
    state: dict[str, Any] = {"llm_pool": None, "llm_load_balancer": None}
    app = FastAPI()

    async def startup_event() -> None:
        try:
            state["llm_pool"] = await phase1.get_llm_pool(
                pool_size=int(os.environ.get("LLM_POOL_SIZE", "10")), connection_timeout=30.0
            )
            if os.environ.get("ENABLE_LOAD_BALANCER", "false").lower() == "true":
                state["llm_load_balancer"] = await phase1.get_load_balancer(
                    strategy=phase1.LoadBalanceStrategy.ADAPTIVE,
                    pool_configs=[
                        {"pool_size": 8, "weight": 1.0, "name": "primary"},
                        {"pool_size": 6, "weight": 0.8, "name": "secondary"},
                        {"pool_size": 4, "weight": 0.6, "name": "backup"},
                    ],
                )
        except Exception:
            logger.exception("the LLM system cannot start")
            raise

    async def shutdown_event() -> None:
        for name in ("llm_load_balancer", "llm_pool"):
            if state[name]:
                await state[name].aclose()

    app.router.add_event_handler("startup", startup_event)
    app.router.add_event_handler("shutdown", shutdown_event)

    @app.post("/chat")
    async def chat_with_ai(message: str) -> str:
        messages = [{"role": "user", "content": message}]
        if state["llm_load_balancer"]:
            async with await state["llm_load_balancer"].get_client(prefer_async=True) as client:
                return await client.generate_response_async(messages)
        async with state["llm_pool"].get_async_client() as client:
            return await client.generate_response_async(messages)

    @app.get("/metrics/llm")
    async def get_llm_metrics() -> dict[str, object]:
        if state["llm_load_balancer"]:
            return await state["llm_load_balancer"].get_status()
        return await state["llm_pool"].get_metrics()

    return app


@pytest.mark.parametrize("balanced", [False, True], ids=["level 1", "level 2"])
async def test_guides_app_answers(upstream: LLMock, env: Callable[..., None], *, balanced: bool) -> None:
    """Twenty users at once; the page of numbers is JSON, and tells no key."""
    upstream.reply("hello back", times=None)
    env(ENABLE_LOAD_BALANCER=str(balanced).lower())
    async with (
        LifespanManager(guides_app()) as live,
        httpx.AsyncClient(transport=httpx.ASGITransport(live.app), base_url="http://app") as http,
    ):
        answers = await asyncio.gather(*(http.post("/chat", params={"message": "hello"}) for _ in range(20)))
        assert [answer.json() for answer in answers] == ["hello back"] * 20
        page = await http.get("/metrics/llm")
    status = page.json()
    assert "0123456789" not in page.text
    if balanced:
        assert (status["status"], status["strategy"]) == ("pool", "adaptive")
        assert [(node["name"], node["pool_size"]) for node in status["nodes"]] == [
            ("primary", 8),
            ("secondary", 6),
            ("backup", 4),
        ]
        assert status["metrics"]["calls"] == {"ok": 20}
    else:
        assert (status["status"], status["calls"]) == ("pool", {"ok": 20})


async def test_guides_troubleshooting(upstream: LLMock) -> None:
    """`ROUND_ROBIN` with a short interval of checks, over the configured node."""
    async with await phase1.get_load_balancer(
        strategy=phase1.LoadBalanceStrategy.ROUND_ROBIN, health_check_interval=10.0
    ) as balancer:
        async with await balancer.get_client(key="user-1") as client:
            assert await client.generate_response_async(HELLO)
        assert (await balancer.get_status())["strategy"] == "round_robin"
        assert balancer.manager.settings.llm_health_check_interval == 10.0
        assert repr(balancer).startswith("<LoadBalancer <LLMManager nodes=1/1 up")


async def test_nodes_of_a_balancer_may_have_keys_of_their_own(upstream: LLMock, env: Callable[..., None]) -> None:
    """And the environment's list is not asked."""
    env(OPENAI_API_KEY="", LLM_NODES_FILE="there-is-none.toml", SECOND="sk-second")
    async with await phase1.get_load_balancer(
        strategy="sticky",
        pool_configs=[{"name": "a", "api_key": "sk-first"}, {"name": "b", "api_key_env": "SECOND", "priority": 1}],
    ) as balancer:
        async with await balancer.get_client() as client:
            await client.generate_response_async(HELLO)
        keys = [spec.api_key for spec in balancer.manager.nodes]
    assert keys == ["sk-first", "sk-second"]


async def test_async_llm_client_is_kept_by_the_app(upstream: LLMock) -> None:
    """Made before any call, without `await`; every call chooses anew; the SDK's client is beside it."""
    upstream.reply("hi", times=None)
    async_llm_client = phase1.get_async_llm_client(pool_size=10)
    assert async_llm_client.manager.settings.llm_pool_size == 10
    async with async_llm_client:
        answers = await asyncio.gather(*(async_llm_client.generate_response_async(HELLO) for _ in range(5)))
        assert answers == ["hi"] * 5
        completion = await async_llm_client.client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        assert completion.choices[0].message.content == "hi"
        assert await asyncio.to_thread(async_llm_client.generate_response, HELLO) == "hi"
        assert async_llm_client.manager.tally.calls["ok"] == 7


def test_pool_that_nobody_closes_is_closed_with_its_loop(upstream: LLMock) -> None:
    """As the guide's app leaves it."""

    async def use() -> phase1.LLMManager:
        pool = await phase1.get_llm_pool(pool_size=2)
        async with pool.get_async_client("user-1") as client:
            assert client.key == "user-1"
            await client.generate_response_async(HELLO)
        return pool.manager

    assert not asyncio.run(use()).initialized


async def test_without_a_key_it_says_so(env: Callable[..., None]) -> None:
    """Raised, not logged: the guide's start-up code expects it."""
    env(OPENAI_API_KEY="")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is not set"):
        await phase1.get_llm_pool()
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY is not set"):
        phase1.get_async_llm_client()
    with pytest.raises(ConfigurationError, match="pool_configs brings no api_key"):
        await phase1.get_load_balancer(pool_configs=[{"name": "a"}])


@pytest.mark.parametrize(
    ("configs", "text"),
    [
        ([{"name": "a", "weight": 0}], 'node "a": weight=0: must be more than 0'),
        ([{"name": "a"}, {"name": "a"}], 'node "a": 2 nodes have this name'),
        ([{"name": "a", "rank": 1}], 'node "a": rank: unknown field'),
        ([{"pool_size": 3}], "node #1: name: is missing"),
        ([], "must be a list of at least one node"),
        ([{"name": object()}], "pool_configs: Object of type object is not JSON serializable"),
    ],
    ids=["weight", "name twice", "unknown field", "no name", "empty", "no JSON"],
)
async def test_bad_configs_are_told(upstream: LLMock, configs: list[dict[str, object]], text: str) -> None:
    """The node is named."""
    with pytest.raises(ConfigurationError) as caught:
        await phase1.get_load_balancer(pool_configs=configs)
    assert text in str(caught.value)
    assert "0123456789" not in str(caught.value)


async def test_bad_arguments_are_told(upstream: LLMock) -> None:
    """As settings are."""
    with pytest.raises(ConfigurationError, match="LLM_POOL_SIZE=0: must be at least 1"):
        await phase1.get_llm_pool(pool_size=0)
    with pytest.raises(ConfigurationError, match="LOAD_BALANCE_STRATEGY=fastest"):
        await phase1.get_load_balancer(strategy="fastest")


async def test_failures_are_the_sdks(upstream: LLMock) -> None:
    """There is no legacy to fall back to."""
    upstream.fail(401, times=None)
    async with await phase1.get_llm_pool() as pool:
        with pytest.raises(openai.AuthenticationError):
            async with pool.get_async_client() as client:
                await client.generate_response_async(HELLO)
        assert json.loads(json.dumps(await pool.get_metrics()))["calls"] == {"node_refused": 1}
