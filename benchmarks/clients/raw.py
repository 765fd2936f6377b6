"""No SDK at all: an HTTP library, JSON in and out. What is left over when everything else is gone."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import AsyncIterable, AsyncIterator
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from benchmarks.clients.base import KEY, Client, Site, Unavailable, WrongAnswer, check_text
from phase1.lab.mock.bodies import CHAT_REQUEST

__all__ = ["opened"]

_HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
_STREAMED = {**CHAT_REQUEST, "stream": True}
_KEPT_ALIVE = 100  # as the SDK has it


@contextlib.asynccontextmanager
async def opened(site: Site, variant: str) -> AsyncIterator[Client]:
    """`variant`: `aiohttp`, `httpx` or `httpx2`."""
    if find_spec(variant) is None:
        raise Unavailable(f"{variant} is not installed in this environment")
    library = importlib.import_module(variant)
    url = f"{site.url}/chat/completions"
    async with (_aiohttp if variant == "aiohttp" else _httpx)(library, url, site.capacity) as client:
        yield client


@contextlib.asynccontextmanager
async def _aiohttp(aiohttp: ModuleType, url: str, capacity: int) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=capacity)
    async with aiohttp.ClientSession(connector=connector, headers=_HEADERS) as session:

        async def chat() -> None:
            async with session.post(url, data=json.dumps(CHAT_REQUEST).encode()) as response:
                _check(json.loads(await response.read()))

        async def stream() -> int:
            async with session.post(url, data=json.dumps(_STREAMED).encode()) as response:
                return await _count(response.content.iter_any())

        yield Client({"chat": chat}, stream)


@contextlib.asynccontextmanager
async def _httpx(httpx: ModuleType, url: str, capacity: int) -> AsyncIterator[Client]:
    limits = httpx.Limits(max_connections=capacity, max_keepalive_connections=_KEPT_ALIVE)
    async with httpx.AsyncClient(limits=limits, headers=_HEADERS, timeout=600) as session:

        async def chat() -> None:
            response = await session.post(url, content=json.dumps(CHAT_REQUEST).encode())
            _check(json.loads(response.content))

        async def stream() -> int:
            async with session.stream("POST", url, content=json.dumps(_STREAMED).encode()) as response:
                return await _count(response.aiter_bytes())

        yield Client({"chat": chat}, stream)


def _check(body: Any) -> None:  # noqa: ANN401 - JSON
    check_text(body["choices"][0]["message"]["content"])


async def _count(chunks: AsyncIterable[bytes]) -> int:
    """Cut the bytes into events and parse each."""
    count, rest, event = 0, b"", b""
    async for chunk in chunks:
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            if event != b"data: [DONE]":
                json.loads(event[6:])
                count += 1
    if event != b"data: [DONE]":
        raise WrongAnswer("a stream without an end")
    return count
