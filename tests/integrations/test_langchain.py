"""Does LangChain's `ChatOpenAI` go through the doors, and may it be adopted whole?"""

# ruff: noqa: ANN401 - the library's models, whatever they are

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

import phase1
from tests.doors.answers import CHAT_STREAM
from tests.doors.provider import Provider
from tests.doors.world import BOUND, bounded, settings_of

from .ways import assert_nothing_pooled, assert_pooled, library, options, ordinary, pooled

pytest_plugins = ["tests.doors.providing"]

langchain_openai = library("langchain_openai", absent="langchain-openai is not installed here")

GUESTS = 5


@asynccontextmanager
async def chat_model(provider: Provider) -> AsyncIterator[Any]:
    """`ChatOpenAI` as the documentation of the doors shows it."""
    with phase1.http_client() as http:
        async with phase1.async_http_client() as async_http:
            yield langchain_openai.ChatOpenAI(
                model="m", http_client=http, http_async_client=async_http, **options(provider)
            )


async def invoke(model: Any) -> str:
    """On the event loop, over the portal."""
    return str(model.invoke("hi").content)


async def invoke_in_thread(model: Any) -> str:
    """As in a `def` endpoint."""
    return str((await asyncio.to_thread(model.invoke, "hi")).content)


async def ainvoke(model: Any) -> str:
    """On the event loop."""
    return str((await model.ainvoke("hi")).content)


async def stream(model: Any) -> list[str]:
    """On the event loop, over the portal."""
    return [chunk.content for chunk in model.stream("hi") if chunk.content]


async def astream(model: Any) -> list[str]:
    """On the event loop."""
    return [chunk.content async for chunk in model.astream("hi") if chunk.content]


ASKS = [
    pytest.param(ask, answer, id=ask.__name__)
    for ask, answer in {
        invoke: "Hello",
        invoke_in_thread: "Hello",
        ainvoke: "Hello",
        stream: list(CHAT_STREAM),
        astream: list(CHAT_STREAM),
    }.items()
]
Ask = Callable[[Any], Awaitable[Any]]


@pytest.mark.parametrize(("ask", "answer"), ASKS)
async def test_chat_model_goes_through_the_pool(ask: Ask, answer: object, provider: Provider) -> None:
    """Whole and streamed, synchronous and asynchronous: one call of the pool."""
    async with chat_model(provider) as model, pooled(provider):
        assert await bounded(ask(model)) == answer


@pytest.mark.parametrize(("ask", "answer"), ASKS)
async def test_chat_model_goes_the_ordinary_way_with_the_pool_off(ask: Ask, answer: object, provider: Provider) -> None:
    """The same answer over the client's own connections."""
    async with chat_model(provider) as model, ordinary(provider):
        assert await bounded(ask(model)) == answer


def app_of(model: Any, provider: Provider, **overrides: object) -> FastAPI:
    """An app that asks a synchronous model in an `async def`."""
    app = FastAPI()

    @app.get("/ask")
    async def ask() -> str:
        return str(model.invoke("hi").content)

    @app.get("/stream")
    async def ask_streamed() -> list[str]:
        return [chunk.content for chunk in model.stream("hi") if chunk.content]

    phase1.install(app, settings=settings_of(provider, **overrides))
    return app


async def got(app: FastAPI, path: str, number: int) -> list[Any]:
    """The answers to so many requests at once."""
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app", timeout=BOUND) as browser,
    ):
        responses = await bounded(asyncio.gather(*(browser.get(path) for _ in range(number))))
    return [response.json() for response in responses]


@pytest.mark.parametrize(("path", "answer"), [("/ask", "Hello"), ("/stream", list(CHAT_STREAM))])
async def test_adopted_model_does_not_block_the_loop(
    path: str, answer: object, provider: Provider, env: Callable[..., None]
) -> None:
    """The provider answers when all requests are there: they can only be if no `.invoke` holds up the loop."""
    env(ENABLE_LLM_POOL="true")
    model = phase1.adopt(langchain_openai.ChatOpenAI(model="m", timeout=BOUND, **options(provider)))
    app = app_of(model, provider)
    provider.party(GUESTS)
    assert await got(app, path, GUESTS) == [answer] * GUESTS
    assert_nothing_pooled(phase1.install(app).get_metrics())  # its own connections, in our threads


@pytest.mark.parametrize(("path", "answer"), [("/ask", "Hello"), ("/stream", list(CHAT_STREAM))])
async def test_adopted_model_with_our_http_client_is_pooled(
    path: str, answer: object, provider: Provider, env: Callable[..., None]
) -> None:
    """Both doors at once: off the loop, and through the pool."""
    env(ENABLE_LLM_POOL="true")
    async with chat_model(provider) as own:
        app = app_of(phase1.adopt(own), provider)
        provider.party(GUESTS)
        assert await got(app, path, GUESTS) == [answer] * GUESTS
        assert_pooled(phase1.install(app).get_metrics(), GUESTS)


async def test_adopted_model_is_itself_with_the_pool_off(provider: Provider) -> None:
    """The very same object, and its answers as ever."""
    own = langchain_openai.ChatOpenAI(model="m", timeout=BOUND, **options(provider))
    model = phase1.adopt(own)
    assert model is own
    app = app_of(model, provider, enable_llm_pool=False)
    assert await got(app, "/ask", 2) == ["Hello"] * 2
    assert len(provider.requests) == 2
    assert_nothing_pooled(phase1.install(app).get_metrics())
