"""The integration is complete when five things hold. They are the five lines at the end of the integration report."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from . import apps
from .conftest import NewDatabase
from .upstream import Upstream

USER = {"authorization": "Bearer demo-1"}


def _environment(upstream: Upstream, database: str, **more: str) -> dict[str, str]:
    """The pool and the global client have different keys, so that the upstream can tell who asks."""
    node = {"name": "pool", "base_url": upstream.url, "api_key": "pool-key"}
    return apps.environment(upstream.url, database, LLM_NODES=json.dumps([node]), **more)


@pytest.mark.parametrize("toggle", ["false", "true"])
def test_service_starts(toggle: str, integrated: Path, new_sqlite: NewDatabase, upstream: Upstream) -> None:
    """1. The service comes up and serves, as a process of its own."""
    with apps.process(integrated, _environment(upstream, new_sqlite(), ENABLE_LLM_POOL=toggle)) as url:
        health = httpx.get(f"{url}/health", trust_env=False)
    assert (health.status_code, health.json()["status"]) == (200, "ok")


@pytest.mark.parametrize("toggle", ["false", "true"])
async def test_debug_page_shows_the_state(
    toggle: str, integrated: Path, new_sqlite: NewDatabase, upstream: Upstream
) -> None:
    """2. `/debug/llm-system` says what the report expects, and before that it is the app's own 404."""
    values = _environment(upstream, new_sqlite(), ENABLE_LLM_POOL=toggle)
    with apps.loaded(integrated, values) as module:
        async with apps.serving(module) as client:
            page = await client.get("/debug/llm-system", headers=USER)
    expected = {"phase1_available": True, "phase1_initialized": True, "legacy_client_exists": True}
    assert (page.status_code, page.json()["system_status"]) == (200, expected)


async def test_existing_chat_works(integrated: Path, new_database: NewDatabase, upstream: Upstream) -> None:
    """3. A conversation goes on as before: an answer, and the next one knows it."""
    with apps.loaded(integrated, _environment(upstream, new_database(), ENABLE_LLM_POOL="true")) as module:
        async with apps.serving(module) as client:
            first = await client.post("/chat", json={"message": "Hello"}, headers=USER)
            second = await client.post("/chat", json={"message": "Go on"}, headers=USER)
            history = await client.get("/chat/history", headers=USER)
    assert [answer.json()["context_metadata"]["history_count"] for answer in (first, second)] == [0, 1]
    assert [turn["response"] for turn in history.json()] == [answer.json()["response"] for answer in (first, second)]


async def test_off_uses_the_legacy_client_only(integrated: Path, new_sqlite: NewDatabase, upstream: Upstream) -> None:
    """4. With ENABLE_LLM_POOL=false the global client asks, nobody else, and the app says so."""
    with apps.loaded(integrated, _environment(upstream, new_sqlite(), ENABLE_LLM_POOL="false")) as module:
        async with apps.serving(module) as client:
            await _use_every_llm_route(client)
            summary = (await client.get("/metrics/llm-summary", headers=USER)).json()
    assert upstream.keys == {"legacy-key"}
    assert summary["status"] == "legacy_mode"


async def test_on_uses_the_pool(integrated: Path, new_sqlite: NewDatabase, upstream: Upstream) -> None:
    """5. With ENABLE_LLM_POOL=true the pool asks, and the app says so."""
    with apps.loaded(integrated, _environment(upstream, new_sqlite(), ENABLE_LLM_POOL="true")) as module:
        async with apps.serving(module) as client:
            await _use_every_llm_route(client)
            summary = (await client.get("/metrics/llm-summary", headers=USER)).json()
    assert upstream.keys == {"pool-key"}
    assert summary["status"] == "pool"


async def _use_every_llm_route(client: httpx.AsyncClient) -> None:
    for path in ("/chat", "/conversation-agent/chat", "/themes/1/deep-dive"):
        answer = await client.post(path, json={"message": "Hello"}, headers=USER)
        assert answer.status_code == httpx.codes.OK
