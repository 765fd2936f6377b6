"""How does an app run as a real process that never outlives its parent?

A server listens on a loopback socket that is opened here and handed over, so its port is known and taken before it
starts. It has a process group of its own, which `stop` ends by its id: politely, then firmly.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from phase1.exceptions import Phase1Error

__all__ = ["LabError", "Listener", "Server"]

_HOST: Final = "127.0.0.1"
_GRACE: Final = 2.0
_POLL: Final = 0.05
_EMPTY_WORDS: Final = frozenset({"ERROR:    Application startup failed. Exiting."})
"""What uvicorn says after it has told the reason."""


class LabError(Phase1Error):
    """The lab cannot go on: something that it needs does not run. The text is one line, with the last thing it said."""


class Listener:
    """A process that serves a loopback socket; with the block ends the process.

    `arguments`: the command line after `python -m`, for the number of the socket. `folder`: where `name`.log is
    written; without another `workdir` the process finds it as its working directory. `port`: 0 = any free one. Raises
    `LabError` when the port is taken.
    """

    def __init__(
        self,
        name: str,
        arguments: Callable[[int], Sequence[str]],
        *,
        folder: Path,
        workdir: Path | None = None,
        environment: Mapping[str, str],
        port: int = 0,
    ) -> None:
        self.name = name
        self.log = folder / f"{_stem(name)}.log"
        with _listen(name, port) as listening, self.log.open("wb") as log:
            self.url = f"http://{_HOST}:{listening.getsockname()[1]}"
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments(listening.fileno())],
                cwd=workdir or folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )

    async def healthy(self, *, path: str = "/health", timeout: float = 30.0) -> None:
        """Wait until `path` answers 200. Raises `LabError` when the process ends, or after `timeout` seconds."""
        await self._until(path, timeout, {}, lambda response: response.status_code == httpx.codes.OK)

    async def answers(
        self, path: str, *, timeout: float = 30.0, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Wait until `path` answers anything: what it answers. Raises `LabError` as `healthy` does."""
        return await self._until(path, timeout, headers or {}, lambda _: True)

    async def _until(
        self, path: str, timeout: float, headers: Mapping[str, str], enough: Callable[[httpx.Response], bool]
    ) -> httpx.Response:
        try:
            async with asyncio.timeout(timeout), httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
                while True:
                    response = await _answer(client, path, headers)
                    if response is not None and enough(response):
                        return response
                    self.require_running()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise LabError(f"the {self.name} did not answer within {timeout:g} s{self.last_words()}") from None

    def stop(self) -> None:
        """End the process. Does nothing the second time."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        if self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def require_running(self) -> None:
        """Raise `LabError` if the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise LabError(f"the {self.name} ended with status {status}{self.last_words()}")

    def last_words(self) -> str:
        """`: ` and the last line of its log that says something; empty when it has said nothing."""
        lines = map(str.strip, self.log.read_text(encoding="utf-8", errors="replace").splitlines())
        last = next((line for line in reversed(list(lines)) if line and line not in _EMPTY_WORDS), "")
        return f": {last}" if last else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        """Live state."""
        status = self.process.poll()
        state = "running" if status is None else f"ended with {status}"
        return f"<{type(self).__name__} {self.name} at {self.url}, {state}>"


class Server(Listener):
    """One ASGI app under uvicorn.

    `app`: `module:name`, or with `factory` a function that makes the app, looked for in `source`, which is `folder`
    unless another is given. `workers`: with more than one the process is uvicorn's supervisor, and they are its
    children. `lag`: where a process without workers writes how late its event loop is.
    """

    def __init__(
        self,
        name: str,
        app: str,
        *,
        folder: Path,
        source: Path | None = None,
        workdir: Path | None = None,
        factory: bool = False,
        environment: Mapping[str, str],
        workers: int = 1,
        port: int = 0,
    ) -> None:
        self.lag = folder / f"{_stem(name)}.lag"
        options = [str(source or folder), "--lag", str(self.lag), "--workers", str(workers)]
        options += ["--factory"] if factory else []
        super().__init__(
            name,
            lambda listening: ["phase1.lab.served", app, str(listening), *options],
            folder=folder,
            workdir=workdir,
            environment=environment,
            port=port,
        )


def _stem(name: str) -> str:
    return name.replace(" ", "-")


def _listen(name: str, port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port), backlog=1024)
    except OSError as error:
        raise LabError(f"the {name} cannot listen on port {port}: {os.strerror(error.errno or 0)}") from error


async def _answer(client: httpx.AsyncClient, path: str, headers: Mapping[str, str]) -> httpx.Response | None:
    try:
        return await client.get(path, timeout=1.0, headers=headers)
    except httpx.HTTPError:
        return None
