"""Does phase1 share an app's lifespan without taking part in its fate?"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import phase1
from phase1.asgi.install import installed
from phase1.asgi.middleware import Phase1Middleware
from phase1.engine.transport import Transport
from phase1.exceptions import ConfigurationError
from tests.asgi.web import ask, browser, mount, run_lifespan
from tests.doors.bench import Bench, SyncLegacy, Upstream, settings

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[dict[str, str] | None]]
Words = list[str]


async def state(request: Request) -> Response:
    """What the lifespan has yielded."""
    return JSONResponse(request.state._state)


ROUTES = [Route("/ask", ask), Route("/state", state)]


def noting(words: Words) -> Lifespan:
    """An app's own lifespan that writes down what happens, and whether a pool was there."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        manager = installed(app)
        words.append(f"up, pool {manager is not None and manager.initialized}")
        yield {"database": "connected"}
        words.append(f"down, pool {manager is not None and manager.initialized}")

    return lifespan


@contextlib.asynccontextmanager
async def failing(app: Starlette) -> AsyncIterator[None]:
    """An app that cannot start."""
    raise RuntimeError("no database")
    yield


def broken_transport(connections: int, connect_timeout: float) -> Transport:
    """An HTTP library that does not like its surroundings."""
    raise OSError("certificate file is missing")


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_lifespan_composes_with_the_apps_own(kind: type[Starlette]) -> None:
    """Pool up, the app up, its state as it was, requests to the pool, the app down, pool down."""
    words: Words = []
    app = kind(routes=list(ROUTES), lifespan=phase1.lifespan(noting(words), settings=settings()))
    async with LifespanManager(app) as live, browser(live.app) as http:
        assert words == ["up, pool True"]
        assert (await http.get("/state")).json() == {"database": "connected"}
        assert (await http.get("/debug/llm-system")).json()["pool"]["open"] is True
    assert words == ["up, pool True", "down, pool True"]
    manager = installed(app)
    assert manager is not None
    assert not manager.initialized


async def test_lifespan_alone_is_enough() -> None:
    """An app without a lifespan of its own; the legacy client and the key come along."""
    legacy = SyncLegacy()
    options = settings(force_legacy_llm=True)
    app = Starlette(
        routes=list(ROUTES), lifespan=phase1.lifespan(legacy=lambda: legacy, settings=options, user_key=lambda _: "k")
    )
    async with LifespanManager(app), browser(app) as http:
        answer = (await http.get("/ask")).json()
        assert (answer["text"], answer["key"]) == ("from legacy", "k")
        assert (await http.get("/state")).json() == {}


async def test_lifespan_runs_again() -> None:
    """A second start of the same app has a pool again, on the same manager."""
    words: Words = []
    app = Starlette(routes=list(ROUTES), lifespan=phase1.lifespan(noting(words), settings=settings()))
    managers = set()
    for _ in range(2):
        async with LifespanManager(app), browser(app) as http:
            assert (await http.get("/debug/llm-system")).json()["pool"]["open"] is True
            managers.add(installed(app))
    assert len(managers) == 1
    assert words == ["up, pool True", "down, pool True"] * 2


async def test_lifespan_after_install_changes_nothing() -> None:
    """The manager of `install` is used and closed once."""
    words: Words = []
    app = Starlette(routes=list(ROUTES), lifespan=phase1.lifespan(noting(words)))
    manager = phase1.install(app, settings=settings())
    upstream = Upstream()
    manager._transport = upstream.transport
    async with LifespanManager(app), browser(app) as http:
        assert (await http.get("/ask")).json()["text"] == "from the pool"
    assert installed(app) is manager
    assert words == ["up, pool True", "down, pool True"]
    assert len(upstream.transports) == 5
    assert all(transport.closed for transport in upstream.transports)


@pytest.mark.parametrize("way", ["install", "middleware", "lifespan"])
async def test_app_that_cannot_start_takes_the_pool_down(way: str) -> None:
    """The app's own error reaches the server, and no connection stays open."""
    bench = Bench()
    app = Starlette(lifespan=phase1.lifespan(failing) if way == "lifespan" else failing)
    if way == "middleware":
        app.add_middleware(Phase1Middleware, manager=bench.manager)
    else:
        mount(app, bench.manager)
    said, raised = await run_lifespan(app)
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert "no database" in said[0]["message"]
    assert isinstance(raised, RuntimeError)
    assert len(bench.upstream.transports) == 5
    assert all(transport.closed for transport in bench.upstream.transports)


async def test_failing_app_takes_down_the_pool_that_lifespan_has_made() -> None:
    """Also where `phase1.lifespan` is all there is."""
    app = Starlette(lifespan=phase1.lifespan(failing, settings=settings()))
    _, raised = await run_lifespan(app)
    manager = installed(app)
    assert isinstance(raised, RuntimeError)
    assert manager is not None
    assert not manager.initialized


@pytest.mark.parametrize("way", ["install", "middleware", "lifespan"])
async def test_pool_that_cannot_start_leaves_the_app_on_legacy(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """The app's own start happens all the same, legacy answers, and the log and the page say why."""
    words: Words = []
    legacy = SyncLegacy()
    manager = phase1.LLMManager(settings(), legacy, transport=broken_transport)
    lifespan = noting(words)
    app = Starlette(routes=list(ROUTES), lifespan=phase1.lifespan(lifespan) if way == "lifespan" else lifespan)
    if way == "middleware":
        app.add_middleware(Phase1Middleware, manager=manager)
    else:
        mount(app, manager)
    async with LifespanManager(app), browser(app) as http:
        answer = (await http.get("/ask")).json()
        status = (await http.get("/debug/llm-system")).json()
    assert len(words) == 2
    assert (answer["text"], answer["reason"]) == ("from legacy", "error")
    assert status["problem"] == "the pool cannot start (OSError: certificate file is missing)"
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [status["problem"] + "; the app runs on the legacy client"]


async def test_pool_that_cannot_start_is_noticed_by_the_first_request() -> None:
    """With `--lifespan off` nothing is started before."""
    manager = phase1.LLMManager(settings(), SyncLegacy(), transport=broken_transport)
    app = mount(Starlette(routes=list(ROUTES)), manager)
    async with browser(app) as http:
        assert [(await http.get("/ask")).json()["text"] for _ in range(2)] == ["from legacy"] * 2
    assert manager.problem is not None


@pytest.mark.parametrize("way", ["install", "middleware", "lifespan"])
async def test_pool_that_cannot_start_stops_a_strict_app(way: str) -> None:
    """`LLM_STRICT_START=true`: the server is told so in the lifespan's words, before the app's own start."""
    words: Words = []
    manager = phase1.LLMManager(settings(llm_strict_start=True), transport=broken_transport)
    app = Starlette(lifespan=phase1.lifespan(noting(words)) if way == "lifespan" else noting(words))
    if way == "middleware":
        app.add_middleware(Phase1Middleware, manager=manager)
    else:
        mount(app, manager)
    said, raised = await run_lifespan(app)
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert "certificate file is missing" in said[0]["message"]
    assert isinstance(raised, ConfigurationError)
    assert words == []


async def test_app_without_a_lifespan_keeps_its_pool() -> None:
    """A raw ASGI app that knows only `http` raises; the server serves it all the same, and so does the pool."""

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        text = await scope["phase1"].client.generate_response_async([{"role": "user", "content": "x"}])
        await Response(text)(scope, receive, send)

    bench = Bench()
    app = Phase1Middleware(raw, manager=bench.manager)
    said, raised = await run_lifespan(app)
    assert said == []
    assert isinstance(raised, AssertionError)
    async with browser(app) as http:
        assert (await http.get("/")).text == "from the pool"
    await bench.manager.aclose()


async def test_other_scopes_are_forwarded_untouched() -> None:
    """Whatever a server invents."""
    seen: list[Scope] = []

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {"type": "telepathy"}
    await Phase1Middleware(raw, manager=Bench().manager)(scope, None, None)
    assert seen == [{"type": "telepathy"}]
    assert seen[0] is scope


async def test_pages_are_served_around_a_raw_app() -> None:
    """`Phase1Middleware` needs no framework."""

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("own")(scope, receive, send)

    bench = Bench()
    async with browser(Phase1Middleware(raw, manager=bench.manager)) as http:
        assert (await http.get("/debug/llm-system")).json()["schema"] == "phase1.llm-system/v1"
        assert (await http.get("/anything")).text == "own"
