"""How does a library's call get to the provider? Through the pool, or, with the pool off, the ordinary way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from tests.doors.provider import Provider
from tests.doors.world import APP_KEY, Calls, app_request, manager_of

__all__ = ["assert_nothing_pooled", "assert_pooled", "library", "options", "ordinary", "pooled"]


def library(name: str, *, absent: str) -> Any:  # noqa: ANN401 - a module
    """Import it, or skip the whole file: because it is `absent`, or because of what it misses itself."""
    if find_spec(name.partition(".")[0]) is None:
        pytest.skip(absent, allow_module_level=True)
    return pytest.importorskip(name)


def options(provider: Provider) -> dict[str, Any]:
    """What an SDK client, or a library's own, is made with."""
    return {"api_key": APP_KEY, "base_url": provider.url, "max_retries": 0}


@asynccontextmanager
async def pooled(provider: Provider) -> AsyncIterator[None]:
    """An app's request; what is asked inside is one call of the pool, and nobody blocks, falls back or stays away."""
    async with manager_of(provider) as manager, app_request(manager):
        calls = Calls(manager)
        yield
        await calls.are_over()
        assert_pooled(manager.get_metrics(), 1)
        assert len(provider.requests) == 1


@asynccontextmanager
async def ordinary(provider: Provider) -> AsyncIterator[None]:
    """The same with `ENABLE_LLM_POOL=false`: one request arrives, and the pool knows nothing of it."""
    async with manager_of(provider, enable_llm_pool=False) as manager, app_request(manager):
        yield
        assert_nothing_pooled(manager.get_metrics())
        assert len(provider.requests) == 1
        assert provider.keys == [f"Bearer {APP_KEY}"]


def assert_pooled(metrics: dict[str, Any], number: int) -> None:
    """So many calls, each at its first attempt."""
    assert sum(metrics["calls"].values()) == number
    assert sum(attempt["count"] for attempt in metrics["attempts"]) == number
    assert not metrics["fallbacks"]
    assert not metrics["legacy_calls"]
    assert not metrics["blocking_sites"]


def assert_nothing_pooled(metrics: dict[str, Any]) -> None:
    """No call and no attempt."""
    assert not metrics["calls"]
    assert not metrics["attempts"]
