"""How does a block of the documentation run? As the file `main.py`, served in this process, against a stub upstream."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx
from asgi_lifespan import LifespanManager

from tests.doors.fixtures import VARIABLES

if TYPE_CHECKING:
    from llmock.journal import RequestRecord
    from llmock.pytest_plugin import LLMock
    from starlette.types import ASGIApp

__all__ = ["BOUND", "KEY", "POOL_MODEL", "VARIABLES", "Served", "imported", "node", "peak", "serving"]

BOUND = 20.0
"""Seconds after which whatever waits gives up, so that a failing test ends."""
KEY = "sk-test-0123456789"
MODEL = "gpt-4o-mini"
POOL_MODEL = "the-pools-deployment"
"""What the upstream sees as the model of a call that came through the pool, with the node of `node()`."""


def node(llmock: LLMock, **more: object) -> str:
    """`LLM_NODES` with one node, which has its own name for the model."""
    one = {"name": "primary", "base_url": llmock.base_url(), "api_key": "sk-pool-0123456789"}
    return json.dumps([{**one, "models": {MODEL: POOL_MODEL}, **more}])


@contextlib.contextmanager
def imported(text: str, folder: Path, name: str = "main") -> Iterator[ModuleType]:
    """The module that `text` makes as a file of its own."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]


class Served:
    """An app that is up: its module, a client on the same machine, and what its debug page says."""

    def __init__(self, app: ASGIApp, module: ModuleType | None = None) -> None:
        self.app = app
        self.module = module
        self.http = self.caller()

    def caller(self, *, address: str = "127.0.0.1", host: str = "localhost") -> httpx.AsyncClient:
        """A client that connects from `address` and names `host`."""
        transport = httpx.ASGITransport(self.app, client=(address, 50_000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", timeout=BOUND)

    async def status(self) -> dict[str, Any]:
        """`/debug/llm-system`."""
        page = await self.http.get("/debug/llm-system")
        assert page.status_code == httpx.codes.OK
        answer: dict[str, Any] = page.json()
        return answer

    async def metrics(self) -> dict[str, Any]:
        """Its numbers."""
        numbers: dict[str, Any] = (await self.status())["metrics"]
        return numbers


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, module: ModuleType | None = None, *, lifespan: bool = True) -> AsyncIterator[Served]:
    """`app` between its start-up and its shutdown."""
    if not lifespan:
        yield Served(app, module)
        return
    async with LifespanManager(app, startup_timeout=BOUND, shutdown_timeout=BOUND) as live:
        yield Served(live.app, module)


def peak(requests: Sequence[RequestRecord]) -> int:
    """How many of them the upstream had at the same time."""
    edges = [(one.started_at, 1) for one in requests] + [(one.ended_at, -1) for one in requests]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most
