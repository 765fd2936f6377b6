"""Where does a real Redis come from, and how is it broken? A private server on a free port, with its log on disk.

In this order: the server that `PHASE1_TEST_REDIS_URL` names, `redis-server` or `valkey-server` on PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

__all__ = ["RedisServer", "needed_program", "own_redis", "program", "required", "shared_redis", "started"]

BOUND = 20.0


def program() -> str | None:
    """The server's path; `None` where there is none."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A server that may be killed, paused, emptied and started again."""

    def __init__(self, binary: str, home: Path) -> None:
        self._binary = binary
        self._home = home
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what its append-only file holds."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._home)]
        durable = ["--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning"]
        self._process = subprocess.Popen(
            [self._binary, *options, *durable], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + BOUND
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.RedisError:
                assert time.monotonic() < until, "redis-server does not answer"
                time.sleep(0.02)
            else:
                return

    def client(self) -> redis.Redis:
        """A plain client."""
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=BOUND)

    def kill9(self) -> None:
        """As a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(BOUND)

    def pause(self) -> None:
        """It is there, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It says what it has missed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client_kill(self, kind: str) -> None:
        """Cut all connections of a kind: `pubsub`, `normal`."""
        with self.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def flush(self) -> None:
        """Lose everything."""
        with self.client() as client:
            client.flushall()

    def stop(self) -> None:
        """The end."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
            self.kill9()


@contextmanager
def started(binary: str) -> Iterator[RedisServer]:
    """A server in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="phase1-redis-", ignore_cleanup_errors=True) as home:
        server = RedisServer(binary, Path(home))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def required() -> bool:
    """Whether its absence is a failure."""
    return os.environ.get("CI") == "true"


def needed_program() -> str:
    """The server's path; without one the test is skipped, or fails where one is required."""
    binary = program()
    if binary is None:
        if required():
            pytest.fail("redis-server is needed: scripts/services.sh")
        pytest.skip("no redis-server: scripts/services.sh says how to get one")
    return binary


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[str]:
    """URL of a Redis that nobody breaks."""
    given = os.environ.get("PHASE1_TEST_REDIS_URL")
    if given:
        yield given
        return
    with started(needed_program()) as server:
        yield server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, to be broken."""
    with started(needed_program()) as server:
        yield server
