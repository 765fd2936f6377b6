"""How does a client see it? An app with offload on a real uvicorn in the test's own loop, and a reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import phase1
from phase1.offload.config import Config
from phase1.offload.hooks import Hooks
from phase1.offload.layer import OffloadLayer
from phase1.offload.service import Offload
from phase1.settings import Settings

from .model import Model
from .stores import TIMES, config_of

__all__ = ["HOME", "Event", "Site", "Told", "app_of", "read", "serving", "site", "user_of"]

HOME = "/api/async"
BOUND = 20.0


async def _own(request: Request) -> Response:
    return PlainTextResponse("the app's own")


def user_of(request: Request) -> str | None:
    """Whose request it is, in these apps."""
    return request.headers.get("x-user")


def app_of(model: Model, config: Config | None = None, *, hooks: Hooks | None = None, **settings: object) -> Starlette:
    """An app with offload, whose times are short."""
    given = {
        "enable_llm_pool": True,
        "openai_api_key": "sk-of-the-app",
        "openai_base_url": model.url,
        "openai_max_retries": 0,
        "llm_pool_size": 1,
        "llm_model": "m",
    }
    app = Starlette(routes=[Route("/{path:path}", _own)])
    phase1.install(app, settings=Settings.load(**(given | settings)), offload=hooks or Hooks(user=user_of))
    layer = app.router.middleware_stack.app
    assert isinstance(layer, OffloadLayer)
    if config is not None:
        layer.offload = Offload(layer.offload.manager, hooks or Hooks(user=user_of), config)
    return app


def offload_of(app: Starlette) -> Offload:
    """What the app holds."""
    found: Offload = app.router.middleware_stack.app.offload
    return found


@dataclass
class Event:
    """One SSE event as it came."""

    type: str
    id: str
    data: Any


@dataclass
class Told:
    """What one connection said."""

    events: list[Event] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def task(self) -> str:
        """The task's id."""
        return self.headers["x-task-id"]

    @property
    def types(self) -> list[str]:
        """The kinds of events, repetitions once."""
        kinds: list[str] = []
        for event in self.events:
            if not kinds or kinds[-1] != event.type:
                kinds.append(event.type)
        return [kind.removeprefix("response.") for kind in kinds]

    @property
    def cursor(self) -> str:
        """Where to resume."""
        return next((event.id for event in reversed(self.events) if event.id), "0-0")

    def take(self, event: Event) -> None:
        """One more."""
        self.events.append(event)
        if event.type == "response.reset":
            self.text = ""
        elif event.type == "response.output_text.delta":
            self.text += event.data["delta"]


async def read(response: httpx.Response, told: Told | None = None, *, events: int | None = None) -> Told:
    """Read a stream to its end, or so many events of it."""
    told = told or Told()
    told.headers = dict(response.headers)
    kind = cursor = data = ""
    count = 0
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("id: "):
            cursor = line[4:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line and data:
            told.take(Event(kind, cursor, json.loads(data) if data != "[DONE]" else data))
            kind = cursor = data = ""
            count += 1
            if count == events:
                return told
    return told


class Site:
    """A client of one server, as one user."""

    def __init__(self, url: str, user: str | None = "ann") -> None:
        self.url = url
        headers = {"x-user": user} if user else {}
        self._others: list[Site] = []
        self.http = httpx.AsyncClient(base_url=url + HOME, headers=headers, timeout=BOUND, trust_env=False)

    def as_user(self, user: str | None) -> Site:
        """Somebody else."""
        other = Site(self.url, user)
        self._others.append(other)
        return other

    async def aclose(self) -> None:
        """Together with everybody who came through it."""
        for other in self._others:
            await other.aclose()
        await self.http.aclose()

    @asynccontextmanager
    async def stream(self, body: object, **headers: str) -> AsyncIterator[httpx.Response]:
        """Start a chat and hold its stream."""
        async with self.http.stream("POST", "/chat/stream", json=body, headers=headers) as response:
            yield response

    async def chat(self, message: str, *, events: int | None = None, **more: object) -> Told:
        """Ask, and read the answer, or so many events of it."""
        async with self.stream({"message": message, **more}) as response:
            assert response.status_code == 200, (await response.aread()).decode()
            return await read(response, events=events)

    async def resume(self, task: str, cursor: str, told: Told | None = None, *, events: int | None = None) -> Told:
        """Go on from a place."""
        headers = {"last-event-id": cursor}
        async with self.http.stream("GET", f"/chat/stream/{task}", headers=headers) as response:
            if response.status_code == 204:
                return told or Told()
            assert response.status_code == 200, (await response.aread()).decode()
            return await read(response, told, events=events)

    async def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Any POST with JSON."""
        return await self.http.post(path, json=body, headers=headers)

    async def status(self, task: str) -> dict[str, Any]:
        """What a poller sees."""
        answer: dict[str, Any] = (await self.http.get(f"/tasks/{task}")).json()
        return answer

    async def until(self, task: str, *states: str) -> dict[str, Any]:
        """Poll until the task is in one of these states."""
        async with asyncio.timeout(BOUND):
            while (state := await self.status(task))["status"] not in states:  # noqa: ASYNC110 - it polls
                await asyncio.sleep(0.01)
        return state


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """`app` on a free port; gives its address."""
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(BOUND):
        while not server.started:
            assert not task.done(), task
            await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        offload_of(app).closing.set()
        server.should_exit = True
        await task


@asynccontextmanager
async def site(app: Starlette, user: str | None = "ann") -> AsyncIterator[Site]:
    """The same, with a client."""
    async with serving(app) as url:
        client = Site(url, user)
        try:
            yield client
        finally:
            await client.aclose()


def quick(**changes: object) -> Config:
    """Short times."""
    return config_of(times=TIMES, **changes)
