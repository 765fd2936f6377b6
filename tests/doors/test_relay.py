"""Do a provider's events reach the browser as they were sent? From each kind of stream, whole, broken, or left."""

# ruff: noqa: ANN401 - the SDK's clients, whatever they are

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import phase1

from .answers import DONE, sse_reply, words
from .cases import CASES, HELLO
from .provider import Fault, Gate, Provider
from .world import APP_KEY, BOUND, Calls, app_request, bounded, given, manager_of

pytest_plugins = ["tests.doors.providing"]

ROLE, HEL, LO, STOP, _ = words("Hel", "lo")
EVENTS = [ROLE, b": ping\n\n", HEL, LO, STOP, DONE]
KINDS = ["pooled", "pooled-sync", "ordinary", "ordinary-sync", "stock", "stock-sync"]


@asynccontextmanager
async def made(kind: str, provider: Provider) -> AsyncIterator[Any]:
    """A client: `pooled` knows the short way when it has made a call, `ordinary` is one with another way to ask."""
    module = openai if kind.startswith("stock") else phase1
    if kind.endswith("sync"):
        with module.OpenAI(api_key=APP_KEY, base_url=provider.url, max_retries=0) as client:
            yield client
    else:
        async with module.AsyncOpenAI(api_key=APP_KEY, base_url=provider.url, max_retries=0) as client:
            yield client


async def asked(kind: str, client: Any, provider: Provider) -> Any:
    """A stream."""
    if kind.startswith("pooled"):
        with provider.aside():
            await CASES["chat_stream"](client)
    extra = {"extra_headers": {"x-a": "1"}} if kind.startswith("ordinary") else {}
    return await given(client.chat.completions.create(model="m", messages=HELLO, stream=True, **extra))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of which client."""
    return str(request.param)


async def test_events_come_as_they_were_sent(kind: str, provider: Provider) -> None:
    """Up to `[DONE]`, and the response is closed."""
    provider.answers(sse_reply(*EVENTS))
    async with manager_of(provider) as manager, app_request(manager), made(kind, provider) as client:
        stream = await asked(kind, client, provider)
        sent = b"".join([chunk async for chunk in phase1.relay(stream)])
        assert stream.response.is_closed
    keep_alive = b"" if not kind.startswith("stock") else b": ping\n\n"  # of the pool's, before the first content
    assert sent == b"".join([ROLE, keep_alive, HEL, LO, STOP, DONE])


async def test_broken_stream_says_so(kind: str, provider: Provider) -> None:
    """Whoever reads the bytes gets an event, not a silent end."""
    provider.answers(sse_reply(ROLE, HEL, Fault.CUT))
    async with manager_of(provider) as manager, app_request(manager), made(kind, provider) as client:
        stream = await asked(kind, client, provider)
        sent = b"".join([chunk async for chunk in phase1.relay(stream)])
    assert sent.startswith(ROLE + HEL)
    assert b"phase1_stream_broken" in sent


async def test_stream_that_was_read_is_refused(kind: str, provider: Provider) -> None:
    """Half of it would be missing."""
    provider.answers(sse_reply(*EVENTS))
    async with manager_of(provider) as manager, app_request(manager), made(kind, provider) as client:
        stream = await asked(kind, client, provider)
        if hasattr(stream, "__anext__"):
            await anext(aiter(stream))
        else:
            next(iter(stream))
        with pytest.raises(ValueError, match="read already"):
            await anext(phase1.relay(stream))


async def test_browser_that_leaves_closes_the_upstreams_connection(provider: Provider) -> None:
    """And the slot is free."""
    provider.answers(sse_reply(ROLE, HEL, Gate()))
    async with manager_of(provider) as manager:
        calls = Calls(manager)
        async with app_request(manager), made("pooled", provider) as client:
            stream = await asked("pooled", client, provider)
            events = phase1.relay(stream)
            assert await bounded(anext(events)) == ROLE + HEL
            await events.aclose()
        await calls.are_over()


async def test_an_endpoint_hands_it_to_starlette(provider: Provider) -> None:
    """As the documentation says."""
    provider.answers(sse_reply(*EVENTS))

    async def chat(request: Request) -> Response:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        return StreamingResponse(phase1.relay(stream), media_type="text/event-stream")

    app = Starlette(routes=[Route("/chat", chat)])
    async with manager_of(provider) as manager, made("pooled", provider) as client:
        app.add_middleware(phase1.Phase1Middleware, manager=manager)
        async with browser(app) as http:
            answer = await bounded(http.get("/chat"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content.endswith(DONE)


def browser(app: Starlette) -> httpx.AsyncClient:
    """Without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app", timeout=BOUND)
