"""How late does an app's event loop run? A task that wants to wake up every 10 ms writes down by how much it did not.

It also lets a measured app end with its stdin, as all processes of the benchmarks do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator

from fastapi import FastAPI, Request

__all__ = ["read_lags", "sampled"]

_PERIOD = 0.01


@contextlib.asynccontextmanager
async def sampled(app: FastAPI) -> AsyncIterator[None]:
    """A lifespan: sample from the start to the end, and say on stdout that the app has started."""
    lags: list[float] = []
    app.state.lags = lags
    task = asyncio.create_task(_sample(lags))
    with _ending_with_stdin():
        print(json.dumps({"ok": "started"}), flush=True)
        yield
    task.cancel()


async def read_lags(request: Request) -> list[float]:
    """The route `/lag`: every lateness in seconds since it was last read."""
    lags: list[float] = request.app.state.lags
    taken = lags.copy()
    lags.clear()
    return taken


async def _sample(lags: list[float]) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(_PERIOD)
        lags.append(max(0.0, time.perf_counter() - begun - _PERIOD))


@contextlib.contextmanager
def _ending_with_stdin() -> Iterator[None]:
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
    watched = stat.S_ISFIFO(os.fstat(stdin).st_mode)  # in a terminal it is nobody's order to end
    if watched:
        loop.add_reader(stdin, _end_at_its_end, stdin)
    try:
        yield
    finally:
        if watched:
            loop.remove_reader(stdin)


def _end_at_its_end(stdin: int) -> None:
    if not os.read(stdin, 1024):
        asyncio.get_running_loop().remove_reader(stdin)
        os.kill(os.getpid(), signal.SIGTERM)  # uvicorn's own way to end
