"""Is a loop that stands still noticed, and the right line named? By a clock that moves when told to."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phase1.events import Event, Events, LoopStalled
from phase1.observe.heartbeat import Heartbeat
from tests.observe.live.stage import wait_for


class Clock:
    """Moves when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Loop:
    """Answers when told to."""

    def __init__(self) -> None:
        self.asked: list[Callable[[], None]] = []
        self.closed = False

    def call_soon_threadsafe(self, answer: Callable[[], None]) -> None:
        if self.closed:
            raise RuntimeError("closed")
        self.asked.append(answer)

    def turn(self) -> None:
        for answer in self.asked:
            answer()
        self.asked.clear()


class Bench:
    """A heartbeat, its clock, its loop, and what it has told."""

    def __init__(self) -> None:
        self.clock, self.loop = Clock(), Loop()
        self.told: list[Event] = []
        self.lags: list[float] = []
        self.beat = Heartbeat(Events(self), was_late=self.lags.append, each_second=lambda: None, clock=self.clock)

    def on_event(self, event: Event, /) -> None:
        self.told.append(event)

    def look(self, seconds: float, *, late_myself: bool = False) -> None:
        """Time passes, then a round."""
        self.clock.now += seconds
        self.beat.look(self.loop, threading.get_ident(), late_myself=late_myself)  # type: ignore[arg-type]


def here() -> str:
    """The line of whoever calls this, as a site."""
    frame = sys._getframe(1)
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def test_loop_that_answers_is_late_by_what_it_took() -> None:
    """And nobody is to blame."""
    bench = Bench()
    bench.look(0)
    bench.clock.now += 0.01
    bench.loop.turn()
    bench.look(0.09)
    assert bench.lags == [pytest.approx(0.01)]
    assert (bench.told, bench.beat.standing_at) == ([], None)


def test_line_that_holds_the_loop_is_named_when_it_moves_again() -> None:
    """With the seconds that it stood; while it stands, the page can say so."""
    bench = Bench()
    bench.look(0)
    bench.look(0.05)
    assert bench.beat.standing_at is None
    bench.look(0.1)
    assert str(bench.beat.standing_at).startswith(here() + ":")
    assert bench.beat.standing_for == pytest.approx(0.15)
    bench.look(0.85)
    assert bench.told == []
    bench.loop.turn()
    assert (bench.beat.standing_at, bench.beat.standing_for) == (None, 0.0)
    bench.look(0.1)
    (stalled,) = bench.told
    assert isinstance(stalled, LoopStalled)
    assert stalled.site.startswith(here() + ":")
    assert stalled.seconds == pytest.approx(1.0)
    assert bench.lags == [pytest.approx(1.0)]


def test_process_that_was_stopped_blames_nobody() -> None:
    """The watching thread is late as well."""
    bench = Bench()
    bench.look(0)
    bench.look(60.0, late_myself=True)
    assert bench.beat.standing_at is None
    bench.loop.turn()
    bench.look(0.1)
    assert bench.told == []


def test_line_is_logged_once_and_only_when_asked_to(caplog: pytest.LogCaptureFixture) -> None:
    """With the toggle off the log stays as it was."""
    bench = Bench()

    def stall() -> None:
        bench.look(0.1)
        bench.look(0.5)
        bench.loop.turn()

    with caplog.at_level(logging.WARNING, "phase1"):
        bench.beat.talkative = False
        stall()
        bench.look(0.1)
        assert caplog.messages == []
        bench.beat.talkative = True
        for _ in range(3):
            stall()
        bench.look(0.1)
    assert len(bench.told) == 4
    (message,) = caplog.messages
    assert "stood still for 0." in message


def test_closed_loop_is_asked_nothing() -> None:
    """It has ended between two knocks."""
    bench = Bench()
    bench.loop.closed = True
    bench.look(0.1)
    bench.look(0.1)
    assert (bench.told, bench.lags, bench.beat.standing_for) == ([], [], 0.0)


async def test_real_loop_is_watched_until_stopped() -> None:
    """A thread that ends with `stop`; and one watches at a time."""
    lags: list[float] = []
    seconds = threading.Event()
    beat = Heartbeat(Events(), was_late=lags.append, each_second=seconds.set)
    before = threading.active_count()
    loop = asyncio.get_running_loop()
    beat.start(loop)
    beat.start(loop)
    async with asyncio.timeout(20):
        while len(lags) < 2 or not seconds.is_set():  # noqa: ASYNC110 - the thread has no loop to tell
            await asyncio.sleep(0.02)
    beat.stop()
    wait_for(lambda: threading.active_count() <= before, "the end of the thread")


async def test_real_blocking_line_is_found() -> None:
    """The watching thread sees this very line on the loop's stack."""
    told: list[Event] = []

    class Listener:
        def on_event(self, event: Event, /) -> None:
            told.append(event)

    beat = Heartbeat(Events(Listener()), was_late=lambda _: None, each_second=lambda: None)
    beat.start(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(20):
            while not told:
                ends = time.monotonic() + 5
                while beat.standing_at is None and time.monotonic() < ends:
                    pass  # this is what blocks
                await asyncio.sleep(0.05)
    finally:
        beat.stop()
    assert isinstance(told[0], LoopStalled)
    assert told[0].site.startswith(here() + ":")


async def test_second_that_fails_is_said_once_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full, a bug: the loop is watched all the same."""
    failed: list[int] = []

    def fail() -> None:
        failed.append(1)
        raise ZeroDivisionError

    lags: list[float] = []
    beat = Heartbeat(Events(), was_late=lags.append, each_second=fail)
    beat.start(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(20):
            while len(failed) < 2 or not lags:  # noqa: ASYNC110 - the thread has no loop to tell
                await asyncio.sleep(0.02)
    finally:
        beat.stop()
    assert len([record for record in caplog.records if "could not be kept" in record.message]) == 1
