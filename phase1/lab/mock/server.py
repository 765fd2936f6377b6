"""How is a mock upstream started, and how often was it asked?"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from phase1.lab.apps import Upstream
from phase1.lab.mock.fast import COUNT
from phase1.lab.processes import Listener

__all__ = ["FastMock", "mocked", "serve_fast", "serve_llmock"]

_MODULE: Final = "phase1.lab.mock.fast"


class FastMock(Listener):
    """The mock for load, answering after `latency` seconds, in a process of its own."""

    def __init__(self, *, folder: Path, latency: float, environment: Mapping[str, str]) -> None:
        super().__init__(
            "mock upstream",
            lambda listening: [_MODULE, "--fd", str(listening), "--latency", str(latency), "--events", "50"],
            folder=folder,
            environment=environment,
        )

    async def asked(self) -> int:
        """How many requests it has had."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            return int((await client.get(COUNT)).json()["requests"])


@asynccontextmanager
async def mocked(
    latency: float, environment: Mapping[str, str], upstream: Upstream | None = None
) -> AsyncIterator[tuple[Callable[[], Awaitable[int]] | None, Upstream]]:
    """`upstream` itself, or a mock for load and who tells how often it was asked."""
    if upstream is not None:
        yield None, upstream
        return
    with (
        TemporaryDirectory(prefix="phase1-mock-") as folder,
        FastMock(folder=Path(folder), latency=latency, environment=environment) as mock,
    ):
        yield mock.asked, Upstream.mocked(mock)


def serve_fast(*, host: str, port: int, latency: float, events: int, interval: float) -> None:
    """Become the mock for load: signals and exit code are its own."""
    given = {"host": host, "port": port, "latency": latency, "events": events, "interval": interval}
    _become([_MODULE, "--stays", *(word for name, value in given.items() for word in (f"--{name}", str(value)))])


def serve_llmock(*, host: str, port: int, latency: float, options: Sequence[str]) -> None:
    """Become llmock, with its own further `options`."""
    named = ["--host", host, "--port", str(port), "--latency-ms", str(round(latency * 1000))]
    _become(["llmock.cli", "serve", "--log-level", "warning", *named, *options])


def _become(module: Sequence[str]) -> None:
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *module], dict(os.environ))  # noqa: S606 - our own interpreter
