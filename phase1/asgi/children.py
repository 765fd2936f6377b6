"""May the tasks that a request starts use the portal too?

`StreamingResponse` reads an app's generator in a task of its own, and apps use `gather` and `create_task`. A portal
belongs to one task, so the loop's task factory gives one to each task that is started inside an app request. What was
set as a factory before is asked first; tasks outside of requests are left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from phase1.doors.portal import in_portal
from phase1.doors.unit import current_unit

__all__ = ["give_portals_to_children"]

T = TypeVar("T")
_Factory = Callable[..., asyncio.Future[Any]]


class _PortalFactory:
    """A task factory around the one that was there; `None` = asyncio's own."""

    __slots__ = ("_before",)

    def __init__(self, before: _Factory | None) -> None:
        self._before = before

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any],
        **options: Any,  # noqa: ANN401 - the loop's own
    ) -> asyncio.Future[Any]:
        unit = current_unit.get()
        if unit is None or not unit.unblocks:
            return self._make(loop, coro, options)
        task = self._make(loop, in_portal(coro), options)
        task.add_done_callback(lambda _: coro.close())  # of a task that was cancelled before it began
        return task

    def _make(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], options: dict[str, Any]
    ) -> asyncio.Future[Any]:
        return self._before(loop, coro, **options) if self._before else asyncio.Task(coro, loop=loop, **options)


def give_portals_to_children(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, on `loop`. Twice is once."""
    before = loop.get_task_factory()
    if not isinstance(before, _PortalFactory):
        loop.set_task_factory(cast("Any", _PortalFactory(before)))
