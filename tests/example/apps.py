"""How do the tests get at the plain and the integrated app, and run them: in this process, or under a real uvicorn?"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO

import httpx
from asgi_lifespan import LifespanManager

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "legacy_main.py"
PATCHES = tuple(sorted((ROOT / "patches").glob("*.patch")))
BOUND = 30.0
"""Seconds for a process to come up or go down."""

_SETTINGS_OF_OTHERS = re.compile(
    r"(LLM|OPENAI|ENABLE|CHAT|USE_OPTIMIZED|FORCE_LEGACY|DISABLE_POOL|EMERGENCY|POOL|LOAD_BALANCE|AUTO_SCALING|REDIS)"
    r"|(RATE_LIMIT|AUTH_SECRET|DATABASE_URL|MAX_CHAT_MESSAGE_LENGTH|LOG_LEVEL)$"
    r"|(?i:.*_proxy)$"
)
_numbers = itertools.count()


def copy_of_example(directory: Path) -> Path:
    """A tree like the repository's, with only the example in it; returns the example's path."""
    target = directory / "examples" / EXAMPLE.name
    target.parent.mkdir(parents=True)
    shutil.copyfile(EXAMPLE, target)
    return target


def apply(example: Path, *patches: Path, reverse: bool = False) -> None:
    """Run `git apply` on the tree that `copy_of_example` has made, in the order of `patches`."""
    if not patches:
        return
    command = ["git", "apply", *(["-R"] if reverse else []), *map(str, patches)]
    tree = example.parents[1]
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    subprocess.run(command, cwd=tree, env=outside, check=True, capture_output=True, timeout=BOUND)


def make_plain(directory: Path) -> Path:
    """The app as it was before phase1: the example with all patches reversed."""
    example = copy_of_example(directory)
    apply(example, *reversed(PATCHES), reverse=True)
    return example


def environment(upstream: str, database: str, **more: str) -> dict[str, str]:
    """What the environment is, without anybody's LLM settings, and with the ones of a test."""
    kept = {name: value for name, value in os.environ.items() if not _SETTINGS_OF_OTHERS.match(name)}
    ours = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "legacy-key", "OPENAI_MAX_RETRIES": "0"}
    return kept | ours | {"LLM_MODEL": "stub-1", "DATABASE_URL": database, "RATE_LIMIT": "0"} | more


@contextlib.contextmanager
def environ(values: dict[str, str]) -> Iterator[None]:
    """Exactly these variables for a while."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def loaded(example: Path, values: dict[str, str]) -> Iterator[ModuleType]:
    """The app's module, imported in this environment, in a directory and under a name of its own."""
    name = f"legacy_main_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, example)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with environ(values), contextlib.chdir(example.parents[1]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # on_event: legacy apps have it
                spec.loader.exec_module(module)
            yield module
    finally:
        del sys.modules[name]


@contextlib.asynccontextmanager
async def serving(module: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """The app in this process, between its startup and its shutdown."""
    async with LifespanManager(module.app, startup_timeout=BOUND, shutdown_timeout=BOUND) as live:
        transport = httpx.ASGITransport(live.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=BOUND) as client:
            yield client


@contextlib.contextmanager
def process(example: Path, values: dict[str, str]) -> Iterator[str]:
    """`uvicorn examples.legacy_main:app` as a process of its own; gives its URL."""
    command = [sys.executable, "-m", "uvicorn", "examples.legacy_main:app", "--port", "0", "--no-access-log"]
    with subprocess.Popen(
        command, cwd=example.parents[1], env=values, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_pump, args=(server.stderr, lines), daemon=True)
        reader.start()
        try:
            yield _address(lines)
        finally:
            server.terminate()
            _wait(server)
            reader.join(BOUND)


def _pump(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _address(lines: queue.SimpleQueue[str]) -> str:
    log = []
    while line := lines.get(timeout=BOUND):
        log.append(line)
        if found := re.search(r"running on (http://[\d.]+:\d+)", line):
            return found[1]
    message = "uvicorn ended before it served:\n" + "".join(log)
    raise AssertionError(message)


def _wait(server: subprocess.Popen[str]) -> None:
    try:
        server.wait(BOUND)
    except subprocess.TimeoutExpired:
        server.kill()
        raise
