"""Workers and web servers as processes of their own, to be killed, stopped and ended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from phase1.settings import Settings

from .model import Model
from .redis_server import RedisServer

__all__ = ["Process", "environment", "web", "worker"]

ROOT = Path(__file__).parents[2]
BOUND = 60.0
_OURS = {*(name.upper() for name in Settings.model_fields), "OPENAI_API_POOL_SIZE"}
SECRET = "0123456789abcdef"


def environment(model: Model, redis: RedisServer, **variables: str) -> dict[str, str]:
    """What both kinds of processes are told."""
    theirs = {k: v for k, v in os.environ.items() if k.upper() not in _OURS and not k.lower().endswith("_proxy")}
    told = {
        "ENABLE_LLM_POOL": "true",
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_BASE_URL": model.url,
        "LLM_MODEL": "m",
        "LLM_POOL_SIZE": "1",
        "LLM_OFFLOAD_BACKEND": "celery",
        "LLM_OFFLOAD_SECRET": SECRET,
        "LLM_OFFLOAD_REQUESTS_PER_MINUTE": "100000",
        "LLM_OFFLOAD_TASKS_PER_USER": "1000",
        "REDIS_URL": redis.url,
        "PYTHONPATH": str(ROOT),
    }
    return {**theirs, **told, **variables}


class Process:
    """One process, its group, and what it says."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as sink:
            self.popen = subprocess.Popen(
                command, env=env, cwd=log.parent, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )

    def signal(self, number: int) -> None:
        """To all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill9(self) -> None:
        """As a crash does."""
        self.signal(signal.SIGKILL)
        self.popen.wait(BOUND)

    def term(self) -> None:
        """As an orchestrator does: the main process only."""
        self.popen.terminate()

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line."""
        until = time.monotonic() + BOUND
        while True:
            text = self.log.read_text(errors="replace")
            if match := re.search(pattern, text):
                return match
            assert self.popen.poll() is None, f"it ended:\n{text}"
            assert time.monotonic() < until, f"{pattern!r} was not said:\n{text}"
            time.sleep(0.05)


@contextmanager
def _running(command: Sequence[str], env: dict[str, str]) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="phase1-process-", ignore_cleanup_errors=True) as home:
        process = Process(command, env, Path(home) / "log")
        try:
            yield process
        finally:
            process.signal(signal.SIGCONT)
            process.kill9()


@contextmanager
def worker(
    env: dict[str, str], *, queues: str = "llm", pool: str = "threads", concurrency: int = 8
) -> Iterator[Process]:
    """A Celery worker that consumes."""
    command = [sys.executable, "-m", "celery", "-A", "tests.offload.short_worker", "worker", "--loglevel=INFO"]
    options = ["-Q", queues, "-P", pool, "-c", str(concurrency), "-n", f"w{time.monotonic_ns()}@%h"]
    quiet = ["--without-gossip", "--without-mingle"]
    with _running([*command, *options, *quiet], env | {"C_FORCE_ROOT": "true"}) as process:
        process.says(r"ready\.")
        yield process


@contextmanager
def web(env: dict[str, str]) -> Iterator[tuple[Process, str]]:
    """A uvicorn, and its address."""
    command = [sys.executable, "-m", "uvicorn", "tests.offload.short_web:app", "--port", "0"]
    with _running([*command, "--timeout-graceful-shutdown", "5"], env) as process:
        yield process, process.says(r"running on (http://127\.0\.0\.1:\d+)")[1]
