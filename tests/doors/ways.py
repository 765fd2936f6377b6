"""By which ways can a call get in? Every door of ours, asked for the same: one chat answer, whole or as a stream."""

# ruff: noqa: ANN401 - the SDK's clients, whatever they are

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import openai

import phase1

from .cases import HELLO
from .world import APP_KEY, bounded, drive, given, items

__all__ = ["STREAMED", "WAYS", "Ask", "Way"]

STREAMED = {"whole": False, "streamed": True}

Ask = Callable[..., Any]
"""`await ask(case)` asks a case of `cases`; `await ask(stream=True)` asks for one chat answer, and gives its text."""
Way = Callable[[str], AbstractAsyncContextManager[Ask]]
"""The way of a client at this base URL. Its key is the app's, and it does not retry."""


async def text_of(client: Any, *, stream: bool = False) -> str:
    """One chat answer."""
    answer = await given(client.chat.completions.create(model="m", messages=HELLO, stream=stream))
    if not stream:
        return str(answer.choices[0].message.content)
    return "".join(chunk.choices[0].delta.content or "" for chunk in await items(answer))


def _ask_of(client: Any, *, thread: bool = False, blocking: bool = False) -> Ask:
    async def ask(case: Callable[[Any], Any] | None = None, *, stream: bool = False) -> Any:
        work = case(client) if case else text_of(client, stream=stream)
        if not blocking:
            return await bounded(work)
        return await bounded(asyncio.to_thread(drive, work)) if thread else drive(work)

    return ask


def _options(base_url: str) -> dict[str, Any]:
    return {"api_key": APP_KEY, "base_url": base_url, "max_retries": 0}


@asynccontextmanager
async def sdk_async(base_url: str) -> AsyncIterator[Ask]:
    """`phase1.AsyncOpenAI`."""
    async with phase1.AsyncOpenAI(**_options(base_url)) as client:
        yield _ask_of(client)


@asynccontextmanager
async def sdk_portal(base_url: str) -> AsyncIterator[Ask]:
    """`phase1.OpenAI` in an `async def`."""
    with phase1.OpenAI(**_options(base_url)) as client:
        yield _ask_of(client, blocking=True)


@asynccontextmanager
async def sdk_thread(base_url: str) -> AsyncIterator[Ask]:
    """`phase1.OpenAI` in a worker thread."""
    with phase1.OpenAI(**_options(base_url)) as client:
        yield _ask_of(client, blocking=True, thread=True)


@asynccontextmanager
async def adopted_async(base_url: str) -> AsyncIterator[Ask]:
    """`phase1.adopt(AsyncOpenAI())`."""
    async with openai.AsyncOpenAI(**_options(base_url)) as client:
        yield _ask_of(phase1.adopt(client))


@asynccontextmanager
async def adopted_portal(base_url: str) -> AsyncIterator[Ask]:
    """`phase1.adopt(OpenAI())` in an `async def`."""
    with openai.OpenAI(**_options(base_url)) as client:
        yield _ask_of(phase1.adopt(client), blocking=True)


@asynccontextmanager
async def http_async(base_url: str) -> AsyncIterator[Ask]:
    """`AsyncOpenAI(http_client=phase1.async_http_client())`."""
    async with (
        phase1.async_http_client() as http,
        openai.AsyncOpenAI(**_options(base_url), http_client=http) as client,  # type: ignore[arg-type]
    ):
        yield _ask_of(client)


@asynccontextmanager
async def http_portal(base_url: str) -> AsyncIterator[Ask]:
    """`OpenAI(http_client=phase1.http_client())` in an `async def`."""
    with phase1.http_client() as http, openai.OpenAI(**_options(base_url), http_client=http) as client:  # type: ignore[arg-type]
        yield _ask_of(client, blocking=True)


@asynccontextmanager
async def http_thread(base_url: str) -> AsyncIterator[Ask]:
    """`OpenAI(http_client=phase1.http_client())` in a worker thread."""
    with phase1.http_client() as http, openai.OpenAI(**_options(base_url), http_client=http) as client:  # type: ignore[arg-type]
        yield _ask_of(client, blocking=True, thread=True)


WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        sdk_async,
        sdk_portal,
        sdk_thread,
        adopted_async,
        adopted_portal,
        http_async,
        http_portal,
        http_thread,
    )
}
