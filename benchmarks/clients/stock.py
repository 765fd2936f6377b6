"""The OpenAI SDK as it comes, of the version that this environment has."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

import openai

from benchmarks.clients.base import KEY, Client, Site, Unavailable, check_embeddings, check_text, count_chunks
from phase1.lab.mock.bodies import CHAT_REQUEST, EMBEDDINGS_REQUEST, RESPONSES_REQUEST

__all__ = ["calls_of", "opened"]


@contextlib.asynccontextmanager
async def opened(site: Site, variant: str) -> AsyncIterator[Client]:
    """`variant`: `stock`, or `aiohttp` for the SDK's own aiohttp client."""
    http_client = _aiohttp_client() if variant == "aiohttp" else None
    async with openai.AsyncOpenAI(api_key=KEY, base_url=site.url, http_client=http_client) as client:
        yield calls_of(client)


def _aiohttp_client() -> Any:  # noqa: ANN401 - its type is the SDK's secret
    if find_spec("aiohttp") is None:
        raise Unavailable("aiohttp is not installed in this environment")
    return openai.DefaultAioHttpClient()


def calls_of(client: Any, **notes: str) -> Client:  # noqa: ANN401 - an AsyncOpenAI of any major version, or ours
    """The calls that an app makes."""

    async def chat() -> None:
        completion = await client.chat.completions.create(**CHAT_REQUEST)
        check_text(completion.choices[0].message.content)

    async def responses() -> None:
        check_text((await client.responses.create(**RESPONSES_REQUEST)).output_text)

    async def embeddings() -> None:
        data = (await client.embeddings.create(**EMBEDDINGS_REQUEST, encoding_format="float")).data
        check_embeddings(len(data), len(data[0].embedding))

    async def stream() -> int:
        return await count_chunks(await client.chat.completions.create(**CHAT_REQUEST, stream=True))

    return Client({"chat": chat, "responses": responses, "embeddings": embeddings}, stream, notes)
