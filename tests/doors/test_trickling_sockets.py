"""Is a stream that trickles over a real socket broken off, and its connection closed?"""

from __future__ import annotations

import asyncio
import itertools
import json

import openai
import pytest

from phase1.doors.manager import LLMManager
from phase1.lab.chaos.upstream import Endpoint, Exchange
from phase1.settings import Settings
from tests.doors.bench import BOUND, HELLO

WORD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


async def trickles(exchange: Exchange) -> None:
    """A word now and then, for ever."""
    await exchange.head(200, "text/event-stream")
    for number in itertools.count():
        choice = {"index": 0, "delta": {"role": "assistant", "content": f"{number} "}, "finish_reason": None}
        await exchange.chunk(b"data: " + json.dumps(WORD | {"choices": [choice]}).encode() + b"\n\n")
        await asyncio.sleep(0.05)


async def test_trickling_stream_is_broken_off_with_an_error_and_its_connection_closed() -> None:
    """The first word, then `openai.APIError`; the upstream sees the connection go."""
    async with Endpoint(trickles) as endpoint:
        settings = Settings(
            enable_llm_pool=True,
            openai_api_key="sk-test",
            openai_base_url=endpoint.url,
            llm_idle_timeout=0.4,
            llm_stream_floor=40.0,
        )
        async with LLMManager(settings) as manager, asyncio.timeout(BOUND):
            stream = await manager.client.chat.completions.create(model="m", messages=HELLO, stream=True)
            assert (await anext(stream)).choices[0].delta.content == "0 "
            with pytest.raises(openai.APIError, match="broke"):
                _ = [chunk async for chunk in stream]
            while endpoint.open_connections:  # noqa: ASYNC110 - it is the endpoint's to notice
                await asyncio.sleep(0.01)
            assert manager.tally.broken_streams == {"floor": 1}
            assert manager.tally.calls == {"broken_after_token": 1}
