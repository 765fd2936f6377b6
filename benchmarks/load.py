"""How is one client loaded, and what did it cost? Runs inside the client's process, which does nothing else meanwhile.

CPU is that of the whole process, all threads, from `time.process_time`; the garbage collector is as Python has it.
"""

from __future__ import annotations

import asyncio
import cProfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.clients.base import Client, Opener, Site, Unavailable
from phase1.lab.machine import resident_bytes

__all__ = ["Load", "Sample", "measure", "measure_memory"]

_Call = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Load:
    """`kind`: `chat`, `responses`, `embeddings` or `stream`, against the upstream `site`.

    `concurrency` callers, each with its next call after its last, for `seconds`; they begin within `stagger` seconds,
    so that they do not all speak at once. Or, if `burst` is given, that many calls at once, `concurrency` of which the
    client lets through.
    """

    kind: str
    site: str
    concurrency: int
    seconds: float = 0.4
    warm_up: float = 0.15
    stagger: float = 0.0
    burst: int = 0


@dataclass(slots=True)
class Sample:
    """One measurement. `units` are chunks for streams, else calls; times are seconds."""

    units: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    latencies: list[float] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """What is written down of it."""
        ordered = sorted(self.latencies)
        return {
            "calls": len(ordered),
            "units": self.units,
            "cpu_us": self.cpu / self.units * 1e6,
            "wall": self.wall,
            "per_second": self.units / self.wall,
            "p50": _percentile(ordered, 0.5),
            "p95": _percentile(ordered, 0.95),
            "p99": _percentile(ordered, 0.99),
            "notes": self.notes,
        }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def measure(
    opened: Opener, variant: str, load: Load, upstreams: dict[str, str], profile: cProfile.Profile | None = None
) -> Sample:
    """Open a client, warm it up, load it."""
    site = Site(load.site, upstreams, capacity=max(1000, load.concurrency))
    async with opened(site, variant) as client:
        call = _call_of(client, load.kind)
        await _warm_up(call, load)
        sample = Sample(notes=dict(client.notes))
        if profile is not None:
            profile.enable()
        started, cpu = time.perf_counter(), time.process_time()
        await _run(call, load, sample)
        sample.cpu, sample.wall = time.process_time() - cpu, time.perf_counter() - started
        if profile is not None:
            profile.disable()
    return sample


def _call_of(client: Client, kind: str) -> _Call:
    if kind == "stream":
        if client.stream is None:
            raise Unavailable("this client is not measured with streams")
        return client.stream
    if kind not in client.unary:
        raise Unavailable(f"this client is not measured with {kind}")
    unary = client.unary[kind]

    async def one() -> int:
        await unary()
        return 1

    return one


async def _warm_up(call: _Call, load: Load) -> None:
    """Every connection once, and what is cached at first use."""
    for _ in range(3):
        await call()
    turns = _until(load.warm_up, at_least=load.concurrency)
    await _together(call, turns, Sample(), callers=load.concurrency, stagger=load.stagger)


async def _run(call: _Call, load: Load, sample: Sample) -> None:
    if load.burst:
        await _together(call, iter(range(load.burst)), sample, callers=load.burst)
    else:
        turns = _until(load.seconds, at_least=load.concurrency)
        await _together(call, turns, sample, callers=load.concurrency, stagger=load.stagger)


def _until(seconds: float, *, at_least: int) -> Iterator[int]:
    ends = time.perf_counter() + seconds
    number = 0
    while number < at_least or time.perf_counter() < ends:
        yield number
        number += 1


async def _together(call: _Call, turns: Iterator[int], sample: Sample, *, callers: int, stagger: float = 0.0) -> None:
    async def caller(waits: float) -> None:
        if waits:
            await asyncio.sleep(waits)
        for _ in turns:
            started = time.perf_counter()
            units = await call()  # not in one line with what follows: `+=` reads its left side first
            sample.latencies.append(time.perf_counter() - started)
            sample.units += units

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(stagger * number / callers))


async def measure_memory(opened: Opener, variant: str, load: Load, upstreams: dict[str, str]) -> dict[str, Any]:
    """Resident memory with `concurrency` calls in flight less that with none, in bytes. Once per process."""
    site = Site(load.site, upstreams, capacity=load.concurrency)
    async with opened(site, variant) as client:
        call = _call_of(client, load.kind)
        await asyncio.gather(*(call() for _ in range(3)))
        before = resident_bytes()
        watching = asyncio.create_task(_highest(before))
        await asyncio.gather(*(call() for _ in range(load.concurrency)))
        watching.cancel()
        highest = max(await watching, resident_bytes())
    return {"bytes": highest - before, "calls": load.concurrency, "notes": dict(client.notes)}


async def _highest(least: int) -> int:
    highest = least
    try:
        while True:
            highest = max(highest, resident_bytes())
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        return highest
