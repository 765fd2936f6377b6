"""Does LlamaIndex's OpenAI model go through the doors?"""

# ruff: noqa: ANN401 - the library's models, whatever they are

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import phase1
from tests.doors.answers import CHAT_STREAM
from tests.doors.provider import Provider
from tests.doors.world import APP_KEY, bounded

from .ways import library, ordinary, pooled

pytest_plugins = ["tests.doors.providing"]

llama_openai = library(
    "llama_index.llms.openai",
    absent="llama-index-llms-openai does not go with openai 3: tested with scripts/setup.sh openai1 and openai2",
)


@asynccontextmanager
async def llm_at(provider: Provider) -> AsyncIterator[Any]:
    """The library's model; it knows the models of the provider by name."""
    with phase1.http_client() as http:
        async with phase1.async_http_client() as async_http:
            yield llama_openai.OpenAI(
                model="gpt-4o-mini",
                api_key=APP_KEY,
                api_base=provider.url,
                max_retries=0,
                http_client=http,
                async_http_client=async_http,
            )


def messages() -> list[Any]:
    """What is asked."""
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="user", content="hi")]


async def chat(llm: Any) -> str:
    """On the event loop, over the portal."""
    return str(llm.chat(messages()).message.content)


async def chat_in_thread(llm: Any) -> str:
    """As in a `def` endpoint."""
    return str((await asyncio.to_thread(llm.chat, messages())).message.content)


async def achat(llm: Any) -> str:
    """On the event loop."""
    return str((await llm.achat(messages())).message.content)


async def complete(llm: Any) -> str:
    """A prompt instead of messages."""
    return str(llm.complete("hi").text)


async def stream_chat(llm: Any) -> list[str]:
    """On the event loop, over the portal."""
    return [chunk.delta for chunk in llm.stream_chat(messages()) if chunk.delta]


async def astream_chat(llm: Any) -> list[str]:
    """On the event loop."""
    return [chunk.delta async for chunk in await llm.astream_chat(messages()) if chunk.delta]


Ask = Callable[[Any], Awaitable[Any]]
ASKS = [
    pytest.param(ask, answer, id=ask.__name__)
    for ask, answer in {
        chat: "Hello",
        chat_in_thread: "Hello",
        achat: "Hello",
        complete: "Hello",
        stream_chat: list(CHAT_STREAM),
        astream_chat: list(CHAT_STREAM),
    }.items()
]


@pytest.mark.parametrize(("ask", "answer"), ASKS)
async def test_llm_goes_through_the_pool(ask: Ask, answer: object, provider: Provider) -> None:
    """Whole and streamed, synchronous and asynchronous: one call of the pool."""
    async with llm_at(provider) as llm, pooled(provider):
        assert await bounded(ask(llm)) == answer


@pytest.mark.parametrize(("ask", "answer"), ASKS)
async def test_llm_goes_the_ordinary_way_with_the_pool_off(ask: Ask, answer: object, provider: Provider) -> None:
    """The same answers over the client's own connections."""
    async with llm_at(provider) as llm, ordinary(provider):
        assert await bounded(ask(llm)) == answer
