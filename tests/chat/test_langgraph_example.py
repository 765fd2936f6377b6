"""Does the LangGraph example do what it says: before, one user after the other; after, all at once, with one agent?"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

from tests.example.upstream import Upstream

EXAMPLE = Path(__file__).parents[2] / "examples" / "langgraph_chat.py"
USERS = 50
BOUND = 30.0


@pytest.fixture
def example() -> Iterator[ModuleType]:
    """The module, new."""
    spec = importlib.util.spec_from_file_location("langgraph_chat", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["langgraph_chat"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["langgraph_chat"]


@pytest.fixture
def at(env: Callable[..., None]) -> Callable[..., None]:
    """Point the environment to an upstream."""

    def point(upstream: Upstream, **more: str) -> None:
        env(OPENAI_BASE_URL=upstream.url, OPENAI_API_KEY="sk-x", OPENAI_MAX_RETRIES="0", **more)

    return point


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app between start-up and shutdown."""
    async with LifespanManager(app) as live:
        transport = httpx.ASGITransport(live.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=BOUND) as browser:
            yield browser


async def statuses(browser: httpx.AsyncClient, users: int) -> Counter[int]:
    """What users get who come at the same time."""
    calls = (browser.post("/api/chat", json={"message": f"hello from {n}"}) for n in range(users))
    return Counter(answer.status_code for answer in await asyncio.gather(*calls))


@pytest.mark.parametrize("pool", ["true", "false"])
async def test_after_fifty_users_are_answered_at_once(pool: str, example: ModuleType, at: Callable[..., None]) -> None:
    """By an upstream that answers only when all fifty are there; with the pool and without it."""
    with Upstream(USERS) as crowd:
        at(crowd, ENABLE_LLM_POOL=pool)
        async with served(example.create_app()) as browser:
            assert await statuses(browser, USERS) == {200: USERS}
            cache = (await browser.get("/api/debug/agent-cache")).json()
    assert cache["cache_info"] == f"hits={USERS - 1}, misses=1, maxsize=1, currsize=1"


async def test_before_not_even_two_users_are_asked_at_once(example: ModuleType, at: Callable[..., None]) -> None:
    """The same upstream never sees the second user while the first one waits, and gives up on them."""
    with Upstream(2, patience=0.1) as crowd:
        at(crowd)
        async with served(example.create_before()) as browser:
            assert await statuses(browser, 3) == {500: 3}
        await example.get_blocking_chat_agent().aclose()


async def test_conversation_goes_on_under_its_id(example: ModuleType, at: Callable[..., None]) -> None:
    """The next question knows the first one; another conversation does not, and the history has a limit."""
    with Upstream() as upstream:
        at(upstream, CHAT_HISTORY_LIMIT_DEFAULT="2", CHAT_HISTORY_LIMIT_MAX="4")
        async with served(example.create_app()) as browser:
            first = (await browser.post("/api/chat", json={"message": "one"})).json()
            for message in ("two", "three", "four"):
                await browser.post("/api/chat", json={"message": message, "conversation_id": first["conversation_id"]})
            await browser.post("/api/chat", json={"message": "new"})
    assert [len(seen.body["messages"]) for seen in upstream.seen] == [2, 4, 5, 5, 2]


@pytest.mark.parametrize(
    "body", [{}, {"message": ""}, {"message": "x" * 4001}, {"message": "x", "conversation_id": ""}]
)
async def test_bad_bodies_are_refused(body: dict[str, str], example: ModuleType) -> None:
    """422, before an agent is built."""
    async with served(example.create_app()) as browser:
        assert (await browser.post("/api/chat", json=body)).status_code == 422
    assert example.get_chat_agent.cache_info().misses == 0


async def test_factory_that_fails_is_an_error_of_that_request_only(
    example: ModuleType, at: Callable[..., None]
) -> None:
    """No key at first; with one the next request builds the agent."""
    with Upstream() as upstream:
        async with served(example.create_app()) as browser:
            assert await statuses(browser, 1) == {500: 1}
            at(upstream)
            assert await statuses(browser, 1) == {200: 1}
