"""Fixtures of the rollout: the same settings as of the doors, a real Redis, and every store that there is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase1.rollout.file_store import FileStore
from phase1.rollout.redis_store import RedisStore
from phase1.rollout.store import MemoryStore, Store
from tests.doors.fixtures import clean_environment, env, log_level_restored
from tests.offload import redis_server
from tests.offload.redis_server import RedisServer

__all__ = ["clean_environment", "env", "log_level_restored"]

_numbers = itertools.count()


def _binary() -> str:
    binary = redis_server.program()
    if binary is None:
        if redis_server.required():
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
    with redis_server.started(_binary()) as server:
        yield server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, to be broken."""
    with redis_server.started(_binary()) as server:
        yield server


@pytest.fixture(params=["memory", "file", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of them, empty."""
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "file":
        yield FileStore(str(tmp_path / "state"))
    else:
        made = RedisStore(request.getfixturevalue("shared_redis"), f"t{os.getpid()}.{next(_numbers)}")
        yield made
        made.close()
