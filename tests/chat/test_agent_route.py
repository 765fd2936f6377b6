"""What does `GET /api/debug/agent-cache` say, and to whom?"""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

import phase1
from phase1.chat import add_agent_cache_route, cached_agent
from phase1.settings import Settings

TOKEN = "t" * 16
LOCAL = ("127.0.0.1", 50000)
FAR = ("203.0.113.9", 50000)
PATH = "/api/debug/agent-cache"


class Agent:
    """What is cached."""


def browser(app: Any, client: tuple[str, int] = LOCAL) -> httpx.AsyncClient:  # noqa: ANN401
    """A caller at this address."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=client), base_url="http://localhost")


def app_of(kind: type[Starlette] = FastAPI, **settings: object) -> tuple[Starlette, Any]:
    """An app with the route, and the agent."""
    get_agent = cached_agent(Agent)
    app = kind()
    add_agent_cache_route(app, get_agent, settings=Settings.load(**settings))
    return app, get_agent


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
async def test_numbers_of_the_agent(kind: type[Starlette]) -> None:
    """Those of seed 001, and the age and the process: another worker has other numbers."""
    app, get_agent = app_of(kind)
    async with browser(app) as caller:
        before = (await caller.get(PATH)).json()
        agent = get_agent()
        for _ in range(10):
            get_agent()
        after = (await caller.get(PATH)).json()
    assert (before["cache_info"], before["agent_id"], before["age_seconds"]) == (
        "hits=0, misses=0, maxsize=1, currsize=0",
        None,
        None,
    )
    assert after["cache_info"] == "hits=10, misses=1, maxsize=1, currsize=1"
    assert (after["agent_id"], after["process"]) == (id(agent), os.getpid())
    assert (after["hits"], after["misses"], after["size"]) == (10, 1, 1)
    assert after["age_seconds"] >= 0
    assert after["message"]


@pytest.mark.parametrize(
    ("client", "token", "sent", "status"),
    [
        (LOCAL, None, None, 200),
        (FAR, None, None, 404),
        (FAR, TOKEN, None, 401),
        (FAR, TOKEN, "x" * 16, 401),
        (FAR, TOKEN, TOKEN, 200),
    ],
    ids=["local", "far", "no token", "wrong token", "token"],
)
async def test_who_may_see_it(client: tuple[str, int], token: str | None, sent: str | None, status: int) -> None:
    """A truly local caller or the admin token, as for /debug/llm-system."""
    app, _ = app_of(llm_admin_token=token)
    async with browser(app, client) as caller:
        headers = {"authorization": f"Bearer {sent}"} if sent else {}
        assert (await caller.get(PATH, headers=headers)).status_code == status


async def test_switched_off_it_is_the_apps_own_404() -> None:
    """For every method, and everybody."""
    app, _ = app_of(llm_debug_access="off")
    async with browser(app) as caller:
        for method in ("GET", "POST", "DELETE"):
            hidden, unknown = await caller.request(method, PATH), await caller.request(method, "/nothing")
            assert (
                (hidden.status_code, hidden.content) == (unknown.status_code, unknown.content) == (404, unknown.content)
            )


async def test_other_methods_and_other_sites_are_refused() -> None:
    """405 with what is allowed, 403 for a page of another site."""
    app, _ = app_of()
    async with browser(app) as caller:
        posted = await caller.post(PATH)
        foreign = await caller.get(PATH, headers={"origin": "https://evil.example"})
    assert (posted.status_code, posted.headers["allow"], foreign.status_code) == (405, "GET, HEAD", 403)


async def test_app_that_is_mounted_at_the_root_does_not_hide_it() -> None:
    """As single-page apps are."""
    app = FastAPI()
    app.mount("/", Starlette())
    add_agent_cache_route(app, cached_agent(Agent), settings=Settings.load())
    async with browser(app) as caller:
        assert (await caller.get(PATH)).status_code == 200


async def test_settings_are_those_of_the_installed_phase1() -> None:
    """And the route is not in the API description."""
    app = FastAPI()
    phase1.install(app, settings=Settings.load(llm_debug_access="off"))
    add_agent_cache_route(app, cached_agent(Agent))
    async with browser(app) as caller:
        assert (await caller.get(PATH)).status_code == 404
    assert PATH not in app.openapi()["paths"]
