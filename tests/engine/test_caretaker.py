"""Is what has to be done now and then done, and does it stop?"""

from __future__ import annotations

import asyncio
import logging

import pytest

from phase1.engine.caretaker import Caretaker


async def test_chore_is_done_every_so_often() -> None:
    """Not at once, and not after the end."""
    done: list[float] = []
    loop = asyncio.get_running_loop()
    started = loop.time()
    caretaker = Caretaker()
    caretaker.every(10.0, lambda: done.append(loop.time() - started))
    await asyncio.sleep(35.0)
    await caretaker.aclose()
    await asyncio.sleep(100.0)
    assert done == pytest.approx([10.0, 20.0, 30.0])


async def test_chore_that_awaits_is_not_done_twice_at_once() -> None:
    """The next time counts from its end."""
    started: list[float] = []
    loop = asyncio.get_running_loop()

    async def slow() -> None:
        started.append(loop.time())
        await asyncio.sleep(25.0)

    caretaker = Caretaker()
    caretaker.every(10.0, slow)
    await asyncio.sleep(50.0)
    await caretaker.aclose()
    assert len(started) == 2
    assert started[1] - started[0] == pytest.approx(35.0)


async def test_chore_that_fails_is_done_again(caplog: pytest.LogCaptureFixture) -> None:
    """And each failure is in the log."""
    times = 0

    def fail() -> None:
        nonlocal times
        times += 1
        raise ZeroDivisionError

    async def fail_later() -> None:
        fail()

    caretaker = Caretaker()
    caretaker.every(10.0, fail)
    caretaker.every(10.0, fail_later)
    with caplog.at_level(logging.ERROR, logger="phase1"):
        await asyncio.sleep(25.0)
    await caretaker.aclose()
    assert times == 4
    assert len(caplog.records) == 4


async def test_closing_cancels_what_is_being_done() -> None:
    """And waits for it."""
    ended = False

    async def hang() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(1e6)
        finally:
            ended = True

    caretaker = Caretaker()
    caretaker.every(1.0, hang)
    await asyncio.sleep(2.0)
    await caretaker.aclose()
    assert ended
    await caretaker.aclose()
