"""Is a LangChain model that `phase1.chat.langchain.on_pool` made on the pool, and does it ask its rate limiter?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from phase1.chat.langchain import PoolRateLimiter, on_pool
from tests.doors.provider import Provider
from tests.doors.world import app_request, bounded, manager_of

from .ways import library, options, ordinary, pooled

pytest_plugins = ["tests.doors.providing"]

langchain_openai = library("langchain_openai", absent="langchain-openai is not installed here")


@asynccontextmanager
async def model_of(provider: Provider, **more: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - ChatOpenAI's options
    """A chat model, closed at the end."""
    model = on_pool(langchain_openai.ChatOpenAI, model="m", **options(provider), **more)
    yield model
    model.http_client.close()
    await model.http_async_client.aclose()


async def test_chat_model_is_on_the_pool(provider: Provider) -> None:
    """`ainvoke` is one call of the pool, and nothing blocks."""
    async with model_of(provider) as model, pooled(provider):
        assert (await bounded(model.ainvoke("hi"))).content == "Hello"


async def test_blocking_call_is_on_the_pool_too(provider: Provider) -> None:
    """`invoke` inside a coroutine, over the portal."""
    async with model_of(provider) as model, pooled(provider):
        assert model.invoke("hi").content == "Hello"


async def test_chat_model_goes_the_ordinary_way_with_the_pool_off(provider: Provider) -> None:
    """As if `on_pool` were not there."""
    async with model_of(provider) as model, ordinary(provider):
        assert (await bounded(model.ainvoke("hi"))).content == "Hello"


async def test_model_asks_the_limiter(provider: Provider) -> None:
    """Before each call; the third one of two a second waits half a second, the blocking ones too."""
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    limiter = PoolRateLimiter(2, clock=lambda: now[0], sleep_async=sleep)
    async with model_of(provider, rate_limiter=limiter) as model, without_the_pool(provider):
        for _ in range(2):
            await bounded(model.ainvoke("hi"))
        assert slept == []
        await bounded(model.ainvoke("hi"))
        assert slept == [0.5]
        model.invoke("hi")
        assert slept == [0.5, 0.5]


@asynccontextmanager
async def without_the_pool(provider: Provider) -> AsyncIterator[None]:
    """An app's request with `ENABLE_LLM_POOL=false`."""
    async with manager_of(provider, enable_llm_pool=False) as manager, app_request(manager):
        yield


async def test_embeddings_too(provider: Provider) -> None:
    """Any class that takes the two clients."""
    model = on_pool(langchain_openai.OpenAIEmbeddings, model="m", check_embedding_ctx_length=False, **options(provider))
    async with pooled(provider):
        assert await bounded(model.aembed_query("hi"))
    model.http_client.close()
    await model.http_async_client.aclose()
