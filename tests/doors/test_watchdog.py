"""Does the watchdog say where a loop stands still, once, and hold its tongue otherwise?

Its rounds are made by hand: no thread of its own, no time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import phase1
from phase1.doors import watchdog as module
from phase1.doors.portal import in_portal
from phase1.doors.watchdog import Watchdog, suspended

from .answers import sse_reply, words
from .bench import until
from .cases import HELLO
from .provider import Gate, Provider
from .world import APP_KEY, app_request, manager_of

pytest_plugins = ["tests.doors.providing"]

BOUND = 10.0
PATIENT_ROUNDS = 3


@pytest.fixture
def watchdog() -> Watchdog:
    """It takes this thread for its own, and so starts none."""
    return Watchdog(period=1.0, patience=float(PATIENT_ROUNDS), _thread=threading.current_thread())


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What it has logged."""
    ear = _Ear()
    logger = logging.getLogger("phase1")
    logger.addHandler(ear)
    yield ear.heard
    logger.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that can be blocked."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND)
        loop.close()


@contextmanager
def blocked(loop: asyncio.AbstractEventLoop, watchdog: Watchdog) -> Iterator[None]:
    """A call is suspended on `loop`, and somebody waits for a lock."""
    stands, lock = threading.Event(), threading.Event()

    def wait_for_a_lock() -> None:
        watchdog.enter(loop)
        stands.set()
        lock.wait(BOUND)

    loop.call_soon_threadsafe(wait_for_a_lock)
    assert stands.wait(BOUND)
    try:
        yield
    finally:
        lock.set()


def look(watchdog: Watchdog, rounds: int) -> None:
    """Some rounds."""
    for _ in range(rounds):
        watchdog.look()


def answered(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until `loop` has done all that stood in its queue."""
    done = threading.Event()
    loop.call_soon_threadsafe(done.set)
    assert done.wait(BOUND)


def test_blocked_loop_is_named_with_its_stack(watchdog: Watchdog, complaints: list[str]) -> None:
    """Function and file of the place where it stands, and what may help."""
    with loop_in_a_thread() as loop, blocked(loop, watchdog):
        look(watchdog, PATIENT_ROUNDS + 1)
        text = complaints[0]
    assert "wait_for_a_lock" in text
    assert __file__ in text
    assert "blocked for 3 s while 1 LLM calls are suspended" in text
    assert "LLM_UNBLOCK=false" in text


def test_patience_comes_first(watchdog: Watchdog, complaints: list[str]) -> None:
    """A loop that is merely slow is not complained about."""
    with loop_in_a_thread() as loop, blocked(loop, watchdog):
        look(watchdog, PATIENT_ROUNDS)
        assert not complaints


def test_one_blockade_is_one_complaint(watchdog: Watchdog, complaints: list[str]) -> None:
    """However long it lasts."""
    with loop_in_a_thread() as loop, blocked(loop, watchdog):
        look(watchdog, 10 * PATIENT_ROUNDS)
        assert len(complaints) == 1


def test_second_blockade_is_complained_about_again(watchdog: Watchdog, complaints: list[str]) -> None:
    """Once the loop has answered in between."""
    with loop_in_a_thread() as loop:
        for _ in range(2):
            with blocked(loop, watchdog):
                look(watchdog, PATIENT_ROUNDS + 1)
            answered(loop)
    assert len(complaints) == 2


async def test_loop_that_answers_is_left_alone(watchdog: Watchdog, complaints: list[str]) -> None:
    """A call that takes long is no blockade."""
    loop = asyncio.get_running_loop()
    watchdog.enter(loop)
    for _ in range(10 * PATIENT_ROUNDS):
        watchdog.look()
        await until(lambda: watchdog._loops[loop].unanswered == 0)
    assert not complaints


def test_loop_without_suspended_calls_is_not_watched(watchdog: Watchdog, complaints: list[str]) -> None:
    """Blocked or not: without a call of ours it is not our business, and its thread sleeps."""
    with loop_in_a_thread() as loop, blocked(loop, watchdog):
        watchdog.leave(loop)
        look(watchdog, 10 * PATIENT_ROUNDS)
    assert not complaints
    assert not watchdog._work.is_set()


async def test_loop_is_watched_until_its_last_call_goes_on(watchdog: Watchdog) -> None:
    """Two calls, of which one ends: it is still watched."""
    loop = asyncio.get_running_loop()
    watchdog.enter(loop)
    watchdog.enter(loop)
    watchdog.leave(loop)
    assert loop in watchdog._loops
    assert watchdog._work.is_set()
    watchdog.leave(loop)
    assert not watchdog._loops


def test_closed_loop_is_no_error(watchdog: Watchdog) -> None:
    """It has been closed with a call suspended."""
    loop = asyncio.new_event_loop()
    watchdog.enter(loop)
    loop.close()
    look(watchdog, 1)


async def test_suspended_enters_and_leaves(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the call fails."""
    monkeypatch.setattr(module, "_watchdog", watchdog)
    loop = asyncio.get_running_loop()

    def fail() -> None:
        assert watchdog._loops[loop].calls == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), suspended(loop):
        fail()
    assert not watchdog._loops


async def test_a_call_is_watched_exactly_while_it_is_suspended(
    provider: Provider, watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the suspension to the answer, for whole answers and each chunk of a stream."""
    monkeypatch.setattr(module, "_watchdog", watchdog)
    gate = Gate()
    provider.answers(sse_reply(gate, *words("Hello")))
    loop = asyncio.get_running_loop()
    with phase1.OpenAI(api_key=APP_KEY, base_url=provider.url) as client:
        async with manager_of(provider) as manager:

            async def endpoint() -> int:
                async with app_request(manager):
                    return len(list(client.chat.completions.create(model="m", messages=HELLO, stream=True)))

            waiting = asyncio.create_task(in_portal(endpoint()))
            await provider.arrived(1)
            assert watchdog._loops[loop].calls == 1
            gate.open()
            assert await asyncio.wait_for(waiting, BOUND) > 0
    assert watchdog._loops == {}


def test_each_loop_is_looked_at_by_itself(watchdog: Watchdog, complaints: list[str]) -> None:
    """One that moves does not hide one that stands still."""
    with loop_in_a_thread() as moving, loop_in_a_thread() as standing, blocked(standing, watchdog):
        watchdog.enter(moving)
        for _ in range(PATIENT_ROUNDS + 1):
            watchdog.look()
            answered(moving)
        assert len(complaints) == 1
        watchdog.leave(moving)
