"""Are users and their numbers right?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.lab.load import Run, Sample, Target, drive, percentile, summarize

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
    return Target(url=habits.url + path, body={"say": "hi"}, token=lambda user: f"user-{user}")


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
