"""Is a late endpoint on a real socket hedged, and its connection closed at once?"""

from __future__ import annotations

import asyncio
import json

import pytest

from phase1.doors.manager import LLMManager
from phase1.lab.chaos.faults import healthy
from phase1.lab.chaos.upstream import Endpoint, Exchange, Hung
from phase1.settings import Settings
from tests.doors.bench import BOUND, HELLO

CALLS = 20


async def hangs_in_the_end(exchange: Exchange) -> None:
    """Well for as long as it takes to be known, and then nothing more."""
    if exchange.number > CALLS:
        raise Hung
    await healthy(exchange, latency=0.01, pause=0.0)


@pytest.mark.parametrize("stream", [False, True])
async def test_late_endpoint_is_hedged_and_its_connection_closed(stream: bool) -> None:  # noqa: FBT001
    """Its caller has an answer long before any clock runs out; the endpoint sees the connection go."""
    async with Endpoint(hangs_in_the_end) as late, Endpoint(healthy) as other:
        nodes = [
            {"name": "late", "base_url": late.url, "api_key": "sk-late"},
            {"name": "other", "base_url": other.url, "api_key": "sk-other", "weight": 0.01},
        ]
        settings = Settings(
            enable_llm_pool=True, llm_nodes=json.dumps(nodes), llm_hedge=True, llm_model="m", llm_transport="httpx"
        )
        async with LLMManager(settings) as manager, asyncio.timeout(BOUND):
            create = manager.client.chat.completions.create
            while late.requests <= CALLS:
                answer = await create(model="m", messages=HELLO, stream=stream)
                if stream:
                    assert [chunk async for chunk in answer]
            assert manager.tally.hedges["won"] >= 1
            assert manager.tally.calls == {"ok": manager.tally.finished}
            while late.open_connections > 1:  # noqa: ASYNC110 - it is the endpoint's to notice
                await asyncio.sleep(0.01)
            binding = manager.bindings.current()
            assert binding.pool is not None
            assert (binding.pool.in_flight, binding.pool.budget.in_flight) == (0, 0)
            assert manager.breaker.snapshot().consecutive_failures == 0
