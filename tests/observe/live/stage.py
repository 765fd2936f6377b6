"""How does the live app come up, with its upstream and its load? As real processes that end with their block."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

__all__ = ["ADMIN", "METRICS", "ROOT", "drive", "live_app", "program", "upstream", "wait_for"]

ROOT = Path(__file__).parents[3]
ADMIN = "admin-token-0123456789"
METRICS = "metrics-token-0123456789"
BOUND = 30.0
"""Seconds after which whoever waits gives up, so that a failing test ends."""


def program(*names: str) -> str:
    """Where one of these programs is. Without any of them the test is skipped; in CI it fails."""
    for name in names:
        if found := shutil.which(name):
            return found
    why = f"needs {names[0]} (scripts/services.sh)"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Ask until it holds; a process elsewhere makes it come true."""
    ends = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < ends, f"{what} did not come true within {BOUND:g} s"
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], folder: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own group, which ends with the block; its words go to a file in `folder`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "CI") if name in os.environ}
    log = folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, cwd=folder, env={**kept, **environment}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


@contextlib.contextmanager
def served(app: str, folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """An app under uvicorn, which answers at `/health` when the block begins."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", *options]
    url = f"http://127.0.0.1:{port}"
    with process(command, folder, PYTHONPATH=str(ROOT), **environment) as running:
        wait_for(lambda: running.poll() is not None or _answers(f"{url}/health"), f"{app} under uvicorn")
        assert running.poll() is None, "\n".join(log.read_text() for log in folder.glob("*.log"))
        yield url


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=1, trust_env=False).status_code == httpx.codes.OK
    return False


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """The upstream with moods."""
    with served("tests.observe.live.upstream:app", folder) as url:
        yield url


@contextlib.contextmanager
def live_app(folder: Path, upstream_url: str, *options: str, **environment: str) -> Iterator[str]:
    """The app on three nodes, of which one fails now and then."""
    moods = {"eu-west": "good", "us-east": "slow", "backup": "bad"}
    nodes = [
        {"name": name, "base_url": f"{upstream_url}/{mood}/v1", "api_key": f"planted-key-canary-{name}"}
        for name, mood in moods.items()
    ]
    settings = {
        "ENABLE_LLM_POOL": "true",
        "LLM_NODES": json.dumps(nodes),
        "LLM_MODEL": "gpt-4o-mini",
        "LLM_POOL_SIZE": "2",
        "LLM_CANARY_PERCENT": "75",
        "LLM_CANARY_KEY": "header:x-user",
        "LLM_SHADOW_PERCENT": "100",
        "LLM_SHADOW_BUDGET": "1",
        "LLM_SHADOW_PRICES": "gpt-4o-mini=0.15/0.6",
        "LLM_ADMIN_TOKEN": ADMIN,
        "LLM_METRICS_TOKEN": METRICS,
    }
    with served("tests.observe.live.app:app", folder, *options, **{**settings, **environment}) as url:
        yield url


async def drive(url: str, paths: list[str], *, users: int = 12, times: int = 2) -> None:
    """Users who ask for all of `paths`, so often."""

    async def user(name: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=BOUND, trust_env=False) as http:
            for path in paths * times:
                (await http.get(path, headers={"x-user": f"planted-user-canary-{name}"})).raise_for_status()

    await asyncio.gather(*(user(str(number)) for number in range(users)))
