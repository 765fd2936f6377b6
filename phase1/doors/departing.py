"""Who is told that a call waits for its upstream, on behalf of an app's own client that may leave meanwhile?

What leaving means is the app's server's language; `phase1.asgi` speaks it and stands in `Unit.departure`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from phase1.doors.unit import current_unit

if TYPE_CHECKING:
    from phase1.doors.http import Turn
    from phase1.engine.call import Answer, Call
    from phase1.engine.manager import Manager

__all__ = ["Departing", "send_for_caller"]


class Departing(Protocol):
    """Watches the client of one app request; used on that request's loop only."""

    loop: asyncio.AbstractEventLoop

    def begin(self) -> asyncio.Task[Any] | None:
        """The running task waits for an upstream from now on: it is cancelled if the client leaves."""

    def end(self, task: asyncio.Task[Any] | None) -> None:
        """It does not wait any more."""


def send_for_caller(manager: Manager, call: Call, turn: Turn) -> Awaitable[Answer]:
    """`turn.send`, until there is an answer or its beginning, or the app's client has gone."""
    unit = current_unit.get()
    departure = None if unit is None else unit.departure
    if departure is None or departure.loop is not asyncio.get_running_loop():
        return turn.send(manager, call)
    return _send_watched(departure, manager, call, turn)


async def _send_watched(departure: Departing, manager: Manager, call: Call, turn: Turn) -> Answer:
    task = departure.begin()
    try:
        return await turn.send(manager, call)
    finally:
        departure.end(task)
