"""How do several things run at the same time, with the errors of one that runs alone?"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["together"]


async def together(**work: Coroutine[Any, Any, object]) -> dict[str, object]:
    """The results, by name. Raises the first failure in the order of `work`, as it is; the others are cancelled."""
    tasks: dict[str, asyncio.Task[object]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for name, coroutine in work.items():
                tasks[name] = group.create_task(coroutine)
    except ExceptionGroup:
        first = next(exc for task in tasks.values() if not task.cancelled() and (exc := task.exception()))
        raise first from first.__cause__  # the group says nothing more
    return {name: task.result() for name, task in tasks.items()}
