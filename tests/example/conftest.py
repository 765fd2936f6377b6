"""The plain app, an upstream, and both databases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from . import apps, postgres
from .upstream import Upstream

NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app without phase1."""
    return apps.make_plain(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def integrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, in a tree of its own."""
    return apps.copy_of_example(tmp_path_factory.mktemp("integrated"))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A model that answers everybody at once."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A private PostgreSQL; where there is none the test is skipped, in CI it fails."""
    binaries = postgres.programs()
    try:
        import psycopg  # noqa: F401 - an optional library
    except ImportError:
        binaries = None
    if binaries is None:
        why = "needs PostgreSQL (scripts/services.sh) and psycopg (the extra postgres)"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    with postgres.cluster(binaries) as url:
        yield url


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewDatabase]:
    """Gives the URL of a new SQLite database with each call."""
    home = tmp_path_factory.mktemp("sqlite")
    yield lambda: f"sqlite:///{home / uuid4().hex}.sqlite3"
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def new_postgres(postgres_url: str) -> NewDatabase:
    """Gives the URL of a new PostgreSQL database with each call."""
    import psycopg

    def create() -> str:
        name = f"db_{uuid4().hex}"
        with psycopg.connect(postgres_url.format("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return postgres_url.format(name)

    return create


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """A new database with each call, of either kind."""
    maker: NewDatabase = request.getfixturevalue(f"new_{'postgres' if request.param == 'postgresql' else 'sqlite'}")
    return maker
