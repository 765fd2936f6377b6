"""Fixtures of offload: a model, a Redis, and every store that there is."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import redis.asyncio
from starlette.applications import Starlette

from phase1.offload.hooks import Hooks
from tests.doors.fixtures import clean_environment, env, log_level_restored

from . import model as model_module
from .model import Model
from .redis_server import own_redis, shared_redis
from .stores import Bench, config_of, memory_bench, redis_bench
from .web import Site, app_of
from .web import site as site_of

__all__ = ["clean_environment", "env", "log_level_restored", "own_redis", "shared_redis"]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def shared_model() -> Iterator[Model]:
    """One provider for all tests."""
    with model_module.running() as model:
        yield model


@pytest.fixture
def model(shared_model: Model) -> Model:
    """The provider, having heard nothing yet."""
    shared_model.asked.clear()
    shared_model.bodies.clear()
    shared_model.hung_up.clear()
    shared_model._gates.clear()
    return shared_model


@pytest.fixture
def prefix() -> str:
    """Keys of this test alone."""
    return f"t{os.getpid()}.{next(_numbers)}:"


@pytest.fixture(params=["memory", "redis"])
async def bench(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Bench]:
    """A store, once in memory and once in Redis."""
    if request.param == "memory":
        yield memory_bench()
        return
    async with redis_bench(request.getfixturevalue("shared_redis"), prefix) as made:
        yield made


@pytest.fixture(params=["memory", "redis"])
async def make_app(
    request: pytest.FixtureRequest, prefix: str, model: Model
) -> AsyncIterator[Callable[..., Starlette]]:
    """Apps that run their chats in their own process, kept in memory or in Redis."""
    backend = request.param
    url = request.getfixturevalue("shared_redis") if backend == "redis" else ""

    def make(*, hooks: Hooks | None = None, settings: dict[str, object] | None = None, **changes: object) -> Starlette:
        config = config_of(backend=backend, redis_url=url, prefix=prefix, **changes)
        return app_of(model, config, hooks=hooks, **(settings or {}))

    yield make
    if url:
        client = redis.asyncio.Redis.from_url(url)
        async for key in client.scan_iter(f"{prefix}*"):
            await client.delete(key)
        await client.aclose()


@pytest.fixture
async def site(make_app: Callable[..., Starlette]) -> AsyncIterator[Site]:
    """A client of such an app."""
    async with site_of(make_app()) as client:
        yield client
