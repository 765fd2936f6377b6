"""Does a pydantic-ai agent go through the doors?"""

# ruff: noqa: ANN401 - the library's models, whatever they are

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import phase1
from tests.doors.answers import CHAT_STREAM
from tests.doors.provider import Provider
from tests.doors.world import APP_KEY, bounded

from .ways import library, options, ordinary, pooled

pytest_plugins = ["tests.doors.providing"]

pydantic_ai = library("pydantic_ai", absent="pydantic-ai is not installed here")


class Trip(BaseModel):
    city: str
    days: int


def model_of(**provider_options: Any) -> Any:
    """A chat model on the library's provider for the SDK."""
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel("m", provider=OpenAIProvider(**provider_options))


@asynccontextmanager
async def own_client(provider: Provider) -> AsyncIterator[Any]:
    """On `phase1.AsyncOpenAI`."""
    async with phase1.AsyncOpenAI(**options(provider)) as client:
        yield model_of(openai_client=client)


@asynccontextmanager
async def adopted_client(provider: Provider) -> AsyncIterator[Any]:
    """On the app's client, adopted."""
    async with openai.AsyncOpenAI(**options(provider)) as client:
        yield model_of(openai_client=phase1.adopt(client))


@asynccontextmanager
async def http_client(provider: Provider) -> AsyncIterator[Any]:
    """On the SDK's client over our transport."""
    async with phase1.async_http_client() as http:
        yield model_of(base_url=provider.url, api_key=APP_KEY, http_client=http)


async def run(model: Any) -> str:
    """A plain answer."""
    return str((await pydantic_ai.Agent(model).run("hi")).output)


async def run_structured(model: Any) -> Trip:
    """An answer as a tool call."""
    return (await pydantic_ai.Agent(model, output_type=Trip).run("hi")).output


async def run_stream(model: Any) -> str:
    """A stream, whole at the end."""
    async with pydantic_ai.Agent(model).run_stream("hi") as result:
        return str(await result.get_output())


Door = Callable[[Provider], AbstractAsyncContextManager[Any]]
DOORS = [pytest.param(door, id=door.__name__) for door in (own_client, adopted_client, http_client)]
Ask = Callable[[Any], Awaitable[Any]]
ASKS = [
    pytest.param(ask, answer, id=ask.__name__)
    for ask, answer in {
        run: "Hello",
        run_structured: Trip(city="Rome", days=3),
        run_stream: "".join(CHAT_STREAM),
    }.items()
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("ask", "answer"), ASKS)
async def test_agent_goes_through_the_pool(
    ask: Ask, answer: object, door: Door, provider: Provider, env: Callable[..., None]
) -> None:
    """Text, structured output and a stream: one call of the pool each."""
    env(ENABLE_LLM_POOL="true")
    async with door(provider) as model, pooled(provider):
        assert await bounded(ask(model)) == answer


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("ask", "answer"), ASKS)
async def test_agent_goes_the_ordinary_way_with_the_pool_off(
    ask: Ask, answer: object, door: Door, provider: Provider
) -> None:
    """The same answers over the client's own connections."""
    async with door(provider) as model, ordinary(provider):
        assert await bounded(ask(model)) == answer
