"""Is every call of a load counted, once? No figure is asserted: only that there are some."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from benchmarks.asgi import overhead
from benchmarks.clients.base import Client, Site, Unavailable
from benchmarks.load import Load, Sample, measure


class FakeLibrary:
    """Counts its calls and how many there were at once."""

    def __init__(self) -> None:
        self.calls = self.at_once = self.most_at_once = 0

    async def chat(self) -> None:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1

    async def stream(self) -> int:
        await self.chat()
        return 7

    @contextlib.asynccontextmanager
    async def opened(self, _site: Site, _variant: str) -> AsyncIterator[Client]:
        yield Client({"chat": self.chat}, self.stream)


async def _measured(library: FakeLibrary, load: Load) -> Sample:
    return await measure(library.opened, "", load, {"instant": "http://upstream.test/v1"})


async def test_every_call_is_counted() -> None:
    """Also of callers that overlap."""
    library = FakeLibrary()
    sample = await _measured(library, Load("chat", "instant", 20, seconds=0.0, warm_up=0.0))
    assert sample.units == len(sample.latencies) == 20
    assert library.calls == 3 + 20 + 20  # alone, warm-up, measured
    assert library.most_at_once == 20


async def test_chunks_are_the_units_of_streams() -> None:
    """Not the calls."""
    sample = await _measured(FakeLibrary(), Load("stream", "instant", 3, seconds=0.0, warm_up=0.0))
    assert (sample.units, len(sample.latencies)) == (21, 3)


async def test_burst_asks_for_all_at_once() -> None:
    """How many get through is the client's business."""
    library = FakeLibrary()
    sample = await _measured(library, Load("chat", "instant", 5, warm_up=0.0, burst=50))
    assert (sample.units, library.most_at_once) == (50, 50)


async def test_sample_is_told_in_microseconds() -> None:
    """What is written down has figures and no latencies."""
    told = Sample(units=4, cpu=0.002, wall=0.1, latencies=[0.3, 0.1, 0.2, 0.4]).as_json()
    assert told["cpu_us"] == pytest.approx(500.0)
    assert (told["p50"], told["p99"], told["calls"]) == (0.3, 0.4, 4)


async def test_client_without_that_kind_is_left_out() -> None:
    """With a reason."""
    with pytest.raises(Unavailable, match="embeddings"):
        await _measured(FakeLibrary(), Load("embeddings", "instant", 1))


async def test_app_requests_are_measured_with_and_without() -> None:
    """In all three ways of using phase1."""
    found = await overhead(rounds=1, requests=3)
    assert set(found) == {"legacy", "observing", "pool", "pool-starlette"}
    assert all(set(figures) == {"without_us", "with_us", "added_us"} for rounds in found.values() for figures in rounds)
