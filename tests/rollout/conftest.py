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
from tests.offload.redis_server import own_redis, shared_redis

__all__ = ["clean_environment", "env", "log_level_restored", "own_redis", "shared_redis"]

_numbers = itertools.count()


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
