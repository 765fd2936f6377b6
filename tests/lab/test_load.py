"""Are users and their numbers right?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.lab.load import Run, Sample, Target, arrive, drive, evenly, join, percentile, summarize
from phase1.lab.target import Ask

_ANSWERS = {
    "/ok": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "/bad": b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad",
    "/gone": b"",
}


class Habits:
    """A server whose paths say what it does: `/ok`, `/bad`, `/gone` hangs up, `/never` keeps silent."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return False
        headers = dict(line.lower().split(": ", 1) for line in head.strip().splitlines()[1:])
        await reader.readexactly(int(headers["content-length"]))
        self.tokens.append(headers["authorization"].removeprefix("bearer "))
        path = head.split()[1]
        if path == "/never":
            return not await reader.read(1)  # until the caller leaves
        writer.write(_ANSWERS[path])
        return bool(_ANSWERS[path])


@pytest.fixture
async def habits() -> AsyncIterator[Habits]:
    """A running one."""
    found = Habits()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.25, 1.0), (0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (0.95, 4.0), (1.0, 4.0)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    """Of four values each is the percentile of a quarter."""
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected


def test_percentile_of_one_value_is_the_value() -> None:
    """Whatever the share."""
    assert {percentile([7.0], share) for share in (0.0, 0.5, 1.0)} == {7.0}


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    """It is one of the values, and at least that share of them is not above it."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in values
    assert sum(value <= found for value in ordered) >= share * len(ordered)


def test_summary_counts_each_request_once() -> None:
    """Answers, timeouts and errors make up the requests; a timeout's waiting is part of the mean."""
    samples = (
        Sample(0, 1.0, 200),
        Sample(0, 3.0, 201),
        Sample(1, 2.0, 502),
        Sample(1, 10.0, None, timed_out=True),
        Sample(2, 0.0, None),
    )
    found = summarize(Run(samples, seconds=4.0))
    assert (found.requests, found.answered, found.timeouts, found.errors) == (5, 2, 1, 2)
    assert (found.success, found.per_second) == (0.4, 0.5)
    assert (found.mean, found.p50, found.p95) == (3.2, 2.0, 10.0)
    assert found.outcomes == {"200": 1, "201": 1, "502": 1, "timeout": 1, "no answer": 1}


def _at(habits: Habits, path: str) -> Target:
    return Target(url=habits.url + path, ask=Ask(headers=(("authorization", "Bearer user-{user}"),)))


async def test_every_user_asks_as_often_as_told(habits: Habits) -> None:
    """Three users, two rounds: six requests, each with its user's token, each told about."""
    told: list[Sample] = []
    run = await drive(
        _at(habits, "/ok"), users=3, timeout=10, spread=0.01, goes_on=lambda asked: asked < 2, tell=told.append
    )
    assert sorted(habits.tokens) == ["user-1", "user-1", "user-2", "user-2", "user-3", "user-3"]
    assert [sample.status for sample in run.samples] == [200] * 6
    assert tuple(told) == run.samples


async def test_user_who_waits_too_long_gives_up(habits: Habits) -> None:
    """Silence ends with a timeout, which is no error, and the user goes on."""
    found = summarize(await drive(_at(habits, "/never"), users=2, timeout=0.05, goes_on=lambda asked: asked < 2))
    assert (found.answered, found.timeouts, found.errors) == (0, 4, 0)
    assert found.mean >= 0.05


@pytest.mark.parametrize(("path", "outcome"), [("/bad", "502"), ("/gone", "no answer")])
async def test_failure_is_an_error_and_no_timeout(habits: Habits, path: str, outcome: str) -> None:
    """An error status and a broken connection are neither answers nor timeouts."""
    found = summarize(await drive(_at(habits, path), users=2, timeout=10, goes_on=lambda asked: asked < 1))
    assert (found.answered, found.timeouts, found.errors) == (0, 0, 2)
    assert found.outcomes == {outcome: 2}


async def test_nobody_listening_is_an_error(habits: Habits) -> None:
    """A refused connection does not end the run."""
    target = replace(_at(habits, "/ok"), url="http://127.0.0.1:1/")
    found = summarize(await drive(target, users=1, timeout=10, goes_on=lambda asked: asked < 2))
    assert found.outcomes == {"no answer": 2}


class Stall:
    """A server that answers at once, but for one stretch of silence: `seconds` of it, from the second `begins` on."""

    def __init__(self, begins: float, seconds: float) -> None:
        self._begins = begins
        self._seconds = seconds
        self._first: float | None = None
        self.held = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self._first = self._first or loop.time()
                since = loop.time() - self._first - self._begins
                if 0 <= since < self._seconds:
                    self.held += 1
                    await asyncio.sleep(self._seconds - since)
                writer.write(_ANSWERS["/ok"])
        except asyncio.IncompleteReadError:
            writer.close()


@asynccontextmanager
async def _stalled(stall: Stall) -> AsyncIterator[Target]:
    server = await asyncio.start_server(stall.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield Target(url=url, ask=Ask(method="GET", body=""))
    finally:
        server.close()


async def test_open_loop_shows_a_stall_that_a_closed_loop_hides() -> None:
    """Half a second of silence, a hundred arrivals a second: fifty of them wait, half of those at least half of it.

    The one user of the closed loop meets the silence once, among hundreds of answers. Only lower bounds of time: a slow
    machine waits longer.
    """
    stall = Stall(0.2, 0.5)
    async with _stalled(stall) as target:
        run = await arrive(target, arrivals=evenly(100, 1.0), users=10, timeout=10)
    assert len(run.samples) == 100
    assert sum(sample.seconds >= 0.25 for sample in run.samples) >= 20
    assert summarize(run).p95 >= 0.4
    met = Stall(0.1, 0.5)
    async with _stalled(met) as target:
        began = time.monotonic()
        run = await drive(target, users=1, timeout=10, goes_on=lambda _: time.monotonic() < began + 1.0)
    assert met.held <= 2


async def test_what_is_due_is_sent_whatever_is_in_flight(habits: Habits) -> None:
    """Nobody is answered, and every arrival is there all the same, with its own time and its own user."""
    run = await arrive(_at(habits, "/never"), arrivals=evenly(200, 0.1), users=3, timeout=0.3)
    assert sorted(round(sample.started, 6) for sample in run.samples) == [round(n / 200, 6) for n in range(20)]
    assert [sample.timed_out for sample in run.samples] == [True] * 20
    assert all(sample.seconds >= 0.3 for sample in run.samples)
    assert sorted(habits.tokens) == sorted(f"user-{number % 3 + 1}" for number in range(20))


async def test_lateness_of_the_generator_is_told_and_counts(habits: Habits) -> None:
    """A loop that stands still sends late: `late` says by how much, and the seconds count from when it was due."""

    def stand_still(sample: Sample) -> None:
        if sample.started == 0.0:
            time.sleep(0.2)

    run = await arrive(_at(habits, "/ok"), arrivals=evenly(50, 0.2), users=1, timeout=10, tell=stand_still)
    held = [sample for sample in run.samples if sample.late > 0.05]
    assert held
    assert all(sample.seconds >= sample.late for sample in run.samples)


async def test_arrivals_are_never_early(habits: Habits) -> None:
    """Each is sent at its time or after it, so that no rate is higher than was asked for."""
    run = await arrive(_at(habits, "/ok"), arrivals=evenly(100, 0.3), users=5, timeout=10)
    assert min(sample.late for sample in run.samples) >= 0.0
    assert run.seconds >= 0.29


@given(st.floats(0.1, 500), st.floats(0.1, 5))
def test_arrivals_are_even_and_within_their_time(rate: float, seconds: float) -> None:
    """The first at once, the others at equal distances, none after the end."""
    times = list(evenly(rate, seconds))
    assert times[0] == 0.0
    assert times[-1] < seconds
    assert len(times) == pytest.approx(rate * seconds, abs=1)


def test_joined_runs_took_as_long_as_all_of_them() -> None:
    """So requests per second are those of the whole."""
    one = Run((Sample(0, 1.0, 200),), seconds=2.0)
    assert summarize(join([one, one])).per_second == 0.5


async def test_connection_that_the_server_was_just_closing_is_no_failure() -> None:
    """It had been used before, so the request is sent once more; a fresh one that breaks is a failure."""
    connections = 0

    async def once_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWERS["/ok"])
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(once_each, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    target = Target(url=url, ask=Ask(method="GET", body=""))
    run = await drive(target, users=1, timeout=10, goes_on=lambda asked: asked < 3)
    server.close()
    assert [sample.status for sample in run.samples] == [200, 200, 200]
    assert connections == 3
