"""What do our pages say, in which format, and with which headers?"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from phase1.asgi.routes import Pages
from tests.asgi.web import bench_app, browser, mount
from tests.doors.bench import Bench, Clock, SyncLegacy, failure

DEBUG = "/debug/llm-system"
METRICS = "/metrics/llm"
LOG_STATUS = "/admin/llm-system/log-status"
ALL = [("GET", DEBUG), ("GET", METRICS), ("GET", "/metrics/llm-system"), ("POST", LOG_STATUS)]


async def debug(app: Starlette) -> dict[str, Any]:
    """The JSON of the debug page."""
    async with browser(app) as http:
        status: dict[str, Any] = (await http.get(DEBUG)).json()
        return status


def is_private(headers: httpx.Headers) -> bool:
    """Whether the answer is kept nowhere, sniffed by nobody, referred to by nobody, and for no other origin."""
    return (
        headers["cache-control"] == "no-store"
        and headers["x-content-type-options"] == "nosniff"
        and headers["referrer-policy"] == "no-referrer"
        and headers["x-robots-tag"] == "noindex"
        and not any(name.startswith("access-control-") for name in headers)
    )


async def test_debug_page_names_its_schema_and_the_system_status() -> None:
    """Scripts of seed 003 read `system_status`; new ones look at `schema` first."""
    app, bench = bench_app(legacy=SyncLegacy())
    status = await debug(app)
    assert status["schema"] == "phase1.llm-system/v1"
    assert status["system_status"] == {
        "phase1_available": True,
        "phase1_initialized": False,
        "legacy_client_exists": True,
    }
    async with bench.manager:
        assert (await debug(app))["system_status"]["phase1_initialized"] is True
    assert (await debug(app))["system_status"]["phase1_initialized"] is False


async def test_debug_page_says_when_there_is_no_legacy_client_yet() -> None:
    """A callable may have none before the app's start-up."""
    clients: list[object] = []
    app, _ = bench_app(legacy=lambda: clients[0] if clients else None)
    assert (await debug(app))["system_status"]["legacy_client_exists"] is False
    clients.append(SyncLegacy())
    assert (await debug(app))["system_status"]["legacy_client_exists"] is True


async def test_debug_page_shows_pool_nodes_and_breaker_at_work() -> None:
    """Numbers of the pool that is open, and the node with a digest in place of its key."""
    app, bench = bench_app(llm_pool_size=2, llm_client_concurrency=3)
    async with bench.manager, browser(app) as http:
        await http.get("/ask")
        status = (await http.get(DEBUG)).json()
    assert status["pool"]["clients"] == 2
    assert status["pool"]["capacity"] == 6
    assert status["breaker"]["state"] == "active"
    node = status["nodes"][0]
    assert (node["name"], node["up"], node["in_flight"]) == ("default", True, 0)
    assert node["api_key"].startswith("sha256:")
    assert status["metrics"]["calls"] == {"ok": 1}
    assert status["mode"] == status["metrics"]["status"] == "pool"


async def test_debug_page_shows_an_open_breaker() -> None:
    """Three failures, and how long it stays open."""
    app, bench = bench_app(lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager, browser(app) as http:
        for _ in range(3):
            await http.get("/ask")
        breaker = (await http.get(DEBUG)).json()["breaker"]
    assert breaker["state"] == "disabled"
    assert breaker["until_in"] == pytest.approx(3.75)


async def test_debug_page_without_a_pool_lists_the_configured_nodes() -> None:
    """Before the start, and with the pool closed."""
    app, _ = bench_app()
    status = await debug(app)
    assert status["pool"]["open"] is False
    assert [node["name"] for node in status["nodes"]] == ["default"]


async def test_debug_page_gives_every_setting_with_its_source() -> None:
    """Where a value comes from is half of finding out why."""
    app, _ = bench_app(llm_canary_percent=10)
    described = (await debug(app))["settings"]
    assert described["LLM_CANARY_PERCENT"] == {"value": 10.0, "source": "argument"}
    assert described["LLM_POOL_SIZE"] == {"value": 5, "source": "default"}


@pytest.mark.parametrize("page", ALL)
async def test_answers_are_private(page: tuple[str, str]) -> None:
    """no-store, nosniff, no-referrer, noindex, no CORS."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.request(*page)
    assert response.status_code == 200
    assert is_private(response.headers)


@pytest.mark.parametrize(
    ("method", "headers", "status"), [("PUT", {}, 405), ("POST", {"origin": "https://evil.example"}, 403)]
)
async def test_refusals_are_private_too(method: str, headers: dict[str, str], status: int) -> None:
    """Also when the answer is no."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.request(method, LOG_STATUS, headers=headers)
    assert response.status_code == status
    assert is_private(response.headers)


async def test_cors_of_the_app_opens_no_page_of_ours() -> None:
    """Apps in development often allow every origin; a script elsewhere still reads nothing of ours."""
    bench = Bench()
    app = Starlette()
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    mount(app, bench.manager)
    async with browser(app) as http:
        response = await http.get(DEBUG, headers={"origin": "https://evil.example"})
    assert response.status_code == 403
    assert "schema" not in response.text


async def test_pages_vary_by_accept() -> None:
    """No cache in between may mix the formats up."""
    app, _ = bench_app()
    async with browser(app) as http:
        for path in (DEBUG, METRICS, METRICS + "?format=json"):
            assert (await http.get(path)).headers["vary"] == "accept"


@pytest.mark.parametrize("path", [METRICS, "/metrics/llm-system"])
async def test_metrics_are_an_exposition_by_default(path: str) -> None:
    """Both paths, as Prometheus asks for them; every line of it can be read."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.get(path)
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = {family.name for family in text_string_to_metric_families(response.text)}
    assert "phase1_breaker_state" in families


async def test_prometheus_gets_openmetrics_when_it_prefers_it() -> None:
    """Its own Accept header, word for word."""
    accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.get(METRICS, headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", "*/*", "text/plain"),
        ("", "text/plain", "text/plain"),
        ("", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain"),
        ("", "application/json", "application/json"),
        ("", "application/json, text/plain, */*", "application/json"),
        ("?format=json", "text/plain", "application/json"),
        ("?format=prometheus", "application/json", "text/plain"),
    ],
)
async def test_metrics_format_follows_accept_and_query(query: str, accept: str, expected: str) -> None:
    """JSON for those who name it first, and `?format=` wins."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.get(METRICS + query, headers={"accept": accept})
    assert response.headers["content-type"].startswith(expected)


async def test_metrics_as_json_are_those_of_the_manager() -> None:
    """`get_metrics()` and the page say the same."""
    app, bench = bench_app(lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager, browser(app) as http:
        await http.get("/ask")
        shown = (await http.get(METRICS + "?format=json")).json()
        assert shown == bench.manager.get_metrics()
    assert shown["fallbacks"] == {"server_error": 1}
    assert shown["routes"] == [{"route": "pool", "reason": "default", "count": 1}]


async def test_log_status_writes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """What goes to the log, at INFO."""
    app, _ = bench_app(legacy=SyncLegacy())
    with caplog.at_level(logging.INFO, "phase1"):
        async with browser(app) as http:
            response = await http.post(LOG_STATUS)
    assert response.json() == {"logged": True}
    assert [record.message.split(",")[0] for record in caplog.records] == ["LLM system: pool"]


async def test_status_is_logged_at_most_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """A loop of requests cannot fill the disk."""
    bench, clock = Bench(), Clock()
    pages = Pages(bench.manager, clock=clock)
    scope = {
        "type": "http",
        "method": "POST",
        "path": LOG_STATUS,
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "query_string": b"",
    }

    async def post() -> int:
        response = await pages.respond(scope)
        assert response is not None
        assert response.status_code == 200 or response.headers["retry-after"] == "1"
        return response.status_code

    with caplog.at_level(logging.INFO, "phase1"):
        assert [await post(), await post()] == [200, 429]
        clock.now += 0.99
        assert await post() == 429
        clock.now += 0.02
        assert [await post(), await post()] == [200, 429]
    assert len(caplog.records) == 2


async def test_catch_all_route_cannot_hide_a_page() -> None:
    """They are served before the app's routing; everything else still reaches the app."""
    app, _ = bench_app()
    async with browser(app) as http:
        assert (await http.get(DEBUG)).status_code == 200
        assert (await http.get(DEBUG + "/")).text == "the app's own"
        assert (await http.get("/debug")).text == "the app's own"


async def test_page_is_found_below_a_root_path() -> None:
    """Behind `--root-path /api` the path that the server hands on begins with it."""

    async def own(request: Request) -> PlainTextResponse:
        return PlainTextResponse("own")

    bench = Bench()
    app = mount(Starlette(routes=[Route("/{path:path}", own)]), bench.manager)
    outer = Starlette(routes=[Mount("/api", app)])
    async with browser(outer) as http:
        assert (await http.get("/api" + DEBUG)).json()["schema"] == "phase1.llm-system/v1"
        assert (await http.get("/api/other")).text == "own"
        assert (await http.get(DEBUG)).status_code == 404


# -- the live page


BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ("", BROWSERS, "text/html"),
        ("", "text/html", "text/html"),
        ("", "application/json;q=0.5, text/html;q=0.5", "text/html"),
        ("", "*/*", "application/json"),
        ("", "", "application/json"),
        ("", "application/json", "application/json"),
        ("", "application/json, text/html;q=0.9", "application/json"),
        ("", "text/html;q=0, application/json", "application/json"),
        ("", "text/html;q=0.1, */*", "application/json"),
        ("", "text/html;q=nonsense", "application/json"),
        ("", "text/plain;version=0.0.4", "application/json"),
        ("?format=html", "*/*", "text/html"),
        ("?format=json", BROWSERS, "application/json"),
    ],
)
async def test_debug_page_is_html_for_those_who_name_it(query: str, accept: str, expected: str) -> None:
    """Browsers do; curl, fetch and Prometheus get JSON; `?format=` wins."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.get(DEBUG + query, headers={"accept": accept})
    assert response.headers["content-type"].startswith(expected)
    assert response.headers["vary"] == "accept"


@pytest.mark.parametrize(("path", "allowed"), [(DEBUG, "json, html"), (METRICS, "json, prometheus")])
async def test_unknown_format_is_an_error_that_says_what_is_allowed(path: str, allowed: str) -> None:
    """Not a silent default."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.get(path + "?format=xml")
    assert (response.status_code, response.text) == (400, f"format: must be one of {allowed}\n")


async def test_page_is_one_file_under_a_policy_of_its_own() -> None:
    """A new nonce each time; nothing is fetched from anybody else; no markup is left to fill in."""
    app, _ = bench_app()
    async with browser(app) as http:
        first, second = [await http.get(DEBUG, headers={"accept": BROWSERS}) for _ in range(2)]
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)
    assert nonce is not None
    assert policy.startswith("default-src 'none'")
    assert first.text.count(f'nonce="{nonce[1]}"') == 2
    assert nonce[1] not in second.text
    assert not re.search(r"%(nonce|page\.css|page\.js)%", first.text)
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", first.text)
    assert first.headers["x-frame-options"] == "DENY"


# -- the flight recorder


async def test_recorder_lists_calls_and_shows_one() -> None:
    """Newest first, as many as are asked for."""
    app, bench = bench_app(legacy=SyncLegacy())
    async with bench.manager, browser(app) as http:
        for _ in range(3):
            await http.get("/ask")
        listed = (await http.get(DEBUG + "/requests?limit=2")).json()["requests"]
        shown = (await http.get(f"{DEBUG}/requests/{listed[0]['id']}")).json()
    assert len(listed) == 2
    assert shown == listed[0]
    assert shown["attempts"][0]["node"] == "default"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "9" * 5000, "1.5"])
async def test_limit_that_is_none_is_an_error(limit: str) -> None:
    """With what is allowed, and without an echo of all of it."""
    app, _ = bench_app()
    async with browser(app) as http:
        response = await http.get(DEBUG + "/requests", params={"limit": limit})
    assert response.status_code == 400
    assert "must be one whole number between 1 and 1000" in response.text
    assert len(response.text) < 120


# -- scrapes


async def test_scrapes_at_the_same_time_share_one_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten Prometheis cost one; and the loop goes on meanwhile."""
    started, let_go, renderings = threading.Event(), threading.Event(), []

    def slow(numbers: object, accept: str) -> tuple[bytes, str]:
        renderings.append(threading.current_thread())
        started.set()
        assert let_go.wait(10)
        return b"text", "text/plain"

    monkeypatch.setattr("phase1.asgi.answers.render", slow)
    app, _ = bench_app()
    async with browser(app) as http:
        asking = [asyncio.ensure_future(http.get(METRICS)) for _ in range(10)]
        async with asyncio.timeout(10):
            while not started.is_set():  # noqa: ASYNC110 - the thread has no loop to tell
                await asyncio.sleep(0)
        assert (await http.get("/elsewhere")).status_code == 404
        asking[0].cancel()
        let_go.set()
        answers = await asyncio.gather(*asking[1:])
    assert [answer.text for answer in answers] == ["text"] * 9
    assert len(renderings) == 1
    assert renderings[0] is not threading.main_thread()
