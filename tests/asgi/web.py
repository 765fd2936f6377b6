"""How do the tests reach an app? Over ASGI in this process, as whoever they want to be."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

import phase1
from phase1.asgi.middleware import Phase1Middleware
from phase1.doors.manager import LLMManager
from tests.doors.bench import BOUND, HELLO, Answer, Bench

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "install httpx2": with openai 1 and 2 there is only httpx
    from starlette.testclient import TestClient

__all__ = ["LOCAL", "REMOTE", "TestClient", "ask", "bench_app", "browser", "mount", "run_lifespan"]

LOCAL = ("127.0.0.1", 50_000)
REMOTE = ("203.0.113.9", 50_000)


def browser(
    app: ASGIApp, *, client: tuple[str, int] | None = LOCAL, host: str = "localhost", raises: bool = True
) -> httpx.AsyncClient:
    """A client of `app`: who connects from where, and which Host it names."""
    transport = httpx.ASGITransport(app, client=client, raise_app_exceptions=raises)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", timeout=BOUND)


async def ask(request: Request) -> Response:
    """An endpoint that asks once and tells which way it went."""
    llm = phase1.get_llm(request)
    text = await llm.generate_response_async(HELLO)
    return JSONResponse({"text": text, "route": llm.route, "reason": llm.reason, "key": llm.key})


async def _anything(request: Request) -> Response:
    return PlainTextResponse("the app's own", status_code=404)


def mount(app: Starlette, manager: LLMManager) -> Starlette:
    """What `install` does, with a manager made beforehand."""
    app.router.middleware_stack = Phase1Middleware(app.router.middleware_stack, manager=manager)
    return app


def bench_app(
    *answers: Callable[[], Answer], legacy: object | Callable[[], object] | None = None, **overrides: object
) -> tuple[Starlette, Bench]:
    """A Starlette app with `/ask` and a catch-all route, on a bench."""
    bench = Bench(*answers, legacy=legacy, **overrides)
    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    routes = [Route("/ask", ask), Route("/{path:path}", _anything, methods=methods)]
    return mount(Starlette(routes=routes), bench.manager), bench


async def run_lifespan(app: ASGIApp) -> tuple[list[Message], BaseException | None]:
    """What a server hears from `app` between startup and shutdown, and what it raises."""
    incoming = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    said: list[Message] = []

    async def receive() -> Message:
        return incoming.pop()

    async def send(message: Message) -> None:
        said.append(message)

    try:
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    except BaseException as exc:  # noqa: BLE001 - it is looked at
        return said, exc
    return said, None
