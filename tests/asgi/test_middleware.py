"""Is the context of a request there wherever the app looks for it?"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import phase1
from phase1.asgi.middleware import Phase1Middleware
from phase1.doors.unit import current_unit
from phase1.policy.canary import Canary
from tests.asgi.web import TestClient, ask, browser, mount
from tests.doors.bench import HELLO, Bench, SyncLegacy

Next = Callable[[Request], Awaitable[Response]]


class Logging(BaseHTTPMiddleware):
    """What many apps have: it runs the rest of the app in another task."""

    async def dispatch(self, request: Request, call_next: Next) -> Response:
        response = await call_next(request)
        response.headers["x-logged"] = "yes"
        return response


async def sync_in_async(request: Request) -> Response:
    """The seeds' endpoint: a synchronous call in a coroutine."""
    return JSONResponse({"text": phase1.get_llm(request).generate_response(HELLO)})


ROUTES = [Route("/ask", ask), Route("/sync", sync_in_async)]


@pytest.mark.parametrize("way", ["install", "middleware inside", "middleware outside"])
async def test_context_survives_a_base_http_middleware(way: str) -> None:
    """Inside or outside of it, and the app's middleware does its work on our route too."""
    bench = Bench()
    app = Starlette(routes=list(ROUTES))
    if way == "middleware inside":
        app.add_middleware(Phase1Middleware, manager=bench.manager)
    app.add_middleware(Logging)
    if way == "middleware outside":
        app.add_middleware(Phase1Middleware, manager=bench.manager)
    if way == "install":
        mount(app, bench.manager)
    async with bench.manager, browser(app) as http:
        response = await http.get("/ask")
        assert response.json()["text"] == "from the pool"
        assert response.headers["x-logged"] == "yes"


@pytest.mark.parametrize("around", [True, False], ids=["inside BaseHTTPMiddleware", "alone"])
async def test_install_puts_the_portal_next_to_the_endpoint(around: bool) -> None:  # noqa: FBT001
    """A synchronous call in a coroutine reaches the pool although the app's middleware has changed the task."""
    bench = Bench(legacy=SyncLegacy())
    app = mount(Starlette(routes=list(ROUTES)), bench.manager)
    if around:
        app.add_middleware(Logging)
    async with bench.manager, browser(app) as http:
        assert (await http.get("/sync")).json()["text"] == "from the pool"


async def test_portal_is_not_opened_while_the_pool_is_off() -> None:
    """Off, the synchronous call goes to the legacy client, on the loop's thread, as before."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy, enable_llm_pool=False)
    app = mount(Starlette(routes=list(ROUTES)), bench.manager)
    async with browser(app) as http:
        assert (await http.get("/sync")).json()["text"] == "from legacy"
    assert [thread.name for thread in legacy.threads] == ["MainThread"]


def test_websocket_endpoint_has_its_client() -> None:
    """`get_llm(websocket)`; several answers on one connection take one route."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        llm = phase1.get_llm(websocket)
        for _ in range(2):
            await websocket.receive_text()
            await websocket.send_json([await llm.generate_response_async(HELLO), llm.route, llm.key])
        await websocket.close()

    bench = Bench(llm_canary_key="header:X-User", legacy=SyncLegacy())
    app = mount(Starlette(routes=[WebSocketRoute("/ws", endpoint)]), bench.manager)
    with TestClient(app) as client, client.websocket_connect("/ws", headers={"x-user": "alice"}) as socket:
        socket.send_text("one")
        assert socket.receive_json() == ["from the pool", "pool", "alice"]
        bench.manager.canary = Canary(0)
        socket.send_text("two")
        assert socket.receive_json() == ["from the pool", "pool", "alice"]


def test_our_pages_are_no_websockets() -> None:
    """A websocket of that path is the app's."""

    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("the app's own")
        await websocket.close()

    app = mount(Starlette(routes=[WebSocketRoute("/debug/llm-system", endpoint)]), Bench().manager)
    with TestClient(app).websocket_connect("/debug/llm-system") as socket:
        assert socket.receive_text() == "the app's own"


async def test_client_works_in_a_background_task_of_the_response() -> None:
    """It runs after the answer has been sent, inside the same request."""
    texts: list[str] = []

    async def endpoint(request: Request) -> Response:
        llm = phase1.get_llm(request)

        async def later() -> None:
            texts.append(await llm.generate_response_async(HELLO))

        return Response("sent", background=BackgroundTask(later))

    bench = Bench()
    app = mount(Starlette(routes=[Route("/", endpoint)]), bench.manager)
    async with bench.manager, browser(app) as http:
        assert (await http.get("/")).text == "sent"
    assert texts == ["from the pool"]


async def test_unit_of_a_request_ends_with_it() -> None:
    """Nothing of one request is left for the next one, also when the endpoint raises."""

    async def endpoint(request: Request) -> Response:
        assert current_unit.get() is request.scope["phase1"].unit
        raise RuntimeError("the app's own")

    app = mount(Starlette(routes=[Route("/", endpoint)]), Bench().manager)
    async with browser(app) as http:
        with pytest.raises(RuntimeError, match="the app's own"):
            await http.get("/")
    assert current_unit.get() is None


async def test_requests_at_the_same_time_have_their_own_clients() -> None:
    """No state of a request is on the middleware."""
    bench = Bench(llm_canary_key="header:X-User")
    app = mount(Starlette(routes=list(ROUTES)), bench.manager)
    bench.upstream.gate.clear()
    async with bench.manager, browser(app) as http:
        calls = [asyncio.ensure_future(http.get("/ask", headers={"x-user": f"u{n}"})) for n in range(20)]
        await bench.upstream.seen(20)
        bench.upstream.gate.set()
        assert [(await call).json()["key"] for call in calls] == [f"u{n}" for n in range(20)]


async def test_context_of_a_request_is_freed_with_it() -> None:
    """Fifty requests leave no fifty units behind."""
    from phase1.doors.unit import Unit

    def units() -> int:
        gc.collect()
        return sum(type(thing) is Unit for thing in gc.get_objects())

    before = units()
    bench = Bench()
    app = mount(Starlette(routes=list(ROUTES)), bench.manager)
    async with bench.manager, browser(app) as http:
        for _ in range(50):
            await http.get("/ask")
    assert units() <= before + 1  # Python remembers the value that a context variable had last
