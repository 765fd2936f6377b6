"""Do several workers show one view, and the dead only their counts?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from phase1.events import Routed
from phase1.observe.monitor import Monitor
from phase1.observe.numbers import Numbers, from_json, merged, numbers_of, to_json
from phase1.observe.workers import Workers, directory_of
from tests.doors.bench import Bench
from tests.observe.live.stage import ADMIN, drive, live_app, upstream, wait_for


def numbers(routed: int, *, in_flight: float = 0.0) -> Numbers:
    """A worker's, with so many app requests on the pool."""
    bench = Bench()
    for _ in range(routed):
        bench.manager.events.notify(Routed("pool", "split"))
    found = numbers_of(bench.manager)
    found["phase1_pool_requests_in_flight"]["default",] = in_flight
    return found


def routed(found: Numbers) -> object:
    """How many."""
    return found["phase1_route"]["pool", "split"]


def test_numbers_survive_json() -> None:
    """Counters, gauges, histograms."""
    found = numbers(3)
    assert from_json(json.loads(json.dumps(to_json(found)))) == found


def test_counts_add_up_and_gauges_are_of_the_living() -> None:
    """Calls in flight are added, a percent is not; of the dead only what was counted stays."""
    together = merged([numbers(3, in_flight=2), numbers(4, in_flight=5)], [numbers(10, in_flight=99)])
    assert routed(together) == 17
    assert together["phase1_pool_requests_in_flight"]["default",] == 7
    assert together["phase1_canary_percent"][()] == 100
    assert together["phase1_workers"][()] == 2
    histogram = together["phase1_event_loop_lag_seconds"][()]
    assert isinstance(histogram, tuple)


def test_family_of_another_version_is_left_out() -> None:
    """During a deployment two versions meet."""
    strange: Numbers = {"phase9_new": {(): 1.0}, "phase1_enabled": {(): (([1], 2.0))}}
    assert "phase9_new" not in merged([numbers(1), strange])


def test_histogram_with_other_buckets_is_left_out() -> None:
    """Of a version before or after this one."""
    other: Numbers = {"phase1_overhead_seconds": {(): ([1, 2], 3.0)}}
    own = numbers(1)
    assert merged([own, other])["phase1_overhead_seconds"] == own["phase1_overhead_seconds"]


@contextlib.contextmanager
def sleeping(seconds: int = 60) -> Iterator[int]:
    """Another process, and its pid."""
    with subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def put(folder: Path, pid: int, found: Numbers, *, name: str = "x", **says: object) -> Path:
    """What the worker with that pid has left."""
    path = folder / f"{pid}-{name}.json"
    path.write_text(json.dumps({"pid": pid, "numbers": to_json(found), "says": says}))
    return path


GONE = 2**22 + 1
"""No process has this pid: Linux stops before."""


def test_worker_that_lives_is_read_and_one_that_does_not_leaves_its_counts(tmp_path: Path) -> None:
    """By its process, and by the age of its file."""
    workers = Workers(tmp_path, name="x")
    workers.write(numbers(1), {"hello": "myself"})
    with sleeping() as pid, sleeping() as silent:
        put(tmp_path, pid, numbers(2), hello="you")
        put(tmp_path, GONE, numbers(4))
        old = put(tmp_path, silent, numbers(8))
        os.utime(old, (time.time() - 60, time.time() - 60))
        alive, gone = workers.others()
    assert [(worker.pid, worker.says) for worker in alive] == [(pid, {"hello": "you"})]
    assert sorted(map(routed, gone)) == [4, 8]  # type: ignore[type-var]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"pid": "x"}',
        '{"pid": 1, "numbers": [], "says": {}}',
        '{"pid":1,"numbers":{"a":[[1]]},"says":{}}',
    ],
)
def test_file_that_is_none_is_ignored(tmp_path: Path, text: str) -> None:
    """Half written, or somebody else's."""
    (tmp_path / "1-x.json").write_text(text)
    assert Workers(tmp_path, name="x").others() == ([], [])


def test_files_of_many_dead_become_one_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    """A server that renews its workers every thousand requests leaves no thousand files."""
    for number in range(20):
        put(tmp_path, GONE + number, numbers(1))
    workers = Workers(tmp_path, name="x")
    workers.write(numbers(0), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{os.getpid()}-x.json", "gone.json"])
    _, gone = workers.others()
    assert routed(merged([numbers(0)], gone)) == 20
    for number in range(20):
        put(tmp_path, GONE + 100 + number, numbers(1))
    workers.write(numbers(0), {})
    assert routed(merged([numbers(0)], workers.others()[1])) == 40


def test_half_done_folding_counts_nobody_twice(tmp_path: Path) -> None:
    """The folder has died between the new file and the end of the old ones."""
    old = put(tmp_path, GONE, numbers(3))
    document = {"pid": 0, "numbers": to_json(numbers(3)), "says": {"folded": [old.name]}}
    (tmp_path / "gone.json").write_text(json.dumps(document))
    _, gone = Workers(tmp_path, name="x").others()
    assert [routed(each) for each in gone] == [3]


def test_lock_of_one_that_died_is_taken_away(tmp_path: Path) -> None:
    """In the next second somebody folds."""
    for number in range(20):
        put(tmp_path, GONE + number, numbers(1))
    lock = tmp_path / "lock"
    lock.touch()
    workers = Workers(tmp_path, name="x")
    workers.write(numbers(0), {})
    assert len(list(tmp_path.glob("*.json"))) == 21
    os.utime(lock, (time.time() - 60, time.time() - 60))
    workers.write(numbers(0), {})
    workers.write(numbers(0), {})
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_directory_that_cannot_be_used_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The app goes on, each worker for itself."""
    workers = Workers(tmp_path / "missing", name="x")
    with caplog.at_level(logging.WARNING, "phase1"):
        for _ in range(3):
            workers.write(numbers(0), {})
    assert len(caplog.records) == 1
    assert workers.others() == ([], [])


def test_process_that_is_nobodys_worker_has_no_directory(tmp_path: Path) -> None:
    """It writes nothing anywhere, unless it is told where."""
    assert directory_of(None, environment={}) is None
    assert directory_of(tmp_path / "here" / "there", environment={}) == tmp_path / "here" / "there"
    assert (tmp_path / "here" / "there").stat().st_mode & 0o77 == 0


def test_worker_of_gunicorn_has_one_that_only_its_user_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parent's pid; what servers have left that are gone is removed."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    base = tmp_path / f"phase1-{os.getuid()}"
    (base / f"{GONE}-0-abc").mkdir(parents=True)
    base.chmod(0o700)
    found = directory_of(None, environment={"SERVER_SOFTWARE": "gunicorn/25.0"})
    assert found is not None
    assert found.name.startswith(f"{os.getppid()}-")
    assert found.stat().st_mode & 0o77 == 0
    assert [path.name for path in base.iterdir()] == [found.name]


def test_directory_that_somebody_has_put_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary directory is everybody's."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"phase1-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="another user"):
        directory_of(None, environment={"SERVER_SOFTWARE": "gunicorn/25.0"})


async def test_monitor_that_has_no_place_watches_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log."""
    (tmp_path / "file").touch()
    bench = Bench(llm_runtime_dir=tmp_path / "file" / "below")
    monitor = Monitor(bench.manager)
    with caplog.at_level(logging.WARNING, "phase1"):
        monitor.watch()
    monitor.close()
    assert any("cannot see each other's numbers" in message for message in caplog.messages)
    assert monitor.document()["workers"] == [monitor.document()["worker"]]


def ask(url: str, path: str) -> httpx.Response:
    """As an operator."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    return httpx.get(url + path, headers=headers, trust_env=False).raise_for_status()


@pytest.mark.timeout(120)
def test_four_workers_show_one_merged_view(tmp_path: Path) -> None:
    """Whoever answers: all workers, all calls, on the page, in the metrics and in the recorder."""
    with upstream(tmp_path) as up, live_app(tmp_path, up, "--workers", "4", TMPDIR=str(tmp_path)) as app:
        wait_for(lambda: len(ask(app, "/debug/llm-system").json()["workers"]) == 4, "four workers")
        asyncio.run(drive(app, ["/chat"], users=20, times=5))

        def counted() -> set[int]:
            return {
                sum(row["count"] for row in ask(app, "/debug/llm-system").json()["metrics"]["routes"]) for _ in range(8)
            }

        wait_for(lambda: counted() == {100}, "the same hundred requests, whoever answers")
        served = ask(app, "/debug/llm-system").json()
        assert len({worker["pid"] for worker in served["workers"]}) == 4
        assert sum(worker["finished"] for worker in served["workers"]) == served["metrics"]["finished"]
        assert sum(point[1] for point in served["history"]["points"]) == served["metrics"]["finished"]
        text = ask(app, "/metrics/llm").text
        lines = [line for line in text.splitlines() if line.startswith("phase1_route_total")]
        assert sum(float(line.rpartition(" ")[2]) for line in lines) == 100
        assert "phase1_workers 4.0" in text

        def recorded() -> list[dict[str, object]]:
            return ask(app, "/debug/llm-system/requests?limit=1000").json()["requests"]

        wait_for(lambda: len(recorded()) >= 100, "their records, which come when calls are over")
        calls = recorded()
        assert len({call["id"] for call in calls}) == len(calls)
        assert len({call["id"].partition("-")[0] for call in calls}) > 1
        strange = next(call for call in calls if call["id"].partition("-")[0] != str(served["pid"]))
        assert ask(app, f"/debug/llm-system/requests/{strange['id']}").json()["id"] == strange["id"]
        for path in tmp_path.rglob("*.json"):
            assert "planted" not in path.read_text()
