"""Is the plain app sound by itself: tokens, limiter, databases? What it does over HTTP is in `test_same_answers`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import apps
from .conftest import NewDatabase

SECRET = "not so secret"


@pytest.fixture(scope="module")
def module(plain: Path, new_sqlite: NewDatabase) -> Iterator[ModuleType]:
    """The plain app's module with demo tokens; the app does not run."""
    with apps.loaded(plain, apps.environment("http://127.0.0.1:9/v1", new_sqlite())) as module:
        yield module


@pytest.fixture(scope="module")
def stored(plain: Path, new_database: NewDatabase) -> Iterator[ModuleType]:
    """The plain app's module with a database of either kind; the app does not run."""
    with apps.loaded(plain, apps.environment("http://127.0.0.1:9/v1", new_database())) as module:
        module.database.create_schema()
        yield module
        module.database.close()


@pytest.fixture(scope="module")
def signed(plain: Path, new_sqlite: NewDatabase) -> Iterator[ModuleType]:
    """The plain app's module with a secret."""
    values = apps.environment("http://127.0.0.1:9/v1", new_sqlite(), AUTH_SECRET=SECRET)
    with apps.loaded(plain, values) as module:
        yield module


def _token(user_id: str) -> str:
    return f"{user_id}.{hmac.new(SECRET.encode(), user_id.encode(), hashlib.sha256).hexdigest()}"


def test_signed_token_names_its_user(signed: ModuleType) -> None:
    """With AUTH_SECRET a token is the user id and its HMAC."""
    assert signed.user_of_token(_token("12")) == 12


@pytest.mark.parametrize("token", ["", "12", "12.", "13" + _token("12")[2:], "demo-12", _token("x"), "12.é", "é.12"])
def test_forged_token_names_nobody(signed: ModuleType, token: str) -> None:
    """With AUTH_SECRET neither demo tokens nor other people's signatures are let in."""
    assert signed.user_of_token(token) is None


@pytest.mark.parametrize("token", ["", "demo-", "demo-x", "demo-1 ", "demo-٣", "demo-1234567890", "Demo-1"])
def test_malformed_demo_token_names_nobody(module: ModuleType, token: str) -> None:
    """A demo token is `demo-` and one to nine ASCII digits."""
    assert module.user_of_token(token) is None


def test_limiter_opens_again_when_the_window_has_moved(module: ModuleType) -> None:
    """Two calls a minute: the third waits for the rest of the first one's minute, and then may."""
    now = [100.0]
    limiter = module.RateLimiter(2, 60.0, clock=lambda: now[0])
    waits = []
    for now[0] in (100.0, 110.0, 130.0, 160.0, 161.0):
        waits.append(limiter.wait_for(1))
    assert waits == [0, 0, 30, 0, 9]


@given(times=st.lists(st.floats(0, 1000), max_size=60), limit=st.integers(1, 5))
def test_limiter_never_lets_more_through_than_allowed(module: ModuleType, times: list[float], limit: int) -> None:
    """In no window are there more calls than the limit."""
    now = [0.0]
    limiter = module.RateLimiter(limit, 60.0, clock=lambda: now[0])
    allowed = []
    for now[0] in sorted(times):
        if limiter.wait_for(1) == 0:
            allowed.append(now[0])
    assert all(sum(at < other + 60 and other <= at for other in allowed) <= limit for at in allowed)


def test_workers_may_create_the_schema_at_once(stored: ModuleType, new_database: NewDatabase) -> None:
    """`--workers 4` on an empty database: all come up, and no theme is there twice."""
    url = new_database()
    workers = [stored.Database(url) for _ in range(4)]
    with ThreadPoolExecutor(len(workers)) as pool:
        for made in [pool.submit(worker.create_schema) for worker in workers]:
            made.result(apps.BOUND)
    assert [row["id"] for row in workers[0].query("SELECT id FROM themes ORDER BY id")] == [1, 2, 3]
    for worker in workers:
        worker.close()


def test_threads_share_the_database(stored: ModuleType) -> None:
    """Turns written by several threads at once are all there, each once."""
    turns = [str(n) for n in range(80)]
    with ThreadPoolExecutor(8) as pool:
        for saved in [pool.submit(stored.save_chat, 5, "chat", turn, "answer") for turn in turns]:
            saved.result(apps.BOUND)
    rows = stored.database.query("SELECT message FROM chat_logs WHERE user_id = ?", 5)
    assert sorted(row["message"] for row in rows) == sorted(turns)


def test_failed_statement_leaves_nothing_behind(stored: ModuleType) -> None:
    """A statement that fails is the app's DatabaseError, and the next one finds a sound connection."""
    with pytest.raises(stored.DatabaseError):
        stored.database.query("SELECT 1 FROM no_such_table")
    assert stored.database.query("SELECT 1 AS one") == [{"one": 1}]


def test_unreachable_database_is_a_database_error(module: ModuleType, tmp_path: Path) -> None:
    """So is a database that cannot be opened at all."""
    nowhere = tmp_path / "missing" / "x.sqlite3"
    with pytest.raises(module.DatabaseError):
        module.Database(f"sqlite:///{nowhere}").query("SELECT 1")
