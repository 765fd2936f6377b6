"""Does admission lose a place, in whatever order calls come, go, time out and are cancelled?"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.engine.admission import Admission
from phase1.exceptions import QueueFull, QueueTimeout

CAPACITIES = st.integers(1, 3)
QUEUE_SIZES = st.integers(0, 6)
NUMBERS = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 1.0, 50.0])),
        st.tuples(st.just("enter"), st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 1.0, 50.0])),
        st.tuples(st.just("leave"), NUMBERS),
        st.tuples(st.just("cancel"), NUMBERS),
        st.tuples(st.just("turn"), st.integers(1, 3)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 1.0, 60.0])),
    ),
    max_size=60,
)


class Calls:
    """Calls that come and go. Those inside wait until they are told to leave."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[str]] = []

    def enter(self, key: str, timeout: float) -> None:
        self.tasks.append(asyncio.create_task(self._call(key, timeout)))

    def leave(self, number: int) -> None:
        if self.inside:
            place = self.inside[number % len(self.inside)]
            if not place.done():
                place.set_result(None)

    def cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    async def turn(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def _call(self, key: str, timeout: float) -> str:
        try:
            await self.admission.enter(key, timeout=timeout)
        except (QueueFull, QueueTimeout) as exc:
            return type(exc).__name__
        place = asyncio.get_running_loop().create_future()
        self.inside.append(place)
        try:
            await place
        finally:
            self.inside.remove(place)
            self.admission.leave()
        return "served"

    async def act(self, step: tuple[object, ...]) -> None:
        match step:
            case ("enter", str(key), float(timeout)):
                self.enter(key, timeout)
            case ("leave", int(number)):
                self.leave(number)
            case ("cancel", int(number)):
                self.cancel(number)
            case ("turn", int(times)):
                await self.turn(times)
            case ("wait", float(seconds)):
                await asyncio.sleep(seconds)

    def check(self, capacity: int, queue_size: int) -> None:
        admission = self.admission
        assert len(self.inside) <= admission.in_flight <= capacity
        assert 0 <= admission.waiting <= queue_size
        if admission.waiting:
            assert admission.in_flight == capacity  # nobody waits while there is a place


@settings(max_examples=300)
@given(capacity=CAPACITIES, queue_size=QUEUE_SIZES, steps=STEPS)
async def test_no_order_of_events_leaks_or_exceeds(
    capacity: int, queue_size: int, steps: list[tuple[object, ...]]
) -> None:
    """At every moment at most `capacity` are inside, and in the end nobody is."""
    calls = Calls(Admission(capacity=capacity, queue_size=queue_size))
    for step in steps:
        await calls.act(step)
        calls.check(capacity, queue_size)
    drain = asyncio.create_task(calls.admission.drain(timeout=3600.0))
    while not all(task.done() for task in calls.tasks):
        calls.leave(0)
        await asyncio.sleep(1.0)
        calls.check(capacity, queue_size)
    assert await drain is True
    assert (calls.admission.in_flight, calls.admission.waiting) == (0, 0)
    assert all(task.cancelled() or task.result() for task in calls.tasks)


@pytest.mark.parametrize("waiting", [10, 1000])
async def test_thousand_waiters_are_all_served(waiting: int) -> None:
    """Each exactly once, however many there are and whatever their keys."""
    admission = Admission(capacity=3, queue_size=waiting)
    served: list[int] = []

    async def call(number: int) -> None:
        await admission.enter(str(number % 7), timeout=3600.0)
        try:
            await asyncio.sleep(0.1)
            served.append(number)
        finally:
            admission.leave()

    await asyncio.gather(*map(call, range(waiting)))
    assert sorted(served) == list(range(waiting))
    assert (admission.in_flight, admission.waiting) == (0, 0)
