"""Is a permit given back exactly once, whatever happens inside its block?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from phase1.exceptions import QueueTimeout
from phase1.policy.breaker import BreakerState, Permit
from phase1.policy.classify import Verdict

if TYPE_CHECKING:
    from tests.policy.conftest import Bench

S, F, T, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.NEUTRAL


def leave(permit: Permit, error: BaseException) -> None:
    """Leave the block with `error`."""
    with pytest.raises(type(error)), permit:
        raise error


def test_permit_is_stamped_with_the_generation(bench: Bench) -> None:
    """And it says whether it is a probe."""
    bench.half_open()
    permit = bench.begin()
    assert (permit.generation, permit.probe) == (1, True)


@pytest.mark.parametrize("error", [ValueError("bug"), TimeoutError(), ConnectionError()])
def test_error_in_the_block_is_a_failure(bench: Bench, error: Exception) -> None:
    """Our own timeout is one of them."""
    leave(bench.begin(), error)
    assert bench.breaker.snapshot().consecutive_failures == 1


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), SystemExit(), QueueTimeout("no slot")]
)
def test_cancellation_shutdown_and_local_refusal_in_the_block_are_neutral(bench: Bench, error: BaseException) -> None:
    """None of them is the upstream's fault, and all of them pass on."""
    permit = bench.begin()
    leave(permit, error)
    assert permit.released
    assert bench.breaker.snapshot().window_requests == 0


def test_nobody_said_anything_is_neutral(bench: Bench) -> None:
    """A block that ends without a verdict counts nowhere."""
    with bench.begin() as permit:
        pass
    assert permit.released
    assert bench.breaker.snapshot().window_requests == 0


def test_verdict_inside_the_block_counts_and_its_end_does_not(bench: Bench) -> None:
    """Also when an error passes after it."""
    with bench.begin() as permit:
        permit.release(S)
    leave(permit, ValueError("late"))
    snapshot = bench.breaker.snapshot()
    assert (snapshot.window_requests, snapshot.window_success_rate) == (1, 1.0)


def test_second_release_changes_nothing(bench: Bench) -> None:
    """One permit, one verdict: ten more failures of it are not ten failures."""
    permit = bench.begin()
    permit.release(F)
    for _ in range(10):
        permit.release(F)
    assert bench.breaker.snapshot().consecutive_failures == 1


def test_second_release_of_a_probe_does_not_free_the_next_one(bench: Bench) -> None:
    """The lease belongs to the next probe by then."""
    bench.half_open()
    first = bench.begin()
    first.release(N)
    bench.begin()
    first.release(N)
    bench.rejected()


def test_closed_generator_gives_its_permit_back(bench: Bench) -> None:
    """A stream that is dropped in the middle is neutral, and a probe of it is free again."""
    bench.half_open()

    def stream() -> Iterator[int]:
        with bench.begin():
            yield 1

    chunks = stream()
    next(chunks)
    bench.rejected()
    del chunks
    assert bench.breaker.state is BreakerState.HALF_OPEN
    assert bench.begin().probe


async def test_cancelled_task_gives_its_permit_back(bench: Bench) -> None:
    """A real task, cancelled while it waits."""
    bench.half_open()
    started = asyncio.Event()

    async def call() -> None:
        with bench.begin():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.begin().probe


def test_permit_has_no_room_for_more(bench: Bench) -> None:
    """Slots: a permit is made for every request."""
    assert not hasattr(bench.begin(), "__dict__")


def test_repr_tells_live_state(bench: Bench) -> None:
    """Probe or not, generation, out or released."""
    bench.half_open()
    permit = bench.begin()
    assert repr(permit) == "<Permit probe, generation=1, out>"
    permit.release(N)
    assert repr(permit) == "<Permit probe, generation=1, released>"
