"""How is a test kept apart from the environment of whoever runs it, and from the state of other tests?"""

from __future__ import annotations

import functools
import inspect
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from phase1.doors.portal import in_portal
from phase1.settings import Settings

__all__ = ["clean_environment", "env", "log_level_restored", "pytest_collection_modifyitems"]

_HAVE_PORTALS = frozenset({"doors", "integrations"})

VARIABLES = {*(name.upper() for name in Settings.model_fields), "OPENAI_API_POOL_SIZE"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Asynchronous tests of doors have a portal around them, as an app's endpoints have."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent.name in _HAVE_PORTALS:
            item.obj = _with_portal(item.obj) if inspect.iscoroutinefunction(item.obj) else item.obj


def _with_portal(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    @functools.wraps(test)
    async def wrapped(**fixtures: object) -> None:
        await in_portal(test(**fixtures))

    return wrapped


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours is set, no proxy either, and the working directory is empty."""
    for name in [name for name in os.environ if name.upper() in VARIABLES or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def log_level_restored() -> Iterator[None]:
    """`LOG_LEVEL` of one test is not the next one's."""
    logger = logging.getLogger("phase1")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set variables of the process."""

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables
