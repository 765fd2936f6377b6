"""Do frames get into the journal, each once and in order, whatever happens to it meanwhile?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from phase1.offload import frames
from phase1.offload.background import Background
from phase1.offload.frames import End
from phase1.offload.held import Held
from phase1.offload.journal import START, Append, Code, JournalUnavailable, Reply
from phase1.offload.writer import Flusher, Writer

from .stores import TIMES, Bench, memory_bench, new_task, until

END = frames.ending(End.COMPLETED)


class Shaky:
    """A journal that is away for a while, or has lost its last frames."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.away = 0
        self.lost = 0
        self.calls: list[int] = []

    async def append(self, appends: Sequence[Append]) -> list[Reply]:
        """As the journal, when it is there."""
        self.calls.append(len(appends))
        if self.away:
            self.away -= 1
            raise JournalUnavailable
        if self.lost:
            ledger = self.bench.journal._ledgers["t1"]  # type: ignore[attr-defined]
            del ledger.entries[-self.lost :]
            ledger.seq, self.lost = ledger.seq - self.lost, 0
        return await self.bench.journal.append(appends)


@asynccontextmanager
async def flushing(journal: Shaky) -> AsyncIterator[tuple[Writer, list[str]]]:
    """A writer of `t1`, and why it was told to stop."""
    await journal.bench.journal.create(new_task())
    await journal.bench.journal.claim("t1", 1, "me")
    flusher, stops, background = Flusher(journal, TIMES), [], Background()  # type: ignore[arg-type, var-annotated]
    background.start((flusher.run,))
    try:
        yield Writer(flusher, "t1", 1, stop=stops.append), stops
    finally:
        await background.aclose()


async def text_of(bench: Bench) -> str:
    """What a reader sees."""
    return "".join(frames.decode(entry.data).get("t", "") for entry in await bench.journal.read("t1", START, 1000))


async def test_deltas_are_gathered() -> None:
    """The first goes at once, the others together."""
    shaky = Shaky(memory_bench())
    async with flushing(shaky) as (writer, _):
        for number in range(100):
            writer.text(f"{number} ")
        assert await writer.end(END) is Code.OK
    assert await text_of(shaky.bench) == "".join(f"{number} " for number in range(100))
    assert len(await shaky.bench.journal.read("t1", START, 1000)) <= 3


async def test_order_of_kinds() -> None:
    """Text, reasoning and other frames keep their order."""
    shaky = Shaky(memory_bench())
    async with flushing(shaky) as (writer, _):
        writer.text("think", "r")
        writer.text("say")
        writer.text("")
        writer.frame({"tc": [1]})
        writer.text("more")
        await writer.end(END)
    data = [entry.data for entry in await shaky.bench.journal.read("t1", START, 1000)]
    assert data == ['{"r":"think"}', '{"t":"say"}', '{"tc":[1]}', '{"t":"more"}', END]


async def test_journal_that_comes_back() -> None:
    """Frames wait for it, and come once."""
    shaky = Shaky(memory_bench())
    shaky.away = 3
    async with flushing(shaky) as (writer, stops):
        writer.text("a")
        assert await writer.end(END) is Code.OK
    assert await text_of(shaky.bench) == "a"
    assert stops == []


async def test_journal_that_stays_away() -> None:
    """After a while the work is told to stop, and nothing hangs."""
    shaky = Shaky(memory_bench())
    async with flushing(shaky) as (writer, stops):
        shaky.away = 1_000_000
        writer.text("a")
        assert await asyncio.wait_for(writer.end(END), 15) is Code.GONE
    assert stops == ["journal_unavailable"]


async def test_journal_that_has_lost_its_last_frames() -> None:
    """They are said again under the same numbers."""
    shaky = Shaky(memory_bench())
    async with flushing(shaky) as (writer, stops):
        for number in range(10):
            writer.frame({"t": str(number)})
        await until(lambda: not writer.waiting)
        shaky.lost = 5
        assert await writer.end(END) is Code.OK
    assert await text_of(shaky.bench) == "0123456789"
    assert stops == []
    places = [entry.cursor.seq for entry in await shaky.bench.journal.read("t1", START, 1000)]
    assert places == list(range(1, 12))


async def test_journal_that_has_lost_too_much() -> None:
    """More than is kept: it cannot be made whole."""
    shaky = Shaky(memory_bench())
    async with flushing(shaky) as (writer, stops):
        for number in range(500):
            writer.frame({"t": str(number)})
        await until(lambda: not writer.waiting)
        shaky.lost = 450
        assert await writer.end(END) is Code.GAP
    assert stops == ["gap"]


async def test_fenced() -> None:
    """Somebody else has it now."""
    shaky = Shaky(memory_bench())
    async with flushing(shaky) as (writer, stops):
        writer.text("a")
        await until(lambda: not writer.waiting)
        await shaky.bench.lapsed("t1")
        await shaky.bench.journal.reap("t1")
        await shaky.bench.journal.claim("t1", 2, "new")
        writer.text("b")
        assert await writer.end(END) is Code.FENCED
    assert stops == ["fenced"]


async def test_busy_process_writes_less_often() -> None:
    """A tick that took long is followed by three times as much of other work."""
    now, slept = [0.0], []

    class Slow(Shaky):
        async def append(self, appends: Sequence[Append]) -> list[Reply]:
            now[0] += 0.1
            return await super().append(appends)

    shaky = Slow(memory_bench())
    await shaky.bench.journal.create(new_task())
    await shaky.bench.journal.claim("t1", 1, "me")
    flusher = Flusher(shaky, TIMES, clock=lambda: now[0])  # type: ignore[arg-type]

    async def gather_more(rest: float) -> None:
        slept.append(rest)
        raise asyncio.CancelledError

    flusher._gather_more = gather_more  # type: ignore[method-assign]
    Writer(flusher, "t1", 1, stop=lambda _: None).text("a")
    with pytest.raises(asyncio.CancelledError):
        await flusher.run()
    assert slept == [pytest.approx(0.3)]


class Forgetful:
    """A journal whose renewals fail a few times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.renewed = asyncio.Event()

    async def renew(self, held: Sequence[tuple[str, int]], *, lease_ms: int | None = None) -> list[Reply]:
        """The third time it works."""
        if self.failures:
            self.failures -= 1
            raise JournalUnavailable
        self.renewed.set()
        return [Reply(Code.OK) for _ in held]

    async def backlog(self) -> int:
        """It is away as well."""
        raise JournalUnavailable


async def test_lease_loop_outlives_failures() -> None:
    """Three renewals fail: the fourth is made all the same, and nothing was stopped."""
    journal, stops, beats = Forgetful(3), [], []  # type: ignore[var-annotated]
    held = Held(journal, TIMES, beat=lambda: beats.append(1))  # type: ignore[arg-type]
    background = Background()
    with held.holding("t1", 1, stops.append):
        background.start((held.run,))
        await asyncio.wait_for(journal.renewed.wait(), 5)
        await background.aclose()
    assert stops == []
    assert beats
    assert len(held) == 0
    beats.clear()
    await held.renew()
    assert not beats  # nothing is held, and the journal is away: no sign of life


async def test_lost_lease_stops_the_work() -> None:
    """The reply is read: who has lost the lease stops."""
    bench, stops = memory_bench(), []  # type: ignore[var-annotated]
    await bench.journal.create(new_task())
    await bench.journal.claim("t1", 1, "me")
    held = Held(bench.journal, TIMES)
    with held.holding("t1", 1, stops.append):
        await bench.lapsed("t1")
        await bench.journal.reap("t1")
        await bench.journal.claim("t1", 2, "new")
        await held.renew()
    assert stops == ["fenced"]


async def test_answer_that_is_too_long_in_the_moment_of_its_end() -> None:
    """The journal has refused text before its writer has said that this was all."""
    shaky = Shaky(memory_bench(max_bytes=100))
    async with flushing(shaky) as (writer, stops):
        writer.text("x" * 200)
        await until(lambda: bool(stops))
        assert await writer.end(END) is Code.OK
    assert writer.ended is End.INCOMPLETE
    assert stops == ["too_large"]
    assert await text_of(shaky.bench) == ""
