"""How do the tests run an app under a real uvicorn, in processes of its own?"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx

from phase1.settings import Settings

__all__ = ["Server", "serving", "start"]

APP_DIR = Path(__file__).parent / "served"
BOUND = 30.0
"""Seconds for a process to come up or go down."""

_OURS = {*(name.upper() for name in Settings.model_fields), "OPENAI_API_POOL_SIZE"}
_RUNNING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")


class Server:
    """A running uvicorn and what it has written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._written: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert process.stderr is not None
        self._reader = threading.Thread(target=_pump, args=(process.stderr, self._written), daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Read on until so many lines match; fails when the process ends or is silent for too long."""
        while True:
            line = self._written.get(timeout=BOUND)
            assert line is not None, f"{pattern!r} was not said:\n{self.text}"
            self.lines.append(line)
            if (match := re.search(pattern, line)) and (times := times - 1) == 0:
                return match

    def ends(self) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        code = self.process.wait(BOUND)
        self._reader.join(BOUND)
        while (line := self._written.get(timeout=BOUND)) is not None:
            self.lines.append(line)
        return code

    def terminate(self) -> None:
        """What an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    def get(self, path: str) -> httpx.Response:
        """Over a connection of its own. A worker says that it is up a moment before it listens."""
        with httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=BOUND, trust_env=False) as client:
            return client.get(self.url + path)

    @property
    def text(self) -> str:
        """Everything it has said so far."""
        return "\n".join(self.lines)


def _pump(source: IO[str], target: queue.SimpleQueue[str | None]) -> None:
    for line in source:
        target.put(line.rstrip())
    target.put(None)


@contextlib.contextmanager
def start(directory: Path, *options: str, target: str = "served:app", **variables: str) -> Iterator[Server]:
    """`uvicorn served:app` with these options and variables; killed at the end if it still runs."""
    command = [sys.executable, "-m", "uvicorn", target, "--app-dir", str(APP_DIR), "--port", "0", *options]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _OURS and not name.lower().endswith("_proxy")
    }
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def serving(directory: Path, *options: str, target: str = "served:app", **variables: str) -> Iterator[Server]:
    """The same, as soon as it listens."""
    with start(directory, *options, target=target, **variables) as server:
        server.url = server.wait_for(_RUNNING.pattern)[1]
        yield server
