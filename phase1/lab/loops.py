"""On which event loop does everything run? uvloop's where it is installed, as under `uvicorn[standard]`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from importlib.util import find_spec

__all__ = ["run"]


def run(main: Coroutine[object, object, None]) -> None:
    """Run `main` to its end."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415 - it comes with uvicorn[standard], or not at all

    return uvloop.new_event_loop
