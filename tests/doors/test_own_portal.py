"""What does a portal do to the code in it? Nothing that the code could notice, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import weakref
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

import greenlet
import pytest

from phase1.doors import portal
from phase1.doors.portal import await_, has_portal, in_portal

from .world import no_portal

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="nobody")


async def turn(value: str = "") -> str:
    """One turn of the loop."""
    await asyncio.sleep(0)
    return value


async def fails(error: BaseException) -> None:
    """After one turn of the loop."""
    await asyncio.sleep(0)
    raise error


def alone(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task with a portal of its own."""
    return asyncio.create_task(in_portal(work))


async def test_synchronous_code_gets_what_it_awaits() -> None:
    """Again and again, mixed with awaits."""

    async def work() -> list[str]:
        return [await_(turn("a")), await turn("b"), await_(turn("c")), await_(asyncio.wait_for(turn("d"), 10))]

    assert await alone(work()) == ["a", "b", "c", "d"]


async def test_other_tasks_go_on_meanwhile() -> None:
    """That is what it is for."""
    seen: list[str] = []
    both = asyncio.Barrier(2)

    async def work(name: str) -> None:
        await_(both.wait())
        seen.append(name)

    await asyncio.gather(alone(work("a")), alone(work("b")))
    assert sorted(seen) == ["a", "b"]


async def test_exceptions_come_back_as_they_are() -> None:
    """From the awaited to the synchronous code, and from that to whoever awaits the task."""
    error = ValueError("x")

    async def work() -> None:
        with pytest.raises(ValueError, match="x") as caught:
            await_(fails(error))
        assert caught.value is error
        raise KeyError from error

    with pytest.raises(KeyError) as raised:
        await alone(work())
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_exceptions_that_are_no_errors_pass_too(error: type[BaseException]) -> None:
    """The process decides what they mean."""

    async def work() -> None:
        raise error

    with pytest.raises(error), no_portal():
        await in_portal(work())


async def test_cancellation_reaches_synchronous_code() -> None:
    """Where it waits; it may clean up, with awaiting, and then the task is cancelled."""
    cleaned: list[str] = []
    waits = asyncio.Event()

    async def forever() -> None:
        waits.set()
        await asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await_(forever())
        finally:
            cleaned.append(await_(turn("clean")))

    task = alone(work())
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["clean"]
    assert task.cancelled()


async def test_context_variables_are_the_tasks() -> None:
    """Set on one side, seen on the other; not in the next request on the same greenlet."""

    async def set_in(name: str) -> None:
        await asyncio.sleep(0)
        NAME.set(name)

    async def work() -> list[str]:
        seen = [NAME.get()]
        NAME.set("before")
        await_(set_in("inside"))
        return [*seen, NAME.get()]

    assert await alone(work()) == ["nobody", "inside"]
    assert await alone(work()) == ["nobody", "inside"]
    assert NAME.get() == "nobody"


async def test_a_context_of_its_own_stays() -> None:
    """`Context.run` around synchronous code that waits."""
    own = contextvars.copy_context()

    def inside() -> str:
        NAME.set("own")
        await_(turn())
        await_(turn())
        return NAME.get()

    async def work() -> tuple[str, str]:
        return own.run(inside), NAME.get()

    assert await alone(work()) == ("own", "nobody")


async def test_greenlets_of_the_app_may_wait_too() -> None:
    """As SQLAlchemy starts them; each goes on where it was."""

    def inner() -> str:
        return await_(turn("in")) + await_(turn("ner"))

    async def work() -> tuple[str, str]:
        return greenlet.greenlet(inner).switch(), await_(turn("outer"))

    assert await alone(work()) == ("inner", "outer")


async def test_children_have_no_portal_by_themselves() -> None:
    """It is the task's: another one could not be suspended by it."""

    async def child() -> bool:
        return has_portal()

    async def work() -> tuple[bool, bool]:
        return has_portal(), await asyncio.create_task(child())

    assert await alone(work()) == (True, False)


async def test_without_a_portal_it_is_said() -> None:
    """And the coroutine is closed, so that nobody complains of it."""
    with no_portal(), pytest.raises(RuntimeError, match="no portal"):
        await_(turn())
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(has_portal()))
    thread.start()
    thread.join()
    assert outcome == [False]


async def test_twice_is_once() -> None:
    """The inner one is the outer one."""

    async def inner() -> str:
        return await_(turn("inner"))

    async def work() -> tuple[str, str]:
        return await in_portal(inner()), await_(turn("outer"))

    assert await alone(work()) == ("inner", "outer")


async def test_what_is_awaited_need_not_be_a_coroutine() -> None:
    """An ASGI app may be any callable that returns something awaitable."""

    class Awaited:
        def __await__(self) -> Generator[Any, Any, str]:
            return turn("awaited").__await__()

    async def work(awaited: Awaitable[str]) -> str:
        return await in_portal(awaited)

    assert await asyncio.create_task(work(Awaited())) == "awaited"


@pytest.mark.parametrize("ends", ["well", "with an error"])
async def test_greenlets_are_used_again_and_hold_nothing(ends: str) -> None:
    """What a request had is free when it is over, though its greenlet is kept."""

    class Thing:
        """Something large."""

    things: list[weakref.ref[Thing]] = []

    async def work() -> Thing:
        thing = Thing()
        things.append(weakref.ref(thing))
        await_(turn())
        if ends == "well":
            return thing
        raise ValueError(thing)

    used = []
    for _ in range(3):
        await asyncio.gather(alone(work()), return_exceptions=True)
        used.append(portal._idle.workers[-1])
    await asyncio.gather(asyncio.create_task(turn()))  # asyncio keeps its last future
    gc.collect()
    assert [thing() for thing in things] == [None] * 3
    assert len(set(used)) == 1
    assert used[0].gr_context is None


async def test_only_so_many_greenlets_are_kept() -> None:
    """After a rush."""
    await asyncio.gather(*(alone(turn()) for _ in range(portal._MOST_IDLE + 20)))
    assert len(portal._idle.workers) <= portal._MOST_IDLE


def test_a_task_that_is_dropped_is_unwound() -> None:
    """Its loop is gone: the synchronous code in it ends, too."""
    unwound: list[str] = []

    def inside() -> None:
        try:
            await_(asyncio.sleep(3600))
        finally:
            unwound.append("inside")

    async def work() -> None:
        inside()

    loop = asyncio.new_event_loop()
    task = loop.create_task(in_portal(work()))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    coroutine = task.get_coro()
    assert coroutine is not None
    coroutine.close()
    assert unwound == ["inside"]
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks begin eagerly from Python 3.12 on")
async def test_a_task_that_begins_inside_a_step_of_another_has_its_own() -> None:
    """The first step of an eager task runs in the middle of its parent's."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # from 3.12 on

    async def child() -> tuple[bool, str]:
        return has_portal(), await in_portal(grandchild())

    async def grandchild() -> str:
        return await_(turn("waited"))

    async def work() -> tuple[bool, str]:
        task = asyncio.create_task(child())
        await_(turn())
        return await task

    assert await alone(work()) == (False, "waited")
