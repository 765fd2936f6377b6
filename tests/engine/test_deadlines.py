"""Shared timers of many deadlines."""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import inf
from typing import Any

import pytest

from phase1.engine.deadlines import Clock, Deadlines


class Loop:
    """The running loop, whose time and timers are in the test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.timers: dict[float, tuple[Any, ...]] = {}
        self.cancelled: list[float] = []
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self)

    def time(self) -> float:
        """Now."""
        return self.now

    def call_at(self, when: float, *call: object, context: Context | None = None) -> _Timer:
        """Note it."""
        assert not context  # nothing of whoever is calling
        self.timers[when] = call
        return _Timer(self, when)

    def run(self, when: float) -> None:
        """Let the timer go off."""
        self.now = when
        function, *arguments = self.timers.pop(when)
        function(*arguments)


class _Timer:
    def __init__(self, loop: Loop, when: float) -> None:
        self._loop, self._when = loop, when

    def cancel(self) -> None:
        """Take it out."""
        self._loop.timers.pop(self._when, None)
        self._loop.cancelled.append(self._when)


class Task:
    """The running task, which counts how often it was cancelled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cancels = 0
        monkeypatch.setattr(asyncio, "current_task", lambda _: self)

    def cancelling(self) -> int:
        """Not by anybody else."""
        return 0

    def cancel(self) -> None:
        """Count it."""
        self.cancels += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """A loop without time."""
    return Loop(monkeypatch)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task that does not wait."""
    return Task(monkeypatch)


def end(clock: Clock) -> None:
    """The call is over."""
    clock.__exit__(None, None, None)


@pytest.mark.usefixtures("task")
def test_deadlines_of_one_moment_share_a_timer(loop: Loop) -> None:
    """It goes off before the first of them, and each runs out."""
    deadlines = Deadlines()
    clocks = [deadlines.clock(at).__enter__() for at in (1055.001, 1055.002, 1055.03)]
    assert list(loop.timers) == [1055.0]
    assert len(deadlines) == 3
    loop.run(1055.0)
    assert all(clock.ran_out and not clock.given_up for clock in clocks)
    assert not len(deadlines)


def test_what_is_over_runs_out_no_more(loop: Loop, task: Task) -> None:
    """The others of its moment do; a timer that nobody needs any more finds nobody."""
    deadlines = Deadlines()
    over, other, alone = (deadlines.clock(at).__enter__() for at in (1055.001, 1055.002, 1060.0))
    end(over)
    end(alone)
    loop.run(1055.0)
    loop.run(1060.0)
    assert not alone.ran_out
    over.give_up()
    assert (over.ran_out, over.given_up, other.ran_out, task.cancels) == (False, False, True, 1)
    assert not loop.timers


def test_what_has_run_out_is_left_alone(loop: Loop, task: Task) -> None:
    """Somebody else was quicker; the others of its moment run out all the same."""
    deadlines = Deadlines()
    over, other = (deadlines.clock(at).__enter__() for at in (1055.001, 1055.002))
    over.give_up()
    loop.run(1055.0)
    other.give_up()
    assert (over.given_up, other.ran_out, other.given_up, task.cancels) == (True, True, False, 2)


@pytest.mark.usefixtures("task")
def test_little_time_is_not_rounded(loop: Loop) -> None:
    """Below a second each has its own timer, also where others share one."""
    deadlines = Deadlines()
    deadlines.clock(1001.02).__enter__()
    loop.now = 1000.5
    other = deadlines.clock(1001.02).__enter__()
    assert list(loop.timers) == [1001.0, 1001.02]
    end(other)
    loop.run(1001.0)
    loop.now, loop.cancelled = 1000.0, []
    first, second = (deadlines.clock(1000.51).__enter__() for _ in range(2))
    assert (list(loop.timers), len(deadlines)) == ([1000.51], 0)
    loop.run(1000.51)
    assert second.ran_out
    end(first)
    assert loop.cancelled == [1000.51]


@pytest.mark.usefixtures("task")
def test_nothing_ends_what_has_no_end(loop: Loop) -> None:
    """No timer at all."""
    end(Deadlines().clock(inf).__enter__())
    assert loop.timers == {}


async def test_only_a_task_has_a_clock() -> None:
    """Nobody else can be cancelled."""
    refused = asyncio.get_running_loop().create_future()

    def begin() -> None:
        with pytest.raises(RuntimeError, match="only a task"), Deadlines().clock(inf):
            pass
        refused.set_result(True)

    asyncio.get_running_loop().call_soon(begin)
    assert await refused


async def _wait(deadlines: Deadlines, at: float) -> None:
    with deadlines.clock(at):
        await asyncio.Event().wait()


async def test_a_clock_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: it raises where it waits, in time, and the task goes on."""
    monkeypatch.setattr("phase1.engine.deadlines._SOON", 0.0)
    deadlines, late = Deadlines(), asyncio.get_running_loop().time() + 0.1
    with pytest.raises(TimeoutError):
        await _wait(deadlines, late)
    assert not len(deadlines)
    assert asyncio.get_running_loop().time() < late + 0.5
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_time_that_is_over_ends_what_waits() -> None:
    """At once, as `asyncio.timeout` does."""
    with pytest.raises(TimeoutError):
        await _wait(Deadlines(), asyncio.get_running_loop().time() - 1.0)


async def test_what_did_not_wait_has_come_to_its_end() -> None:
    """Its time ran out while it worked: nobody is told."""
    with Deadlines().clock(asyncio.get_running_loop().time() + 10.0) as clock:
        clock.run_out()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
    assert clock.ran_out


async def test_whoever_is_cancelled_too_is_cancelled() -> None:
    """By somebody else, in the same moment: that is no `TimeoutError`."""
    clocks: list[Clock] = []

    async def wait() -> None:
        with Deadlines().clock(asyncio.get_running_loop().time() + 100.0) as clock:
            clocks.append(clock)
            await asyncio.Event().wait()

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    clocks[0].give_up()
    with pytest.raises(asyncio.CancelledError):
        await waiting
