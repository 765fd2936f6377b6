"""What does the watch do with a call whose own clock runs out in the same moment?"""

from __future__ import annotations

import asyncio

import pytest

from phase1.engine.deadlines import Deadlines
from phase1.engine.watch import Watch

from .providers import Providers, whole


async def test_clock_that_has_run_out_is_left_alone() -> None:
    """It ends the call by itself; the watch goes on for the others."""
    loop, failures = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    (node,) = Providers(a=[whole()]).nodes(loop.time)
    watch, deadlines = Watch(1.0, clock=loop.time), Deadlines()

    async def attempt(seconds: float) -> None:
        with deadlines.clock(loop.time() + seconds) as clock:
            watched = watch.begin(node, loop.time())
            watched.clock = clock
            watch.answers += 5  # of others
            await asyncio.Event().wait()

    own, silent = asyncio.ensure_future(attempt(1.0)), asyncio.ensure_future(attempt(100.0))
    began = loop.time()
    for call in (own, silent):
        with pytest.raises(TimeoutError):
            await call
    assert loop.time() - began < 2.0
    assert failures == []
    watch.close()
