"""How does synchronous code await something on the event loop that runs it?

A coroutine is run inside a greenlet (`in_portal`). Synchronous code below it, however deep, gives what it awaits to
`await_`: the greenlet is left with the awaited future, the task yields it as if its own coroutine had, and the
greenlet is entered again with the answer. It is the technique of SQLAlchemy's asyncio layer and of greenback, on which
this was built first; but greenback makes a greenlet for each portal (in CPython 3.11 and newer each maps a stack of
its own) and looks up tasks in weak dictionaries, where every request pays. Here greenlets that have done their work
are used again.

- A portal belongs to the task that opened it. A task that is begun eagerly inside another one's step does not use it.
- Context variables are the task's. Exceptions and cancellation pass both ways. Greenlets that the app starts by itself
  inside a portal (SQLAlchemy's) may use it.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar, cast

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]

__all__ = ["await_", "has_portal", "in_portal"]

T = TypeVar("T")

_MOST_IDLE = 64
"""Greenlets that a thread keeps for its next requests; each has a stack of 16 KiB."""


class _Idle(threading.local):
    """The greenlets that have nothing to do. They cannot leave their thread."""

    def __init__(self) -> None:
        self.workers: list[_Worker] = []


_idle = _Idle()


class _End:
    """What came of a coroutine."""

    __slots__ = ("error", "result")

    def __init__(self, result: object, error: BaseException | None) -> None:
        self.result = result
        self.error = error


class _Worker(greenlet):  # type: ignore[misc]  # it has no types
    """Runs one coroutine after the other. `task`: whose portal it is. `caller`: who has entered it last.

    What goes in and out lies in `mail`, for arguments of a switch would be kept as long as the greenlet is idle. In: a
    coroutine to begin with, then a function and what to call it with (`_send` a value, `_throw` an exception). Out:
    what the loop has to wait for and the greenlet that wants the answer, or the `_End`.
    """

    caller: greenlet
    task: asyncio.Task[Any] | None = None
    mail: Any = None

    def run(self) -> None:
        """Until nobody knows it any more."""
        while True:
            self.mail = self._leave(self._work())

    def _work(self) -> _End:
        coroutine, self.mail, step, value = self.mail, None, _send, None
        try:
            while True:
                step, value = self._leave((step(coroutine, value), self))
        except StopIteration as stop:
            return _End(stop.value, None)
        except GreenletExit:  # it is being collected
            raise
        except BaseException as exc:  # noqa: BLE001 - whatever it is, it is the caller's
            return _End(None, exc)

    def _leave(self, mail: object) -> Any:  # noqa: ANN401
        self.mail = mail
        del mail
        self.caller.switch()
        mail, self.mail = self.mail, None
        return mail


def _send(coroutine: Coroutine[Any, Any, Any], value: object) -> Any:  # noqa: ANN401 - what the loop waits for
    return coroutine.send(value)


def _throw(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Any:  # noqa: ANN401
    return coroutine.throw(error)


async def in_portal(awaitable: Awaitable[T]) -> T:
    """`await awaitable`; synchronous code below it may use `await_`."""
    if has_portal():
        return await awaitable
    coroutine = awaitable if isinstance(awaitable, Coroutine) else _awaited(awaitable)
    return cast("T", await _driven(coroutine))


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


@types.coroutine
def _driven(coroutine: Coroutine[Any, Any, object]) -> Generator[Any, Any, object]:
    workers = _idle.workers
    worker = target = workers.pop() if workers else _Worker()
    worker.task = asyncio.current_task()
    context: Context | None = None
    mail: Any = coroutine
    while True:
        worker.caller = here = getcurrent()
        # The task's context, unless the coroutine is inside a `Context.run` of its own.
        if here.gr_context is not context and worker.gr_context is context:
            worker.gr_context = context = here.gr_context
        worker.mail, mail = mail, None
        target.switch()
        mail, worker.mail = worker.mail, None
        if type(mail) is _End:
            break
        mail, target = mail
        try:
            mail = (_send, (yield mail))
        except BaseException as exc:  # noqa: BLE001 - the coroutine's affair
            mail = (_throw, exc)
    worker.gr_context = worker.task = None
    if len(workers) < _MOST_IDLE:
        workers.append(worker)
    if mail.error is None:
        return mail.result
    try:
        raise mail.error
    finally:
        del mail  # it holds the error, whose traceback holds this frame


def has_portal() -> bool:
    """Whether `await_` works here and now."""
    return _own_worker() is not None


def await_(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result, or what it raises, while the event loop goes on. Raises `RuntimeError` without a portal."""
    worker = _own_worker()
    if worker is None:
        coroutine.close()
        raise RuntimeError("there is no portal here")
    here = getcurrent()
    step, value = _send, None
    while True:
        try:
            worker.mail = (step(coroutine, value), here)
        except StopIteration as stop:
            return cast("T", stop.value)
        worker.caller.switch()
        (step, value), worker.mail = worker.mail, None


def _own_worker() -> _Worker | None:
    """The one that runs the current task, here or below greenlets that the app has started."""
    here: greenlet | None = getcurrent()
    while here is not None and type(here) is not _Worker:
        here = here.parent
    if not isinstance(here, _Worker) or here.task is None or here.task is not asyncio.current_task():
        return None
    return here
