"""Does every door say whether the answer that legacy gives is a stream? Of one only the beginning is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import phase1
from phase1.doors.manager import LLMManager
from phase1.doors.unit import Unit, current_unit
from phase1.events import LegacyFinished

from .bench import HELLO, POOL_KEY, Ear, settings
from .provider import Provider

pytest_plugins = ["tests.doors.providing"]


@asynccontextmanager
async def listening(provider: Provider) -> AsyncIterator[Ear]:
    """To an app request that is on legacy, at an app whose base URL is the provider's."""
    manager = LLMManager(settings(openai_base_url=provider.url, llm_canary_percent=0))
    ear = Ear()
    manager.events.subscribe(ear)
    async with manager:
        token = current_unit.set(Unit(manager, key_of=lambda: "user-1", loop=asyncio.get_running_loop()))
        yield ear
        current_unit.reset(token)


def streamed(ear: Ear) -> list[bool]:
    """Of what legacy has answered."""
    return [event.streamed for event in ear.of(LegacyFinished)]


@pytest.mark.parametrize("stream", [True, False])
async def test_asynchronous_client(provider: Provider, stream: bool) -> None:  # noqa: FBT001
    """The SDK's, in the place of the app's."""
    async with listening(provider) as ear, phase1.AsyncOpenAI(base_url=provider.url, api_key=POOL_KEY) as client:
        answer = await client.chat.completions.create(model="m", messages=HELLO, stream=stream)
        if stream:
            await answer.close()
    assert streamed(ear) == [stream]


@pytest.mark.parametrize("stream", [True, False])
async def test_synchronous_client(provider: Provider, stream: bool) -> None:  # noqa: FBT001
    """The same in a thread, as of a `def` endpoint."""

    def ask() -> None:
        with phase1.OpenAI(base_url=provider.url, api_key=POOL_KEY) as client:
            answer = client.chat.completions.create(model="m", messages=HELLO, stream=stream)
            if stream:
                answer.close()

    async with listening(provider) as ear:
        await asyncio.to_thread(ask)
    assert streamed(ear) == [stream]


@pytest.mark.parametrize("stream", [True, False])
async def test_other_libraries_client(provider: Provider, stream: bool) -> None:  # noqa: FBT001
    """By the body that it sends; one that is sent piece by piece says nothing."""
    body = {"model": "m", "messages": HELLO, "stream": stream}
    headers = {"authorization": f"Bearer {POOL_KEY}"}

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "m", "messages": [], "stream": true}'

    async with listening(provider) as ear, phase1.async_http_client(family="httpx") as client:
        await client.post(f"{provider.url}/chat/completions", json=body, headers=headers)
        await client.post(f"{provider.url}/chat/completions", content=pieces(), headers=headers)
    assert streamed(ear) == [stream, False]
