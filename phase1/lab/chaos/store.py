"""How does a shared state store freeze? A Redis of the case's own is stopped, and goes on later."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from phase1.lab.processes import LabError

__all__ = ["StateStore", "missing_store", "state_store"]

_HOST: Final = "127.0.0.1"
_STARTING: Final = 10.0
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class StateStore:
    """A running Redis: its address, and its process."""

    url: str
    pid: int

    async def freeze(self, seconds: float) -> None:
        """Give no answer for so long, without a connection being closed."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)


def missing_store() -> str | None:
    """What is not there; `None`: nothing is missing."""
    if _program() is None:
        return "redis-server is not installed"
    return None if find_spec("redis") else 'needs: pip install "phase1[rollout]"'


@asynccontextmanager
async def state_store() -> AsyncIterator[StateStore]:
    """Run one; with the block it is gone. Raises `LabError` when it does not answer."""
    port = _free_port()
    process = _start(port)
    try:
        await _until_it_listens(port)
        yield StateStore(f"redis://{_HOST}:{port}/0", process.pid)
    finally:
        process.kill()  # a stopped process hears nothing else
        process.wait()


def _start(port: int) -> subprocess.Popen[bytes]:
    options = ["--port", str(port), "--bind", _HOST, "--save", "", "--appendonly", "no"]
    command = [_program() or "redis-server", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as probe:
        return int(probe.getsockname()[1])


async def _until_it_listens(port: int) -> None:
    try:
        async with asyncio.timeout(_STARTING):
            while True:
                try:
                    _, writer = await asyncio.open_connection(_HOST, port)
                except OSError:
                    await asyncio.sleep(_POLL)
                else:
                    writer.close()
                    return
    except TimeoutError:
        raise LabError(f"redis-server did not listen within {_STARTING:g} s") from None


def _program() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")
