"""How does a server end when whoever started it is gone?

`python -m phase1.lab.served APP FD FOLDER` serves the ASGI app `APP` (found in `FOLDER`) by uvicorn on the listening
socket `FD`. Standard input is a pipe whose other end is the parent's: however the parent dies, the pipe ends, and so
does this process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from threading import Thread
from typing import Final

import uvicorn

_GRACE: Final = 3.0
"""Seconds to end by the app's own shutdown; a parent that is there is less patient."""


def main(app: str, fd: str, folder: str) -> None:
    """Serve until told to stop, or until there is nobody left to tell it."""
    Thread(target=_end_with_parent, daemon=True).start()
    uvicorn.run(app, fd=int(fd), app_dir=folder, log_level="warning")


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would still be held when the interpreter shuts down
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
