"""The documentation's blocks, a stub upstream, and an environment without anybody's settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.doors.fixtures import clean_environment, env, log_level_restored

from . import apps
from .pages import INTEGRATION

if TYPE_CHECKING:
    from llmock.pytest_plugin import LLMock

__all__ = ["Run", "clean_environment", "env", "log_level_restored"]

Run = Callable[..., AbstractAsyncContextManager[apps.Served]]


@pytest.fixture
def upstream(llmock: LLMock, env: Callable[..., None]) -> LLMock:
    """The stub: `llmock` on a real socket, which the environment names."""
    env(OPENAI_API_KEY=apps.KEY, OPENAI_MAX_RETRIES="0")
    return llmock


@pytest.fixture
def run(upstream: LLMock, env: Callable[..., None], tmp_path: Path) -> Run:
    """Serve a Python block of INTEGRATION.md, as `main.py`, for as long as the block after `async with` lasts."""

    @asynccontextmanager
    async def start(
        name: str, *, pool: bool, edit: Callable[[str], str] = str, lifespan: bool = True, **settings: str
    ) -> AsyncIterator[apps.Served]:
        env(ENABLE_LLM_POOL=str(pool).lower(), **settings)
        text = edit(INTEGRATION.named("python")[name])
        with apps.imported(text, tmp_path) as module:
            async with apps.serving(module.app, module, lifespan=lifespan) as served:
                yield served

    return start
