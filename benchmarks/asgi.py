"""What does phase1 add to one request of an app? An app without it and with it, in one process, without sockets.

Blocks of requests alternate between the two; each request is a task of its own, as under a server. The figure is the
difference of the CPU times of two neighbouring blocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asgi_lifespan import LifespanManager
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import phase1
from benchmarks.clients.base import KEY, WrongAnswer
from benchmarks.observing import observing
from phase1.lab.mock.bodies import ANSWER, MESSAGES, MODEL

__all__ = ["overhead"]

_App = Callable[[Any, Any, Any], Awaitable[None]]
_SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"localhost"), (b"user-agent", b"benchmark"), (b"authorization", b"Bearer of-a-user")],
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
}


class LegacyClient:
    """The app's client, without an upstream: what it does itself is not phase1's."""

    async def generate_response_async(self, messages: object) -> str:  # noqa: ARG002
        """The answer."""
        return ANSWER


async def overhead(*, rounds: int, requests: int = 400) -> dict[str, list[dict[str, float]]]:
    """Per way of using phase1, and per round: microseconds of CPU per request, without, with, and added."""
    return {
        "legacy": await _compare(_legacy_app(pooled=False), _legacy_app(pooled=True), rounds, requests),
        "pool": await _compare(_fastapi_app(), _fastapi_pooled(), rounds, requests),
        "observing": observing(rounds=rounds),
        "pool-starlette": await _compare(_starlette_app(pooled=False), _starlette_app(pooled=True), rounds, requests),
    }


def _settings(**chosen: object) -> phase1.Settings:
    return phase1.Settings.load(
        llm_model=MODEL, openai_api_key=KEY, openai_base_url="http://127.0.0.1:9/v1", llm_strict_start=True, **chosen
    )


def _legacy_app(*, pooled: bool) -> Starlette:
    """`ENABLE_LLM_POOL=false`: the facade hands each call to the app's own client."""
    legacy = LegacyClient()

    async def plain(request: Request) -> Response:  # noqa: ARG001
        return PlainTextResponse(await legacy.generate_response_async(MESSAGES))

    async def through_facade(request: Request) -> Response:
        return PlainTextResponse(await phase1.get_llm(request).generate_response_async(MESSAGES))

    app = Starlette(routes=[Route("/", through_facade if pooled else plain)])
    if pooled:
        phase1.install(app, legacy, _settings(enable_llm_pool=False))
    return app


def _fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def plain() -> Response:
        return PlainTextResponse("pool")

    return app


def _fastapi_pooled() -> FastAPI:
    app = FastAPI()

    async def selected(llm: Any) -> Response:  # noqa: ANN401 - `phase1.LLM`, said below where FastAPI reads it
        return PlainTextResponse(llm.route)

    selected.__annotations__["llm"] = phase1.LLM
    app.get("/")(selected)
    phase1.install(app, None, _settings(enable_llm_pool=True))
    return app


def _starlette_app(*, pooled: bool) -> Starlette:
    async def plain(request: Request) -> Response:  # noqa: ARG001
        return PlainTextResponse("pool")

    async def selected(request: Request) -> Response:
        return PlainTextResponse(phase1.get_llm(request).route)

    app = Starlette(routes=[Route("/", selected if pooled else plain)])
    if pooled:
        phase1.install(app, None, _settings(enable_llm_pool=True))
    return app


async def _compare(plain: Starlette, pooled: Starlette, rounds: int, requests: int) -> list[dict[str, float]]:
    async with LifespanManager(plain), LifespanManager(pooled):
        for app in (plain, pooled, plain, pooled):  # what is cached at first use
            await _cpu_us(app, requests)
        figures = []
        for _ in range(rounds):
            without, with_it = await _cpu_us(plain, requests), await _cpu_us(pooled, requests)
            figures.append({"without_us": without, "with_us": with_it, "added_us": with_it - without})
    return figures


async def _cpu_us(app: _App, requests: int) -> float:
    started = time.process_time()
    for _ in range(requests):
        await asyncio.create_task(_one(app))
    return (time.process_time() - started) / requests * 1e6


async def _one(app: _App) -> None:
    exchange = Exchange()
    await app({**_SCOPE, "state": {}}, exchange.receive, exchange.send)
    if exchange.status != 200:  # noqa: PLR2004 - OK
        raise WrongAnswer(f"the app answered {exchange.status}")


@dataclass(slots=True)
class Exchange:
    """A server's side of one request without a body."""

    status: int = 0

    async def receive(self) -> dict[str, object]:
        """The whole request."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        """Note the status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
