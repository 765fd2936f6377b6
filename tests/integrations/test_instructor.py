"""Does instructor's structured output go through the doors?"""

# ruff: noqa: ANN401 - the library's clients, whatever they are

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import phase1
from tests.doors.cases import HELLO
from tests.doors.provider import Provider
from tests.doors.world import bounded, given

from .ways import library, options, ordinary, pooled

pytest_plugins = ["tests.doors.providing"]

instructor = library(
    "instructor", absent="instructor does not go with openai 3: tested with scripts/setup.sh openai1 and openai2"
)


class Trip(BaseModel):
    city: str
    days: int


ROME = {"city": "Rome", "days": 3}


def own_async(**options: Any) -> Any:
    """`phase1.AsyncOpenAI`."""
    return phase1.AsyncOpenAI(**options)


def own_sync(**options: Any) -> Any:
    """`phase1.OpenAI`."""
    return phase1.OpenAI(**options)


def adopted_async(**options: Any) -> Any:
    """The app's client, adopted."""
    return phase1.adopt(openai.AsyncOpenAI(**options))


def adopted_sync(**options: Any) -> Any:
    """The app's synchronous client, adopted."""
    return phase1.adopt(openai.OpenAI(**options))


def http_async(**options: Any) -> Any:
    """The SDK's client over our transport."""
    return openai.AsyncOpenAI(http_client=phase1.async_http_client(), **options)  # type: ignore[arg-type]


def http_sync(**options: Any) -> Any:
    """The SDK's synchronous client over our transport."""
    return openai.OpenAI(http_client=phase1.http_client(), **options)  # type: ignore[arg-type]


async def on_the_loop(client: Any, **asked: Any) -> Trip:
    """In an `async def`, over the portal if the client is synchronous."""
    trip: Trip = await given(client.chat.completions.create(model="m", messages=HELLO, response_model=Trip, **asked))
    return trip


async def in_a_thread(client: Any, **asked: Any) -> Trip:
    """As in a `def` endpoint."""
    return await asyncio.to_thread(
        client.chat.completions.create, model="m", messages=HELLO, response_model=Trip, **asked
    )


Maker = Callable[..., Any]
Ask = Callable[..., Awaitable[Trip]]
WAYS = [
    pytest.param(make, ask, id=f"{make.__name__}-{ask.__name__}")
    for make in (own_async, own_sync, adopted_async, adopted_sync, http_async, http_sync)
    for ask in (on_the_loop, in_a_thread)
    if ask is on_the_loop or make.__name__.endswith("_sync")
]
MODES = ["TOOLS", "JSON"]


async def asked_of(make: Maker, ask: Ask, mode: str, provider: Provider) -> dict[str, Any]:
    """One structured answer from instructor on such a client; the library makes a subclass of the model."""
    client = make(**options(provider))
    try:
        trip = await bounded(ask(instructor.from_openai(client, mode=instructor.Mode[mode]), max_retries=0))
        assert isinstance(trip, Trip)
        return trip.model_dump()
    finally:
        await given(client.close())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("make", "ask"), WAYS)
async def test_structured_answer_goes_through_the_pool(
    make: Maker, ask: Ask, mode: str, provider: Provider, env: Callable[..., None]
) -> None:
    """A `response_model` is filled from one call of the pool."""
    env(ENABLE_LLM_POOL="true")
    async with pooled(provider):
        assert await asked_of(make, ask, mode, provider) == ROME


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("make", "ask"), WAYS)
async def test_structured_answer_goes_the_ordinary_way_with_the_pool_off(
    make: Maker, ask: Ask, mode: str, provider: Provider
) -> None:
    """The same object over the client's own connections."""
    async with ordinary(provider):
        assert await asked_of(make, ask, mode, provider) == ROME
