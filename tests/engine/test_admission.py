"""Who may start, who waits, and is every place given back?"""

from __future__ import annotations

import asyncio

import pytest

from phase1.engine.admission import Admission
from phase1.exceptions import PoolClosed, QueueFull, QueueTimeout

LONG = 3600.0


async def settled() -> None:
    """Let everybody do what there is to do, at this very moment."""
    for _ in range(10):
        await asyncio.sleep(0)


class Counter:
    """An admission, the calls inside, and the order in which they came in."""

    def __init__(self, *, capacity: int = 1, queue_size: int = 1000) -> None:
        self.admission = Admission(capacity=capacity, queue_size=queue_size)
        self.order: list[str] = []

    def call(self, name: str, key: str | None = None, *, timeout: float = LONG) -> asyncio.Task[None]:
        """A call that wants in; it stays inside until somebody leaves for it."""
        return asyncio.create_task(self._enter(name, key, timeout), name=name)

    async def _enter(self, name: str, key: str | None, timeout: float) -> None:
        await self.admission.enter(key, timeout=timeout)
        self.order.append(name)

    async def leave(self) -> None:
        """One of those inside leaves."""
        self.admission.leave()
        await settled()

    @property
    def numbers(self) -> tuple[int, int]:
        """In flight, waiting."""
        return self.admission.in_flight, self.admission.waiting


@pytest.fixture
def counter() -> Counter:
    """One place."""
    return Counter()


async def test_free_place_is_taken_at_once() -> None:
    """Without a single turn of the loop."""
    admission = Admission(capacity=2, queue_size=0)
    with pytest.raises(StopIteration):
        admission.enter("a", timeout=0.0).send(None)
    assert (admission.in_flight, admission.waiting, admission.capacity) == (1, 0, 2)
    assert repr(admission) == "<Admission in_flight=1/2 waiting=0>"


async def test_one_key_with_a_hundred_calls_delays_another_by_one_turn(counter: Counter) -> None:
    """Keys take turns: the single call of b comes in after at most one more call of a."""
    counter.call("first", "a")
    for number in range(100):
        counter.call(f"a{number}", "a")
    await settled()
    counter.call("b", "b")
    await settled()
    await counter.leave()
    await counter.leave()
    assert "b" in counter.order
    assert counter.order.index("b") <= 2


async def test_calls_of_one_key_keep_their_order(counter: Counter) -> None:
    """First come, first served, where nobody else wants in."""
    for name in "pqr":
        counter.call(name, "a")
    await settled()
    await counter.leave()
    await counter.leave()
    assert counter.order == ["p", "q", "r"]


async def test_three_keys_take_turns(counter: Counter) -> None:
    """a, b, c, a, b, c: whatever the order of their arrival."""
    counter.call("inside")
    for name in ("a1", "a2", "b1", "b2", "c1", "c2"):
        counter.call(name, name[0])
    await settled()
    for _ in range(6):
        await counter.leave()
    assert counter.order == ["inside", "a1", "b1", "c1", "a2", "b2", "c2"]


async def test_calls_without_a_key_wait_in_one_line(counter: Counter) -> None:
    """No key is a key, too."""
    counter.call("inside")
    for name, key in (("n1", None), ("n2", None), ("a1", "a")):
        counter.call(name, key)
    await settled()
    for _ in range(3):
        await counter.leave()
    assert counter.order == ["inside", "n1", "a1", "n2"]


async def test_full_queue_refuses_at_once() -> None:
    """The queue is bounded, and the refusal says when to come back."""
    counter = Counter(queue_size=2)
    tasks = [counter.call(name) for name in "abc"]
    await settled()
    with pytest.raises(QueueFull, match="2 waiting") as caught:
        await counter.admission.enter(None, timeout=LONG)
    assert caught.value.retry_after == 1.0
    assert counter.numbers == (1, 2)
    assert not tasks[1].done()


async def test_queue_of_size_zero_refuses_whoever_would_wait() -> None:
    """But admits whoever need not."""
    counter = Counter(queue_size=0)
    await counter.admission.enter(None, timeout=LONG)
    with pytest.raises(QueueFull):
        await counter.admission.enter(None, timeout=LONG)


async def test_waiting_too_long_takes_no_place(counter: Counter) -> None:
    """The timeout is ours, so it is a `QueueTimeout`; the place that comes free later is nobody's."""
    await counter.admission.enter(None, timeout=LONG)
    started = asyncio.get_running_loop().time()
    with pytest.raises(QueueTimeout, match="within 3 s") as caught:
        await counter.admission.enter("a", timeout=3.0)
    assert caught.value.retry_after == 1.0
    assert asyncio.get_running_loop().time() - started == pytest.approx(3.0)
    assert counter.numbers == (1, 0)
    await counter.leave()
    assert counter.numbers == (0, 0)


async def test_timeout_of_one_leaves_the_others_of_its_key_alone(counter: Counter) -> None:
    """Only the one leaves the line."""
    counter.call("inside")
    short = counter.call("short", "a", timeout=1.0)
    counter.call("long", "a")
    with pytest.raises(QueueTimeout):
        await short
    assert counter.numbers == (1, 1)
    await counter.leave()
    assert counter.order == ["inside", "long"]


async def test_place_and_timeout_in_one_moment_hand_the_place_on(counter: Counter) -> None:
    """The timer fires after the place was given and before its new owner has run: the next one has it."""
    loop = asyncio.get_running_loop()
    await counter.admission.enter(None, timeout=LONG)
    late = counter.call("late", timeout=5.0)
    next_one = counter.call("next")
    await settled()
    loop.call_at(loop.time() + 5.0 - 1e-12, counter.admission.leave)
    with pytest.raises(QueueTimeout):
        await late
    await next_one
    assert counter.order == ["next"]
    assert counter.numbers == (1, 0)


async def test_cancelled_waiter_leaves_at_once(counter: Counter) -> None:
    """It does not count as waiting any more, and its cancellation passes on."""
    counter.call("inside")
    waiter = counter.call("waiter")
    await settled()
    waiter.cancel()
    await settled()
    assert waiter.cancelled()
    assert counter.numbers == (1, 0)


async def test_place_and_cancellation_in_one_moment_hand_the_place_on(counter: Counter) -> None:
    """A waiter that is cancelled right after it got its place gives it to the next one."""
    counter.call("inside")
    unlucky, next_one = counter.call("unlucky"), counter.call("next")
    await settled()
    counter.admission.leave()
    unlucky.cancel()
    await settled()
    assert (unlucky.cancelled(), next_one.done()) == (True, True)
    assert counter.order == ["inside", "next"]
    assert counter.numbers == (1, 0)


async def test_place_and_cancellation_with_nobody_behind_free_the_place(counter: Counter) -> None:
    """There is nobody to hand it on to."""
    counter.call("inside")
    unlucky = counter.call("unlucky")
    await settled()
    counter.admission.leave()
    unlucky.cancel()
    await settled()
    assert counter.numbers == (0, 0)


async def test_cancelled_waiter_that_has_not_run_yet_is_skipped(counter: Counter) -> None:
    """The place comes after the cancellation, in the same moment: it goes past the cancelled one."""
    counter.call("inside")
    gone, next_one = counter.call("gone", "a"), counter.call("next", "a")
    await settled()
    gone.cancel()
    counter.admission.leave()
    await settled()
    assert next_one.done()
    assert counter.numbers == (1, 0)


async def test_last_waiter_of_all_cancelled_before_it_has_run_frees_the_place(counter: Counter) -> None:
    """And nobody counts it twice."""
    counter.call("inside")
    gone = counter.call("gone", "a")
    await settled()
    gone.cancel()
    counter.admission.leave()
    await settled()
    assert counter.numbers == (0, 0)


async def test_drain_lets_those_inside_and_waiting_finish(counter: Counter) -> None:
    """Nobody who was let into the queue is lost; it ends when the last one has left."""
    counter.call("inside")
    counter.call("waiting")
    await settled()
    drain = asyncio.create_task(counter.admission.drain(timeout=LONG))
    await counter.leave()
    assert (counter.order, drain.done()) == (["inside", "waiting"], False)
    await counter.leave()
    assert await drain is True


async def test_draining_admits_nobody_new(counter: Counter) -> None:
    """Not even when there is a place."""
    assert await counter.admission.drain(timeout=LONG) is True
    with pytest.raises(PoolClosed):
        await counter.admission.enter(None, timeout=LONG)
    assert counter.numbers == (0, 0)


async def test_drain_gives_up_in_time(counter: Counter) -> None:
    """False after its timeout; those inside may still leave."""
    counter.call("inside")
    await settled()
    assert await counter.admission.drain(timeout=5.0) is False
    await counter.leave()
    assert counter.numbers == (0, 0)


async def test_two_drains_both_end(counter: Counter) -> None:
    """Also when one of them has given up before."""
    counter.call("inside")
    await settled()
    patient = asyncio.create_task(counter.admission.drain(timeout=LONG))
    assert await counter.admission.drain(timeout=1.0) is False
    await counter.leave()
    assert await patient is True


# -- a capacity that changes, and waits that are too long


async def test_more_places_are_handed_to_those_who_wait(counter: Counter) -> None:
    """In their turn, at once."""
    tasks = [counter.call(str(number), f"k{number}") for number in range(4)]
    await settled()
    counter.admission.resize(3)
    await settled()
    assert (counter.order, counter.numbers) == (["0", "1", "2"], (3, 1))
    counter.admission.resize(9)
    await asyncio.gather(*tasks)
    assert counter.numbers == (4, 0)
    assert counter.admission.enter_at_once()


async def test_fewer_places_are_reached_as_calls_leave() -> None:
    """Nobody is thrown out; there is always one place."""
    counter = Counter(capacity=3)
    tasks = [counter.call(str(number)) for number in range(5)]
    await settled()
    counter.admission.resize(0)
    await counter.leave()
    assert (counter.numbers, counter.admission.capacity, counter.admission.enter_at_once()) == ((2, 2), 1, False)
    await counter.leave()
    assert counter.numbers == (1, 2)
    await counter.leave()
    assert (counter.numbers, counter.order[-1]) == ((1, 1), "3")
    await counter.leave()
    await asyncio.gather(*tasks)


async def pace(counter: Counter, seconds: float) -> list[asyncio.Task[None]]:
    """A queue whose places become free every so often: now everybody knows how long a wait is."""
    tasks = [counter.call(f"w{number}", "others") for number in range(40)]
    await settled()
    for _ in range(15):
        await asyncio.sleep(seconds)
        await counter.leave()
    return tasks


async def test_wait_that_would_be_too_long_is_refused_at_once(counter: Counter) -> None:
    """With the time after which it is worth coming back."""
    tasks = await pace(counter, 2.0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(QueueTimeout, match="would take about 50 s, and there are 20 s") as caught:
        await counter.admission.enter("others", timeout=20.0)
    assert caught.value.retry_after == pytest.approx(50.0)
    assert asyncio.get_running_loop().time() == started
    for task in tasks:
        task.cancel()


async def test_wait_is_estimated_by_the_turns_of_the_key(counter: Counter) -> None:
    """A new user is next but one, however long the others' line is."""
    tasks = await pace(counter, 2.0)
    newcomer = counter.call("new", "newcomer", timeout=5.0)
    await settled()
    assert not newcomer.done()
    await counter.leave()
    await counter.leave()
    await newcomer
    for task in tasks:
        task.cancel()


async def test_no_time_at_all_is_refused_at_once(counter: Counter) -> None:
    """An answer would come too late."""
    counter.call("a")
    await settled()
    with pytest.raises(QueueTimeout, match="there are 0 s"):
        await counter.admission.enter("b", timeout=-1.0)


async def test_full_queue_says_when_to_come_back() -> None:
    """By the pace at which it moves."""
    counter = Counter(queue_size=40)
    tasks = await pace(counter, 2.0)
    tasks += [counter.call(f"x{number}", "others") for number in range(16)]
    await settled()
    with pytest.raises(QueueFull) as caught:
        await counter.admission.enter("others", timeout=LONG)
    assert caught.value.retry_after == pytest.approx(82.0)
    for task in tasks:
        task.cancel()
