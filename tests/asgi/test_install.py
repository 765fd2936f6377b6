"""Does one line put phase1 into every kind of app, once, and take nothing away from it?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from asgi_lifespan import LifespanManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import phase1
from phase1.asgi.install import installed
from phase1.asgi.middleware import Phase1Middleware
from tests.asgi.kinds import KINDS, WITH_HOOKS, Hook
from tests.asgi.web import ask, browser
from tests.doors.bench import SyncLegacy, Upstream, settings

Build = Callable[[Hook], Starlette]
Put = Callable[[Starlette, Upstream], phase1.LLMManager]


def nothing(_: str) -> None:
    """A hook of an app that does nothing."""


def behind(manager: phase1.LLMManager, upstream: Upstream) -> phase1.LLMManager:
    """Let `manager` build its pool on `upstream`."""
    manager._transport = upstream.transport
    return manager


def install(app: Starlette, upstream: Upstream) -> phase1.LLMManager:
    """The usual way."""
    return behind(phase1.install(app, settings=settings()), upstream)


def add_middleware(app: Starlette, upstream: Upstream) -> phase1.LLMManager:
    """The middleware alone."""
    manager = phase1.LLMManager(settings(), transport=upstream.transport)
    app.add_middleware(Phase1Middleware, manager=manager)
    return manager


@pytest.mark.parametrize("put", [install, add_middleware])
@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)
async def test_every_kind_of_app_asks_the_pool(build: Build, put: Put) -> None:
    """FastAPI with a lifespan, with `on_event`, bare; plain Starlette: the pool answers, and is closed at the end."""
    app, upstream = build(nothing), Upstream()
    manager = put(app, upstream)
    async with LifespanManager(app), browser(app) as http:
        assert (await http.get("/ask")).json()["text"] == "from the pool"
        assert manager.initialized
        assert not any(transport.closed for transport in upstream.transports)
    assert len(upstream.transports) == manager.settings.llm_pool_size
    assert all(transport.closed for transport in upstream.transports)
    assert not manager.initialized


@pytest.mark.parametrize("put", [install, add_middleware])
@pytest.mark.parametrize("build", WITH_HOOKS.values(), ids=WITH_HOOKS)
async def test_pool_is_up_first_and_down_last(build: Build, put: Put) -> None:
    """Pool up → the app's own start → serve → the app's own end → pool down: the app's hooks may use the pool."""
    seen: list[tuple[str, bool, bool]] = []

    def hook(when: str) -> None:
        transports = upstream.transports
        seen.append((when, manager.initialized, bool(transports) and not any(t.closed for t in transports)))

    app, upstream = build(hook), Upstream()
    manager = put(app, upstream)
    async with LifespanManager(app), browser(app) as http:
        assert seen == [("up", True, True)]
        assert (await http.get("/ask")).status_code == 200
    assert seen == [("up", True, True), ("down", True, True)]
    assert all(transport.closed for transport in upstream.transports)


@pytest.mark.parametrize("put", [install, add_middleware])
async def test_state_of_the_apps_lifespan_is_unchanged(put: Put) -> None:
    """`request.state` has what the app's lifespan yielded, and nothing more."""

    async def state(request: Request) -> Response:
        return JSONResponse(request.state._state)

    app = WITH_HOOKS["starlette lifespan"](nothing)
    app.router.routes.append(Route("/state", state))
    put(app, Upstream())
    async with LifespanManager(app) as live, browser(live.app) as http:
        assert (await http.get("/state")).json() == {"database": "connected"}


def test_second_install_is_the_first_one() -> None:
    """The same manager, and the app is wrapped once; the second call's arguments are not looked at."""
    app = Starlette()
    first = phase1.install(app, settings=settings())
    wrapped = app.router.middleware_stack
    assert phase1.install(app, legacy=SyncLegacy(), settings=settings(llm_pool_size=1)) is first
    assert app.router.middleware_stack is wrapped
    assert installed(app) is first


def test_app_without_phase1_has_no_manager() -> None:
    """And looking for one changes nothing."""
    app = Starlette()
    before = app.router.middleware_stack
    assert installed(app) is None
    assert app.router.middleware_stack == before


@pytest.mark.parametrize("order", ["install first", "middleware first"])
async def test_install_and_add_middleware_are_once(order: str) -> None:
    """The manager that `install` has given away is the one at work: the app may hold it. The other one does nothing."""
    app, used, unused = WITH_HOOKS["starlette lifespan"](nothing), Upstream(), Upstream()
    if order == "install first":
        manager, other = install(app, used), add_middleware(app, unused)
    else:
        other, manager = add_middleware(app, unused), install(app, used)
    async with LifespanManager(app), browser(app) as http:
        assert (await http.get("/ask")).json()["text"] == "from the pool"
        assert (await http.get("/debug/llm-system")).json()["metrics"]["calls"] == {"ok": 1}
        assert manager.tally.calls == {"ok": 1}
    assert (unused.transports, other.tally.routes) == ([], {})
    assert all(transport.closed for transport in used.transports)


async def test_middleware_added_twice_is_once() -> None:
    """The outermost one is at work."""
    app, used, unused = Starlette(routes=[Route("/ask", ask)]), Upstream(), Upstream()
    inner = add_middleware(app, unused)
    outer = add_middleware(app, used)
    async with LifespanManager(app), browser(app) as http:
        await http.get("/ask")
    assert (outer.tally.calls, inner.tally.calls) == ({"ok": 1}, {})
    assert unused.transports == []


async def test_middleware_around_the_whole_app_and_inside_is_once() -> None:
    """`Phase1Middleware(app)` by hand stands outside of everything."""
    app, used, unused = Starlette(routes=[Route("/ask", ask)]), Upstream(), Upstream()
    inner = add_middleware(app, unused)
    manager = phase1.LLMManager(settings(), transport=used.transport)
    wrapped = Phase1Middleware(app, manager=manager)
    async with LifespanManager(wrapped), browser(wrapped) as http:
        await http.get("/ask")
    assert (manager.tally.calls, inner.tally.calls) == ({"ok": 1}, {})
    assert unused.transports == []
    assert all(transport.closed for transport in used.transports)


async def test_two_apps_of_one_process_keep_apart() -> None:
    """Own manager, own pool, own numbers; the end of one is not the end of the other."""
    one, other = KINDS["fastapi"](nothing), KINDS["starlette"](nothing)
    up_one, up_other = Upstream(), Upstream()
    manager_one, manager_other = install(one, up_one), install(other, up_other)
    async with LifespanManager(other), browser(other) as http_other:
        async with LifespanManager(one), browser(one) as http_one:
            await asyncio.gather(http_one.get("/ask"), http_other.get("/ask"), http_other.get("/ask"))
        assert all(transport.closed for transport in up_one.transports)
        assert (await http_other.get("/ask")).json()["text"] == "from the pool"
    assert (len(up_one.requests), len(up_other.requests)) == (1, 3)
    assert (manager_one.tally.calls, manager_other.tally.calls) == ({"ok": 1}, {"ok": 3})


async def test_mounted_app_with_its_own_phase1_keeps_its_own() -> None:
    """Each answers with its own pool; the mounted one starts with its first request, for nobody tells it to."""
    inner, outer = KINDS["fastapi"](nothing), KINDS["starlette"](nothing)
    up_inner, up_outer = Upstream(), Upstream()
    manager_inner, manager_outer = install(inner, up_inner), install(outer, up_outer)
    outer.router.routes.append(Mount("/sub", inner))
    async with LifespanManager(outer), browser(outer) as http:
        assert up_inner.transports == []
        for path in ("/sub/ask", "/ask"):
            assert (await http.get(path)).json()["text"] == "from the pool"
        page = (await http.get("/sub/debug/llm-system")).json()
        assert page["metrics"]["calls"] == manager_inner.tally.calls == {"ok": 1}
    assert (len(up_inner.requests), len(up_outer.requests)) == (1, 1)
    assert manager_outer.tally.calls == {"ok": 1}
    await manager_inner.aclose()


async def test_mounted_app_without_phase1_uses_the_outer_one() -> None:
    """One installation serves everything below."""
    outer, upstream = KINDS["fastapi"](nothing), Upstream()
    install(outer, upstream)
    outer.mount("/sub", KINDS["starlette"](nothing))
    async with LifespanManager(outer), browser(outer) as http:
        assert (await http.get("/sub/ask")).json()["text"] == "from the pool"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("app", [ask, object(), None, phase1.Phase1Middleware(ask)])
def test_another_kind_of_app_is_a_type_error(app: object) -> None:
    """It says what it got, and what to use instead."""
    with pytest.raises(TypeError, match=f"not {type(app).__name__}: use phase1.Phase1Middleware"):
        phase1.install(app)


async def test_install_works_after_the_app_has_started() -> None:
    """Where `add_middleware` would raise: the next request goes through phase1."""
    app = KINDS["starlette"](nothing)
    async with LifespanManager(app), browser(app) as http:
        assert (await http.get("/debug/llm-system")).status_code == 404
        upstream = Upstream()
        manager = install(app, upstream)
        assert (await http.get("/ask")).json()["text"] == "from the pool"
        assert (await http.get("/debug/llm-system")).status_code == 200
    await manager.aclose()


async def test_hundred_first_requests_build_one_pool() -> None:
    """All at once, before anything has started: one manager, one set of clients, one answer each."""
    app, upstream = KINDS["starlette"](nothing), Upstream()
    manager = install(app, upstream)
    upstream.gate.clear()
    async with browser(app) as http:
        calls = [asyncio.ensure_future(http.get("/ask")) for _ in range(100)]
        await upstream.seen(100)
        upstream.gate.set()
        answers = [(await call).json()["text"] for call in calls]
    assert answers == ["from the pool"] * 100
    assert len(upstream.transports) == manager.settings.llm_pool_size
    await manager.aclose()


async def test_off_changes_no_answer_and_opens_nothing() -> None:
    """With the toggle off the app has its legacy client, its own 404s and no connection of ours."""
    app, upstream, legacy = KINDS["starlette"](nothing), Upstream(), SyncLegacy()
    manager = behind(phase1.install(app, legacy, settings(enable_llm_pool=False)), upstream)
    async with LifespanManager(app), browser(app) as http:
        answer = (await http.get("/ask")).json()
        assert (answer["text"], answer["route"], answer["reason"]) == ("from legacy", "legacy", "disabled")
        assert (await http.get("/missing")).text == "Not Found"
    assert upstream.transports == []
    assert manager.status()["mode"] == "legacy_mode"
