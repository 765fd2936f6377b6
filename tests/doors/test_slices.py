"""Work on the loop in slices of a few milliseconds."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from phase1.doors.slices import Slices, slices_here


class Clock:
    """Seconds, as far as the test has let them pass."""

    now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock of our own."""
    return Clock()


class Work:
    """Pieces of work that take `seconds` each, and the turn of the loop in which each is done."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.slices = Slices(asyncio.get_running_loop(), clock=clock)
        self.turn = 0
        self.done: list[tuple[int, int]] = []

    async def piece(self, number: int) -> None:
        """One of them."""
        await self.slices.next()
        self.clock.now += self.seconds
        self.done.append((number, self.turn))

    async def all(self, count: int) -> dict[int, int]:
        """Do so many; how many were done in each turn."""
        tasks = [asyncio.ensure_future(self.piece(number)) for number in range(count)]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            self.turn += 1
        assert [number for number, _ in self.done] == list(range(count))
        turns = [turn for _, turn in self.done]
        return {turn: turns.count(turn) for turn in turns}


async def test_work_is_spread_over_turns(clock: Clock) -> None:
    """Ten pieces of a millisecond: four or five of them in one turn, in the order of coming."""
    done = await Work(clock, 0.001).all(10)
    assert max(done.values()) <= 5
    assert len(done) >= 3


async def test_long_pieces_are_alone(clock: Clock) -> None:
    """Each takes longer than a slice."""
    assert set((await Work(clock, 0.006).all(8)).values()) == {1}


async def test_short_pieces_come_together(clock: Clock) -> None:
    """A hundred of them take no hundred turns: as the turns turn out to be short, more go on in each."""
    work = Work(clock, 0.002)
    await work.all(6)
    work.done.clear()
    work.seconds = 0.00001
    assert len(await work.all(100)) < 10


async def test_who_comes_alone_does_not_wait(clock: Clock) -> None:
    """However long the clock has run meanwhile, the next turn is a new one."""
    slices = Slices(asyncio.get_running_loop(), clock=clock)
    for _ in range(3):
        waiting = slices.next()
        with pytest.raises(StopIteration):
            waiting.send(None)
        clock.now += 1.0
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_is_cancelled_takes_nobodys_turn(clock: Clock) -> None:
    """The others go on."""
    work = Work(clock, 0.006)
    tasks = [asyncio.ensure_future(work.piece(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert repr(work.slices) == "<Slices waiting=3>"
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert [number for number, _ in work.done] == [0, 1, 3]


async def test_another_loop_is_not_kept(clock: Clock) -> None:
    """The context of a request goes into threads that run loops of their own."""
    slices = Slices(asyncio.get_running_loop(), clock=clock)
    await slices.next()
    clock.now += 1.0

    def elsewhere() -> None:
        asyncio.run(asyncio.wait_for(slices.next(), 1.0))

    await asyncio.to_thread(elsewhere)


def test_every_loop_has_its_own() -> None:
    """And they go with it."""

    async def here() -> tuple[Slices, weakref.ref[object]]:
        assert slices_here() is slices_here()
        return slices_here(), weakref.ref(asyncio.get_running_loop())

    (one, loop_of_one), (other, _) = asyncio.run(here()), asyncio.run(here())
    assert one is not other
    gc.collect()
    assert loop_of_one() is None
