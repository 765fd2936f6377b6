"""How does an app behave, before and after its edits? It is imported, asked, and its loop is looked at meanwhile."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import httpx
import openai
from asgi_lifespan import LifespanManager

from tests.doors.answers import Reply, usual_answer
from tests.doors.provider import BOUND, Gate, Provider, Request

MOMENT = 0.2
"""Seconds after which a loop that has not moved is taken for blocked; a free one is waited for much longer."""


@dataclass(frozen=True)
class Behaviour:
    """What a request got, and whether the loop could do anything else while the model was thinking."""

    outcome: str
    loop_is_free: bool


@contextmanager
def imported(root: Path) -> Iterator[ModuleType]:
    """The app's `main`, with `root` on the path as under uvicorn; its modules are forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield importlib.import_module("main")
    finally:
        sys.path.remove(str(root))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_relative_to(root):
                del sys.modules[name]


async def behaviour(root: Path, provider: Provider, *, expect_free: bool, path: str = "/ask") -> Behaviour:
    """Ask once, with a model that answers only when the loop has been looked at."""
    gate, seen = Gate(), []
    provider.answers(lambda request: _held(request, gate))
    loop, first = asyncio.get_running_loop(), len(provider.requests) + 1

    def look() -> None:
        provider.has_arrived(first)
        moved = threading.Event()
        loop.call_soon_threadsafe(moved.set)
        seen.append(moved.wait(BOUND if expect_free else MOMENT))
        gate.open()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        outcome = await ask(root, path)
    finally:
        gate.open()
        await asyncio.to_thread(watcher.join, BOUND)
    return Behaviour(outcome, seen[0])


async def ask(root: Path, path: str = "/ask") -> str:
    """The answer's status and body, or the error that came out of the app."""
    with imported(root) as module:
        async with closing(root), LifespanManager(module.app) as live:
            transport = httpx.ASGITransport(live.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://app", timeout=BOUND) as http:
                try:
                    answer = await http.post(path, params={"question": "why?"})
                except Exception as error:  # noqa: BLE001 - which one it is, is the outcome
                    return f"{type(error).__module__}.{type(error).__qualname__}"
                return f"{answer.status_code} {answer.text}"


@asynccontextmanager
async def closing(root: Path) -> AsyncIterator[None]:
    """Close the asynchronous clients of the app's modules, which an app leaves to the end of the process."""
    try:
        yield
    finally:
        for module in list(sys.modules.values()):
            if Path(getattr(module, "__file__", None) or "/").is_relative_to(root):
                for value in vars(module).values():
                    if isinstance(value, openai.AsyncOpenAI):
                        await value.close()


def _held(request: Request, gate: Gate) -> Reply:
    reply = usual_answer(request)
    return Reply(reply.status, reply.headers, [gate, *reply.parts])
