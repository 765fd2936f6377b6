"""Shared timers of many deadlines."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from phase1.engine.deadlines import Deadlines


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

    def call_at(self, when: float, *call: object) -> _Timer:
        """Note it."""
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


class Scope:
    """Remembers when it was told to run out."""

    when: float | None = None

    over = False

    def reschedule(self, when: float) -> None:
        """As `asyncio.Timeout` has it."""
        self.when = when

    def expired(self) -> bool:
        """The same."""
        return self.over


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """A loop without time."""
    return Loop(monkeypatch)


def begin(deadlines: Deadlines, at: float) -> Any:  # noqa: ANN401 - in the place of an asyncio.Timeout
    """A new scope that runs out at `at`."""
    scope: Any = Scope()
    deadlines.begin(scope, at)
    return scope


def test_deadlines_of_one_moment_share_a_timer(loop: Loop) -> None:
    """It goes off before the first of them, and each runs out."""
    deadlines = Deadlines()
    scopes = [begin(deadlines, at) for at in (1055.001, 1055.002, 1055.03)]
    assert len(loop.timers) == 1
    assert len(deadlines) == 3
    loop.run(1055.0)
    assert [scope.when for scope in scopes] == [1055.0, 1055.0, 1055.0]
    assert not len(deadlines)


def test_what_is_over_runs_out_no_more(loop: Loop) -> None:
    """The others of its moment do; a timer that nobody needs is taken out."""
    deadlines = Deadlines()
    over, other = begin(deadlines, 1055.001), begin(deadlines, 1055.002)
    alone = begin(deadlines, 1060.0)
    deadlines.end(over, 1055.001)
    deadlines.end(alone, 1060.0)
    assert loop.cancelled == [1060.0]
    loop.run(1055.0)
    assert (over.when, other.when) == (None, 1055.0)
    deadlines.end(other, 1055.002)
    assert not loop.timers


def test_what_has_run_out_is_left_alone(loop: Loop) -> None:
    """Somebody else was quicker; the others of its moment run out all the same."""
    deadlines = Deadlines()
    over, other = begin(deadlines, 1055.001), begin(deadlines, 1055.002)
    over.over = True
    loop.run(1055.0)
    assert (over.when, other.when) == (None, 1055.0)


def test_little_time_is_not_rounded(loop: Loop) -> None:
    """Below a second each has its own timer, asyncio's."""
    deadlines = Deadlines()
    assert begin(deadlines, 1000.51).when == 1000.51
    assert not len(deadlines)


def test_nothing_ends_what_has_no_end(loop: Loop) -> None:
    """No timer at all."""
    deadlines = Deadlines()
    scope = begin(deadlines, inf)
    deadlines.end(scope, inf)
    assert (scope.when, loop.timers) == (None, {})


async def test_a_scope_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: it raises where it waits, in time."""
    monkeypatch.setattr("phase1.engine.deadlines._SOON", 0.0)
    deadlines, scope = Deadlines(), asyncio.timeout(None)
    late = asyncio.get_running_loop().time() + 0.1

    async def wait() -> None:
        async with scope:
            deadlines.begin(scope, late)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()
    assert scope.expired()
    assert not len(deadlines)
    assert asyncio.get_running_loop().time() < late + 0.5
