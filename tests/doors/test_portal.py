"""Does a synchronous call in an `async def` leave the event loop free? In every place where an app makes one.

The provider answers nobody before all requests are there at the same time: a loop that is blocked by one of them would
never bring it the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import pytest
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from websockets.asyncio.client import connect

import phase1
from phase1.doors.everywhere import doors_open
from phase1.doors.manager import LLMManager

from .answers import sse_reply, words
from .apps import BLOCKING, ENDPOINTS, STREAMING, make_app
from .provider import Gate, Provider
from .server import Served, serving
from .world import APP_KEY, BOUND, Calls, bounded, settings_of

pytest_plugins = ["tests.doors.providing"]

MANY = 20


class Apps:
    """Serves the app with phase1 in it."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    @contextmanager
    def served(
        self,
        loop: Literal["asyncio", "uvloop"] = "asyncio",
        *,
        behind: type | None = None,
        log_level: str = "warning",
        **overrides: object,
    ) -> Iterator[tuple[Served, LLMManager, Any]]:
        """The app on a server. `behind`: a middleware around it; `log_level`: the server's."""
        with phase1.OpenAI(api_key=APP_KEY, base_url=self._provider.url) as client:
            app = make_app(client)
            if behind is not None:
                app.add_middleware(behind)
            manager = phase1.install(app, settings=settings_of(self._provider, **overrides))
            with serving(app, loop, log_level=log_level) as served:
                yield served, manager, app


@pytest.fixture
def apps(provider: Provider) -> Apps:
    """The app in front of `provider`."""
    return Apps(provider)


@asynccontextmanager
async def browsing(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A browser."""
    async with httpx.AsyncClient(base_url=served.url, timeout=BOUND) as browser:
        yield browser


async def ask_at_once(served: Served, path: str, times: int) -> set[str]:
    """So many users at the same time; what they were told."""
    async with browsing(served) as browser:
        answers = await bounded(asyncio.gather(*(browser.get(path) for _ in range(times))))  # type: ignore[arg-type]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.text for answer in answers}


class Passing(BaseHTTPMiddleware):
    """Runs the rest of the app in another task."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_many_users_are_served_at_once(
    path: str, loop: Literal["asyncio", "uvloop"], apps: Apps, provider: Provider
) -> None:
    """All requests reach the provider before one is answered: nobody blocks the loop."""
    provider.party(MANY)
    with apps.served(loop) as (served, manager, _):
        assert await ask_at_once(served, path, MANY) == {"Hello"}
        assert manager.get_metrics()["blocking_sites"] == {}
        assert sum(manager.tally.calls.values()) == MANY


@pytest.mark.parametrize("path", STREAMING)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_many_streams_are_passed_on_at_once(
    path: str, loop: Literal["asyncio", "uvloop"], apps: Apps, provider: Provider
) -> None:
    """A synchronous stream that the response reads blocks nobody, wherever it was begun."""
    provider.party(MANY)
    with apps.served(loop) as (served, manager, _):
        assert await ask_at_once(served, path, MANY) == {"Hello"}
        assert manager.get_metrics()["blocking_sites"] == {}
        assert sum(manager.tally.calls.values()) == MANY


async def test_background_tasks_block_nobody(apps: Apps, provider: Provider) -> None:
    """After the response has been sent the portal is still there."""
    provider.party(MANY)
    with apps.served() as (served, manager, app):
        assert await ask_at_once(served, "/background", MANY) == {"later"}
        await provider.arrived(MANY)
    assert app.state.said == ["Hello"] * MANY
    assert manager.get_metrics()["blocking_sites"] == {}


async def test_websockets_block_nobody(apps: Apps, provider: Provider) -> None:
    """Each connection waits for itself."""
    provider.party(3)

    async def ask(url: str) -> object:
        async with connect(url.replace("http", "ws") + "/websocket", proxy=None) as socket:
            return await socket.recv()

    with apps.served() as (served, manager, _):
        assert await bounded(asyncio.gather(*(ask(served.url) for _ in range(3)))) == ["Hello"] * 3  # type: ignore[arg-type]
        assert manager.get_metrics()["blocking_sites"] == {}


@pytest.mark.parametrize("path", ["/direct", "/stream", "/in-a-def", "/dependency"])
async def test_a_middleware_with_a_task_of_its_own_takes_nothing_away(
    path: str, apps: Apps, provider: Provider
) -> None:
    """`BaseHTTPMiddleware` runs the rest of the app in another task: the portal is inside of it."""
    provider.party(MANY)
    with apps.served(behind=Passing) as (served, manager, _):
        assert await ask_at_once(served, path, MANY) == {"Hello"}
        assert manager.get_metrics()["blocking_sites"] == {}


@pytest.mark.parametrize("path", BLOCKING)
async def test_where_nothing_can_wait_the_call_is_made_as_before(path: str, apps: Apps, provider: Provider) -> None:
    """There is no portal: the plain call, counted with the app's own line."""
    with apps.served() as (served, manager, _):
        assert await ask_at_once(served, path, 2) == {"Hello"}
        ((site, times),) = manager.get_metrics()["blocking_sites"].items()  # type: ignore[attr-defined]
    assert times == 2
    assert site == line_of_the_call()
    assert provider.keys == [f"Bearer {APP_KEY}"] * 2
    assert not manager.tally.calls


def line_of_the_call() -> str:
    """Where `apps.text` asks."""
    source = Path(__file__).with_name("apps.py")
    lines = source.read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if "return str(client.chat.completions.create(" in line)
    return f"{source}:{number}"


@pytest.mark.parametrize("path", ["/direct", "/stream", "/embeddings"])
async def test_unblocking_can_be_switched_off(path: str, apps: Apps, provider: Provider) -> None:
    """`LLM_UNBLOCK=false`: the call blocks the loop as it always did, and is counted."""
    with apps.served(llm_unblock=False) as (served, manager, _):
        assert await ask_at_once(served, path, 2) == {"Hello"}
        assert sum(manager.get_metrics()["blocking_sites"].values()) == 2  # type: ignore[attr-defined]
    assert not manager.tally.calls
    assert len(provider.requests) == 2


async def test_without_unblocking_threads_still_use_the_pool(apps: Apps) -> None:
    """A `def` endpoint blocks nobody: it goes to the pool on the app's loop."""
    with apps.served(llm_unblock=False) as (served, manager, _):
        assert await ask_at_once(served, "/in-a-def", 2) == {"Hello"}
        assert sum(manager.tally.calls.values()) == 2


@pytest.mark.parametrize("path", ["/direct", "/stream", "/in-a-def"])
async def test_with_the_pool_off_nothing_is_ours(path: str, apps: Apps, provider: Provider) -> None:
    """`ENABLE_LLM_POOL=false`: the SDK's own calls, no portal, nothing counted."""
    with apps.served(enable_llm_pool=False) as (served, manager, _):
        assert await ask_at_once(served, path, 2) == {"Hello"}
        metrics = manager.get_metrics()
    assert (metrics["calls"], metrics["legacy_calls"], metrics["blocking_sites"]) == ({}, {}, {})
    assert len(provider.requests) == 2


@pytest.mark.parametrize("path", ["/direct", "/stream", "/raw", "/embeddings"])
async def test_the_legacy_route_blocks_nobody_either(path: str, apps: Apps, provider: Provider) -> None:
    """Kill switch on: the client's own calls run in threads while the tasks are suspended, streams too."""
    provider.party(MANY)
    with apps.served(force_legacy_llm=True) as (served, manager, _):
        assert await ask_at_once(served, path, MANY) == {"Hello"}
        metrics = manager.get_metrics()
    assert metrics["legacy_calls"] == {"ok": MANY}
    assert metrics["blocking_sites"] == {}


@pytest.mark.parametrize("path", STREAMING)
async def test_a_user_who_goes_away_in_the_middle_of_a_stream_frees_everything(
    path: str, apps: Apps, provider: Provider
) -> None:
    """The upstream's connection is closed and the place is free, though the upstream never ends.

    A thread that reads the stream cannot be cancelled: there it is the pause between two chunks that ends it.
    """
    provider.answers(sse_reply(*words("Hel", "lo")[:2], Gate()))
    pause = {"llm_idle_timeout": 0.2} if path == "/streamed-by-thread" else {}
    with apps.served(log_level="critical", **pause) as (served, manager, _):
        calls = Calls(manager)
        async with browsing(served) as browser, browser.stream("GET", path) as answer:
            assert await anext(answer.aiter_text()) == "Hel"
        upstream = await provider.arrived(1)
        assert await upstream.gone()
        await calls.are_over()


async def test_an_untouched_app_is_served_with_doors_everywhere(provider: Provider, apps: Apps) -> None:
    """The SDK's own client, made before anybody knew of phase1."""
    provider.party(MANY)
    with openai.OpenAI(api_key=APP_KEY, base_url=provider.url) as client, doors_open():
        app = make_app(client)
        manager = phase1.install(app, settings=settings_of(provider))
        with serving(app) as served:
            assert await ask_at_once(served, "/deep", MANY) == {"Hello"}
        assert sum(manager.tally.calls.values()) == MANY
