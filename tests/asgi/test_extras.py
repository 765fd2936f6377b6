"""Do responses tell their route and their time, if they are asked to, and else nothing?"""

from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import phase1
from tests.asgi.web import ask, bench_app, browser, mount
from tests.doors.bench import HELLO, Bench, SyncLegacy, completion, failure

BOTH = {"llm_route_header": True, "llm_server_timing": True}


async def with_database(request: Request) -> Response:
    """Reads, asks, writes."""
    with phase1.stage("db_fetch"):
        pass
    text = await phase1.get_llm(request).generate_response_async(HELLO)
    with phase1.stage("db_save"):
        pass
    return PlainTextResponse(text, headers={"server-timing": "own;dur=1"})


async def test_nothing_is_added_by_default() -> None:
    """The app's responses stay as they are."""
    app, bench = bench_app()
    async with bench.manager, browser(app) as http:
        headers = (await http.get("/ask")).headers
    assert not {"x-llm-route", "server-timing"} & headers.keys()


@pytest.mark.parametrize(
    ("settings", "answer", "expected"),
    [
        ({}, completion, "pool"),
        ({"llm_canary_percent": 0}, completion, "legacy"),
        ({"force_legacy_llm": True}, completion, "legacy"),
        ({}, lambda: failure(500), "fallback"),
    ],
)
async def test_route_is_told(settings: dict[str, object], answer: object, expected: str) -> None:
    """Pool, legacy, or legacy after the pool had failed."""
    app, bench = bench_app(answer, legacy=SyncLegacy(), llm_route_header=True, **settings)  # type: ignore[arg-type]
    async with bench.manager, browser(app) as http:
        headers = (await http.get("/ask")).headers
    assert headers["x-llm-route"] == expected
    assert "server-timing" not in headers


async def test_timing_has_the_stages_in_order_beside_the_apps_own() -> None:
    """Milliseconds, as browsers want them."""
    bench = Bench(**BOTH)
    app = mount(Starlette(routes=[Route("/", with_database)]), bench.manager)
    async with bench.manager, browser(app) as http:
        own, ours = (await http.get("/")).headers.get_list("server-timing")
    assert own == "own;dur=1"
    assert re.fullmatch(r"db_fetch;dur=[\d.]+, llm;dur=[\d.]+, db_save;dur=[\d.]+, total;dur=[\d.]+", ours)


async def test_request_that_asks_no_llm_gets_nothing() -> None:
    """There is no route to tell."""
    app, bench = bench_app(**BOTH)
    async with bench.manager, browser(app) as http:
        headers = (await http.get("/elsewhere")).headers
    assert not {"x-llm-route", "server-timing"} & headers.keys()


async def test_stages_are_counted_for_prometheus() -> None:
    """Of requests that asked an LLM: each stage, and all of it."""
    bench = Bench()
    app = mount(Starlette(routes=[Route("/", with_database), Route("/ask", ask)]), bench.manager)
    async with bench.manager, browser(app) as http:
        await http.get("/")
        await http.get("/ask")
        await http.get("/nowhere")
    stages = bench.manager.tally.stages
    assert {name: stage.count for name, stage in stages.items()} == {
        "db_fetch": 1,
        "llm_response": 2,
        "db_save": 1,
        "total": 2,
    }
    assert stages["llm_response"].total <= stages["total"].total


def test_stage_outside_of_a_request_counts_nothing() -> None:
    """A script may share the app's code."""
    with phase1.stage("db_save"):
        pass


def test_unknown_stage_is_an_error() -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="stage 'lunch': must be one of db_fetch, db_save"), phase1.stage("lunch"):
        pass


async def asks_for_the_same(request: Request) -> Response:
    """As often as it is asked."""
    text = await phase1.get_llm(request).generate_response_async(HELLO, temperature=0)
    return PlainTextResponse(text)


async def test_cache_is_told_beside_the_route_and_its_time_counts() -> None:
    """`X-LLM-Cache` where there is a cache; an answer from it took its time, though nobody was asked."""
    bench = Bench(**BOTH, llm_cache_seconds=60.0)
    app = mount(Starlette(routes=[Route("/", asks_for_the_same), Route("/ask", ask)]), bench.manager)
    async with bench.manager, browser(app) as http:
        first, second, other = (
            (await http.get("/")).headers,
            (await http.get("/")).headers,
            (await http.get("/ask")).headers,
        )
    assert [headers["x-llm-cache"] for headers in (first, second, other)] == ["miss", "hit", "bypass"]
    assert "llm;dur=" in second["server-timing"]
    assert len(bench.upstream.bodies) == 2
