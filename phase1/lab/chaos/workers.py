"""What happens to an app's process? Its loop is held, it is paused, or one of its workers is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from phase1.lab.chaos.outside import workers
from phase1.lab.chaos.scene import Scene
from phase1.lab.processes import LabError

__all__ = ["block_loop", "kill_worker", "pause_worker"]

_PAUSE: Final = 3.0


async def block_loop(scene: Scene) -> None:
    """Hold the loop as synchronous code would: `phase1.lab.served` sleeps in it when it gets this signal."""
    os.kill(scene.pid, signal.SIGUSR1)
    await asyncio.sleep(_PAUSE)


async def pause_worker(scene: Scene) -> None:
    """Stop the process, and let it go on."""
    os.kill(scene.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(_PAUSE)
    finally:
        os.kill(scene.pid, signal.SIGCONT)


async def kill_worker(scene: Scene) -> None:
    """Kill one of the workers; whoever supervises them starts another."""
    serving = workers(scene.pid)
    if not serving:
        raise LabError(f"the {scene.app.name} has no worker process that could be killed")
    os.kill(serving[0], signal.SIGKILL)
    await scene.wait()
