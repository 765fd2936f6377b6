"""A clean environment, both databases, and a PostgREST."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doors.fixtures import clean_environment, env, log_level_restored
from tests.example.conftest import new_postgres, new_sqlite, postgres_url

from .postgrest import PostgREST

__all__ = ["clean_environment", "env", "log_level_restored", "new_postgres", "new_sqlite", "postgres_url"]


@pytest.fixture
def rest() -> Iterator[PostgREST]:
    """An empty one."""
    with PostgREST() as server:
        yield server
