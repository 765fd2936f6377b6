"""Does every store keep one record, one holder of a lease, and each line of the audit?"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from phase1.exceptions import MissingExtraError
from phase1.rollout.file_store import FileStore
from phase1.rollout.redis_store import RedisStore
from phase1.rollout.store import MemoryStore, Store, StoreUnavailable, store_of
from tests.doors.bench import Clock, settings
from tests.offload.redis_server import RedisServer

ROOT = Path(__file__).parents[2]


def test_record_is_replaced_by_who_knows_it(store: Store) -> None:
    """Whoever has read an older one changes nothing."""
    assert store.read() is None
    assert store.audit(5) == []
    assert store.swap(None, "one", "line 1")
    assert not store.swap(None, "other", "line ?")
    assert not store.swap("two", "three", "line ?")
    assert store.swap("one", "two", "line 2")
    assert (store.read(), store.audit(5), store.audit(1)) == ("two", ["line 1", "line 2"], ["line 2"])


def test_many_at_once_lose_no_change(store: Store) -> None:
    """Each of a hundred additions is there, and each has its line."""
    store.swap(None, "0", "0")

    def add() -> None:
        for _ in range(10):
            while not store.swap(before := store.read(), str(int(before or 0) + 1), "added"):
                pass

    threads = [threading.Thread(target=add) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read() == "100"
    assert len(store.audit(1000)) == 101


def test_lease_has_one_holder(store: Store) -> None:
    """Who may renew it, and give it back."""
    assert store.lease("leader", "a", 30.0)
    assert not store.lease("leader", "b", 30.0)
    assert store.lease("leader", "a", 30.0)
    assert store.lease("probe", "b", 30.0)
    store.release("leader", "b")
    assert not store.lease("leader", "b", 30.0)
    store.release("leader", "a")
    assert store.lease("leader", "b", 30.0)


def test_texts_and_reports(store: Store) -> None:
    """As they were written last."""
    assert (store.get("progress"), store.reports()) == (None, {})
    store.put("progress", "one")
    store.put("progress", "zwei ü")
    store.report("w1", "a")
    store.report("w2", "b")
    store.report("w1", "c")
    assert (store.get("progress"), store.reports()) == ("zwei ü", {"w1": "c", "w2": "b"})
    store.forget("w1")
    store.forget("w3")
    assert store.reports() == {"w2": "b"}
    store.close()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_lease_runs_out(kind: str, tmp_path: Path) -> None:
    """And is the next one's."""
    clock = Clock()
    store: Store = MemoryStore(clock=clock) if kind == "memory" else FileStore(str(tmp_path), clock=clock)
    assert store.lease("leader", "a", 3.0)
    clock.now += 2.9
    assert not store.lease("leader", "b", 3.0)
    clock.now += 0.2
    assert store.lease("leader", "b", 3.0)
    assert not store.lease("leader", "a", 3.0)


def test_lease_runs_out_in_redis(shared_redis: str) -> None:
    """By its own clock."""
    store = RedisStore(shared_redis, f"t{os.getpid()}.leases")
    assert store.lease("leader", "a", 0.05)
    while not store.lease("leader", "b", 30.0):
        pass
    assert not store.lease("leader", "a", 30.0)
    store.release("leader", "b")
    store.close()


# -- a directory


def test_lease_of_before_a_restart_is_none(tmp_path: Path) -> None:
    """The monotonic clock has begun anew: one that lasts longer than was asked for is no lease."""
    clock = Clock()
    store = FileStore(str(tmp_path), clock=clock)
    clock.now = 1e9
    store.lease("leader", "a", 3.0)
    clock.now = 5.0
    assert store.lease("leader", "b", 3.0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": "a"}', '{"owner": "a", "until": "soon"}'])
def test_lease_that_cannot_be_read_is_nobodys(tmp_path: Path, text: str) -> None:
    """Somebody may have written anything."""
    (tmp_path / "lease-leader.json").write_text(text)
    assert FileStore(str(tmp_path)).lease("leader", "b", 3.0)


def test_directory_is_ours_alone(tmp_path: Path) -> None:
    """Made with the first need of it; and made again when somebody has removed it."""
    store = FileStore(str(tmp_path / "a" / "state"))
    assert store.read() is None
    store.swap(None, "one", "line")
    assert (tmp_path / "a" / "state" / "workers").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "a" / "state").iterdir()) == [
        "audit.jsonl",
        "lock",
        "state.json",
        "workers",
    ]
    subprocess.run(["rm", "-r", str(tmp_path / "a")], check=True)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.report("w", "x")
    store.report("w", "x")
    assert store.reports() == {"w": "x"}


def test_lock_that_is_not_given_back_is_said(tmp_path: Path) -> None:
    """Whoever holds it stands still: nothing hangs, and reading needs no lock."""
    store = FileStore(str(tmp_path))
    store.swap(None, "one", "line")
    with (tmp_path / "lock").open("a") as other:
        fcntl.flock(other.fileno(), fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="locked by another process that does not move on"):
            store.swap("one", "two", "line")
        assert store.read() == "one"
    assert store.swap("one", "two", "line")


def test_lock_of_the_dead_is_free(tmp_path: Path) -> None:
    """The kernel takes it back."""
    code = f"""
import fcntl, os
lock = open({str(tmp_path / "lock")!r}, "a")
fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert FileStore(str(tmp_path)).swap(None, "one", "line")


def test_place_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "state").write_text("x")
    store = FileStore(str(tmp_path / "state"))
    with pytest.raises(StoreUnavailable, match=r"file://.*/state cannot be read \(Not a directory\)"):
        store.read()
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.swap(None, "one", "line")


# -- Redis


def test_redis_that_is_gone_is_said(own_redis: RedisServer) -> None:
    """In bounded time, without its password."""
    store = RedisStore(own_redis.url.replace("redis://", "redis://:hush@"), "t")
    store_without = RedisStore(own_redis.url, "t")
    own_redis.stop()
    for each in (store, store_without):
        with pytest.raises(StoreUnavailable, match=rf"redis://127.0.0.1:{own_redis.port}/0 does not answer") as caught:
            each.read()
        assert "hush" not in str(caught.value)


def test_redis_that_stands_still_is_said(own_redis: RedisServer) -> None:
    """And works again when it moves."""
    store = RedisStore(own_redis.url, "t")
    store.swap(None, "one", "line")
    own_redis.pause()
    with pytest.raises(StoreUnavailable, match="TimeoutError"):
        store.read()
    own_redis.resume()
    assert store.read() == "one"


def test_apps_with_other_names_do_not_meet(shared_redis: str) -> None:
    """In one Redis."""
    one, other = (RedisStore(shared_redis, f"t{os.getpid()}.{name}") for name in ("one", "other"))
    one.swap(None, "mine", "line")
    assert other.read() is None


# -- which one


def test_url_says_which(tmp_path: Path) -> None:
    """Percent signs are of the URL."""
    assert isinstance(store_of(settings()), MemoryStore)
    (tmp_path / "a b").mkdir()
    found = store_of(settings(llm_state_url=f"file://{tmp_path}/a%20b"))
    found.swap(None, "one", json.dumps({}))
    assert (tmp_path / "a b" / "state.json").read_text() == "one"
    assert isinstance(store_of(settings(llm_state_url="redis://127.0.0.1:1")), RedisStore)


def test_redis_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it."""
    for name in ("redis", "phase1.rollout.redis_store"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r'pip install "phase1\[rollout\]"'):
        store_of(settings(llm_state_url="redis://cache"))
