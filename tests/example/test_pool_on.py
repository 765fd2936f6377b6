"""What changes with ENABLE_LLM_POOL=true? Nobody waits for anybody else, and the pool's trouble is nobody's trouble."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from . import apps
from .conftest import NewDatabase
from .upstream import Upstream

USERS = 20
TOGETHER = 5
ROUTES = ("/chat", "/conversation-agent/chat", "/themes/1/deep-dive")


@pytest.fixture
def crowd() -> Iterator[Upstream]:
    """A model that answers only when five requests wait for it at the same time."""
    with Upstream(TOGETHER) as upstream:
        yield upstream


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of an upstream that refuses connections: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


async def _ask_at_once(client: httpx.AsyncClient, path: str, users: int) -> Counter[int]:
    calls = [
        client.post(path, json={"message": "Hello"}, headers={"authorization": f"Bearer demo-{n}"})
        for n in range(users)
    ]
    return Counter(answer.status_code for answer in await asyncio.gather(*calls))


def _nodes(url: str) -> str:
    return json.dumps([{"name": "pool", "base_url": url, "api_key": "pool-key"}])


@pytest.mark.parametrize("path", ROUTES)
async def test_on_users_do_not_wait_for_each_other(
    path: str, integrated: Path, new_sqlite: NewDatabase, crowd: Upstream
) -> None:
    """Twenty users get their answers from a model that answers only crowds: the event loop is never blocked."""
    with apps.loaded(integrated, apps.environment(crowd.url, new_sqlite(), ENABLE_LLM_POOL="true")) as module:
        async with apps.serving(module) as client:
            assert await _ask_at_once(client, path, USERS) == {200: USERS}


@pytest.mark.parametrize("app", ["plain", "integrated"])
async def test_off_users_wait_for_each_other(app: str, request: pytest.FixtureRequest, new_sqlite: NewDatabase) -> None:
    """The same model never sees two users of the plain app at once, nor with the toggle off, and gives up on them."""
    with Upstream(2, patience=0.2) as crowd:
        values = apps.environment(crowd.url, new_sqlite())
        with apps.loaded(request.getfixturevalue(app), values) as module:
            async with apps.serving(module) as client:
                assert await _ask_at_once(client, "/chat", USERS) == {502: USERS}


async def test_dead_pool_falls_back_without_blocking(
    integrated: Path, new_sqlite: NewDatabase, crowd: Upstream, nobody: str
) -> None:
    """Nobody is at home in the pool: the global client answers all, in threads, so they still don't wait in line."""
    values = apps.environment(crowd.url, new_sqlite(), ENABLE_LLM_POOL="true", LLM_NODES=_nodes(nobody))
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            assert await _ask_at_once(client, "/chat", USERS) == {200: USERS}
    assert crowd.keys == {"legacy-key"}


@pytest.mark.parametrize("fault", ["500", "503", "reset", "401"])
async def test_failing_pool_falls_back_for_the_same_request(
    fault: str, integrated: Path, new_sqlite: NewDatabase, upstream: Upstream
) -> None:
    """The pool's node fails, the global client is asked in the same request, and what it says is what the user gets."""
    values = apps.environment(upstream.url, new_sqlite(), ENABLE_LLM_POOL="true", LLM_NODES=_nodes(upstream.url))
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            await client.post(
                "/chat", json={"message": f"upstream:{fault}"}, headers={"authorization": "Bearer demo-1"}
            )
    assert [seen.key for seen in upstream.seen] == ["pool-key", "legacy-key"]


async def test_three_failures_put_the_pool_out_of_the_way(
    integrated: Path, new_sqlite: NewDatabase, upstream: Upstream, nobody: str
) -> None:
    """After three failed requests the page shows the pool disabled, and all users are still served."""
    values = apps.environment(upstream.url, new_sqlite(), ENABLE_LLM_POOL="true", LLM_NODES=_nodes(nobody))
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            statuses = [await _ask_at_once(client, "/chat", 1) for _ in range(4)]
            page = (await client.get("/debug/llm-system")).json()
    assert statuses == [{200: 1}] * 4
    assert page["breaker"]["state"] == "disabled"


async def test_canary_keeps_a_user_on_one_side_in_every_endpoint(
    integrated: Path, new_sqlite: NewDatabase, upstream: Upstream
) -> None:
    """At 50 % some users are on the pool and some on legacy, and which one depends on the user, not on the endpoint."""
    values = apps.environment(
        upstream.url, new_sqlite(), ENABLE_LLM_POOL="true", LLM_CANARY_PERCENT="50", LLM_NODES=_nodes(upstream.url)
    )
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            sides = [await _sides_of(client, upstream, user) for user in range(USERS)]
    assert {len(side) for side in sides} == {1}
    assert set.union(*sides) == {"pool-key", "legacy-key"}


async def _sides_of(client: httpx.AsyncClient, upstream: Upstream, user: int) -> set[str]:
    upstream.seen.clear()
    for path in ROUTES:
        await client.post(path, json={"message": "Hello"}, headers={"authorization": f"Bearer demo-{user}"})
    return upstream.keys


@pytest.mark.parametrize("app", ["plain", "off", "on"])
async def test_silent_upstream_is_a_timeout(
    app: str, plain: Path, integrated: Path, new_sqlite: NewDatabase, upstream: Upstream
) -> None:
    """A model that says nothing is 504 with the same text in all three ways to ask it."""
    toggle = "true" if app == "on" else "false"
    values = apps.environment(
        upstream.url, new_sqlite(), OPENAI_TIMEOUT="0.2", ENABLE_LLM_POOL=toggle, LLM_REQUEST_DEADLINE="0.2"
    )
    with apps.loaded(plain if app == "plain" else integrated, values) as module:
        async with apps.serving(module) as client:
            answer = await client.post(
                "/chat", json={"message": "upstream:hang"}, headers={"authorization": "Bearer demo-1"}
            )
    assert (answer.status_code, answer.json()) == (504, {"detail": "The LLM did not answer in time"})


async def test_rate_limited_pool_tells_when_to_come_back(
    integrated: Path, new_sqlite: NewDatabase, upstream: Upstream
) -> None:
    """A 429 of the upstream reaches the user as the plain app's 503, with the upstream's Retry-After."""
    values = apps.environment(upstream.url, new_sqlite(), ENABLE_LLM_POOL="true")
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            answer = await client.post(
                "/chat", json={"message": "upstream:429"}, headers={"authorization": "Bearer demo-1"}
            )
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


async def test_pool_that_cannot_start_leaves_the_app_on_legacy(
    integrated: Path, new_sqlite: NewDatabase, upstream: Upstream
) -> None:
    """A setting that cannot be honoured is a line in the log and on the page, not the end of the service."""
    values = apps.environment(upstream.url, new_sqlite(), ENABLE_LLM_POOL="true", LLM_POOL_SIZE="0")
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            statuses = await _ask_at_once(client, "/chat", TOGETHER)
            page = (await client.get("/debug/llm-system")).json()
    assert statuses == {200: TOGETHER}
    assert "LLM_POOL_SIZE=0" in page["problem"]


async def test_summary_is_for_users_only(integrated: Path, new_sqlite: NewDatabase, upstream: Upstream) -> None:
    """The monitoring route is behind the app's own authentication, and absent from its API description."""
    with apps.loaded(integrated, apps.environment(upstream.url, new_sqlite())) as module:
        async with apps.serving(module) as client:
            anonymous = await client.get("/metrics/llm-summary")
            schema = (await client.get("/openapi.json")).json()
    assert anonymous.status_code == httpx.codes.UNAUTHORIZED
    assert "/metrics/llm-summary" not in schema["paths"]


async def test_fallback_that_misses_the_deadline_is_a_timeout(
    integrated: Path, new_sqlite: NewDatabase, upstream: Upstream, nobody: str
) -> None:
    """The pool is dead and the global client gets no answer in time either: 504, as when it is asked directly."""
    values = apps.environment(
        upstream.url,
        new_sqlite(),
        ENABLE_LLM_POOL="true",
        LLM_NODES=_nodes(nobody),
        LLM_REQUEST_DEADLINE="0.5",
        OPENAI_TIMEOUT="2",
    )
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            answer = await client.post(
                "/chat", json={"message": "upstream:hang"}, headers={"authorization": "Bearer demo-1"}
            )
    assert (answer.status_code, answer.json()) == (504, {"detail": "The LLM did not answer in time"})
