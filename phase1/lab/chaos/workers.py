"""What happens to an app's processes? A loop is held, one is paused or killed, or what they share is frozen."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from phase1.lab.chaos.outside import workers
from phase1.lab.chaos.scene import Scene
from phase1.lab.processes import LabError

__all__ = ["block_loop", "freeze_store", "kill_worker", "pause_worker"]

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


async def freeze_store(scene: Scene) -> None:
    """Let nobody hear anything of the state that the workers share."""
    if scene.store is not None:
        await scene.store.freeze(scene.plan.seconds)


async def kill_worker(scene: Scene) -> None:
    """Kill one of the workers; whoever supervises them starts another."""
    serving = workers(scene.pid)
    if not serving:
        raise LabError(f"the {scene.app.name} has no worker process that could be killed")
    os.kill(serving[0], signal.SIGKILL)
    await scene.wait()
