"""How does a server end when whoever started it is gone?

`python -m phase1.lab.served APP FD FOLDER` serves the ASGI app `APP` (found in `FOLDER`) by uvicorn on the listening
socket `FD`. Standard input is a pipe whose other end is the parent's: however the parent dies, the pipe ends, and so
does this process. With `--lag FILE` it writes down how late its event loop is. `--workers 2` makes it uvicorn's
supervisor of two workers. One that serves by itself holds its own loop for three seconds at each SIGUSR1, as
synchronous code in an endpoint would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Final

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from phase1.lab.lag import write_lag

_GRACE: Final = 3.0
"""Seconds to end by the app's own shutdown; a parent that is there is less patient."""
_HOLD: Final = 3.0


def main() -> None:
    """Serve until told to stop, or until there is nobody left to tell it."""
    parser = argparse.ArgumentParser(prog="python -m phase1.lab.served", description=__doc__)
    parser.add_argument("app")
    parser.add_argument("fd", type=int)
    parser.add_argument("folder")
    parser.add_argument("--factory", action="store_true")
    parser.add_argument("--lag", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    Thread(target=_end_with_parent, daemon=True).start()
    sys.path.insert(0, given.folder)
    config = uvicorn.Config(given.app, fd=given.fd, factory=given.factory, workers=given.workers, log_level="warning")
    if given.workers > 1:
        Multiprocess(config, sockets=[config.bind_socket()]).run()
        return
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(_HOLD))
    config.load()  # here, and not in a loop that runs already
    server = _Server(config, given.lag)
    server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _Server(uvicorn.Server):
    """uvicorn's, with a look at its own loop."""

    def __init__(self, config: uvicorn.Config, lag: Path | None) -> None:
        super().__init__(config)
        self._lag = lag
        self._probe: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to look once the app has started."""
        await super().startup(sockets)
        if self._lag is not None:
            self._probe = asyncio.create_task(write_lag(self._lag))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Look no longer."""
        if self._probe is not None:
            self._probe.cancel()
        await super().shutdown(sockets)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would still be held when the interpreter shuts down
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with workers that did not end
    os._exit(1)


if __name__ == "__main__":
    main()
