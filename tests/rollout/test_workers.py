"""Do four real workers act as one, over a directory and over a real Redis, whatever is done to them and to it?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phase1.rollout.file_store import FileStore
from phase1.rollout.operator import Operator, history, progress_of
from phase1.rollout.plan_file import plan_from_file
from phase1.rollout.record import decode
from phase1.rollout.redis_store import RedisStore
from phase1.rollout.store import Store
from tests.asgi.servers import Server, serving
from tests.offload.redis_server import RedisServer

from .load import Load, Upstream, upstream

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

WORKERS = 4
TOKEN = "0123456789abcdef"
APPS = Path(__file__).parent / "served"
QUICK = """
interval = 1
alpha = 0.2
margins = { failed = 0.5, seconds = 0.5, empty = 0.5 }
[[steps]]
percent = 10
min_duration = 2
min_samples = 20
[[steps]]
percent = 50
min_duration = 2
min_samples = 20
[[steps]]
percent = 100
"""


@dataclass
class Fleet:
    """Four workers, their state and their upstream."""

    server: Server
    store: Store
    upstream: Upstream
    plan: Path
    redis: RedisServer | None

    def pids(self) -> set[int]:
        """The workers'."""
        return {int(worker.partition("-")[0]) for worker in self.store.reports()}

    def act(self, verb: str) -> None:
        """What `phase1 rollout` does."""
        Operator(self.store, by="a test").act(verb, plan_from_file(self.plan))

    def page(self) -> dict[str, Any]:
        """One worker's rollout."""
        page: dict[str, Any] = self.server.get("/debug/llm-system").json()["rollout"]
        return page


@pytest.fixture(params=["file", "redis"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Up, and every one of the workers has reported."""
    redis: RedisServer | None = None
    store: Store
    if request.param == "redis":
        redis = request.getfixturevalue("own_redis")
        url, store = redis.url, RedisStore(redis.url, "phase1")
    else:
        url, store = f"file://{tmp_path}/state", FileStore(f"{tmp_path}/state")
    plan = tmp_path / "rollout.toml"
    plan.write_text(QUICK)
    with upstream() as provider, contextlib.ExitStack() as stack:
        variables = {
            "ENABLE_LLM_POOL": "true",
            "OPENAI_API_KEY": "sk-0123456789",
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_MAX_RETRIES": "0",
            "LLM_MODEL": "m",
            "LLM_CANARY_KEY": "header:x-user",
            "LLM_STATE_URL": url,
            "LLM_AUTO_ROLLOUT": "true",
            "LLM_ROLLOUT_FILE": str(plan),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        options = ["--workers", str(WORKERS), "--app-dir", str(APPS)]
        server = stack.enter_context(serving(tmp_path, *options, target="rollout_app:app", **variables))
        server.wait_for("Application startup complete", times=WORKERS)
        _until(lambda: len(store.reports()) == WORKERS)
        yield Fleet(server, store, provider, plan, redis)


def _tell(figure: str) -> None:
    """Seen with `pytest -s`."""
    sys.stderr.write(f"{figure}\n")


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_kill_reaches_all_workers(fleet: Fleet) -> None:
    """Under load, within 1.5 s, without a failed request; and back again."""
    with Load(fleet.server.url) as load:
        load.until(lambda: load.workers(route="pool") == fleet.pids(), "all give to the pool")
        for _ in range(3):
            _kill_and_back(fleet, load)
    assert load.errors == []
    assert {answer.status for answer in load.answers} == {200}
    assert [(entry["actor"], entry["to"]["kill"]) for entry in history(fleet.store, 100)] == [
        ("kill", on) for _ in range(3) for on in (True, False)
    ]


def _kill_and_back(fleet: Fleet, load: Load) -> None:
    killed_at = time.monotonic()
    Operator(fleet.store, by="a test").kill(on=True)
    load.until(lambda: load.workers(since=killed_at + 1.5) == fleet.pids(), "all have answered")
    assert [answer for answer in load.since(killed_at + 1.5) if answer.reason != "kill_switch"] == []
    last = max((a.began for a in load.since(killed_at) if a.route == "pool"), default=killed_at)
    _tell(f"the last request to the pool began {last - killed_at:.2f} s after the kill")
    back_at = time.monotonic()
    Operator(fleet.store, by="a test").kill(on=False)
    load.until(lambda: load.workers(since=back_at, route="pool") == fleet.pids(), "all are back")


def test_healthy_canary_goes_all_the_way(fleet: Fleet) -> None:
    """From start to promotion by itself, with one audit line per change, and each percent as it was said."""
    with Load(fleet.server.url) as load:
        fleet.act("start")
        load.until(lambda: _phase(fleet) == "promoted", "promoted")
    assert load.errors == []
    changes = history(fleet.store, 100)
    assert [entry["generation"] for entry in changes] == [1, 2, 3]
    assert [(entry["actor"], entry["to"]["percent"]) for entry in changes] == [
        ("user", 10),
        ("auto", 50),
        ("auto", 100),
    ]
    assert [line["evidence"]["threshold"] for line in changes[1:]] == [pytest.approx(3.401)] * 2


def test_dead_canary_is_rolled_back(fleet: Fleet) -> None:
    """Nobody notices; the percent is 0 in every worker, and stays."""
    with Load(fleet.server.url) as load:
        fleet.act("start")
        load.until(lambda: fleet.page()["percent"] == 10, "ten percent")
        fleet.upstream.failing = True
        took = load.until(lambda: _phase(fleet) == "rolled_back", "rolled back")
        _tell(f"rolled back after {took:.1f} s, {fleet.upstream.calls} calls")
        fleet.upstream.failing = False
        calls = fleet.upstream.calls
        time.sleep(3.0)
        since = time.monotonic()
        load.until(lambda: load.workers(since=since) == fleet.pids(), "all have answered")
        assert {answer.route for answer in load.since(since)} == {"legacy"}
    assert load.errors == []
    last = history(fleet.store, 1)[0]
    assert (last["actor"], last["to"]["percent"], last["to"]["phase"]) == ("auto", 0, "rolled_back")
    assert last["evidence"]["failures"]["canary"] >= 4
    assert max(last["evidence"]["log_e"].values()) >= last["evidence"]["threshold"]
    assert fleet.upstream.calls - calls < 200


def test_fleet_has_one_prober(fleet: Fleet) -> None:
    """The upstream fails: after that it is asked by one worker, one request at a time, until it is well."""
    with Load(fleet.server.url) as load:
        load.until(lambda: load.workers(route="pool") == fleet.pids(), "all give to the pool")
        fleet.upstream.failing = True
        load.until(lambda: _breakers(fleet) <= {"disabled", "half_open"}, "all breakers are open")
        _until(lambda: fleet.upstream.in_flight == 0)
        fleet.upstream.most_in_flight = calls = 0
        calls = fleet.upstream.calls
        time.sleep(12.0)  # two or three open times
        probes = fleet.upstream.calls - calls
        _tell(f"{probes} probes in 12 s, at most {fleet.upstream.most_in_flight} at once")
        assert 1 <= probes <= 12
        assert fleet.upstream.most_in_flight == 1
        fleet.upstream.failing = False
        load.until(lambda: _breakers(fleet) <= {"ramping", "active"}, "all are back together")
    assert load.errors == []


def test_dead_leader_hands_over(fleet: Fleet) -> None:
    """`kill -9` in the middle of a step: the next one goes on with its evidence, and it is promoted."""
    with Load(fleet.server.url) as load:
        fleet.act("start")
        load.until(lambda: (progress_of(fleet.store).get("evidence") or {}).get("n", 0) > 20, "some evidence")
        before = progress_of(fleet.store)
        os.kill(int(before["leader"].partition("-")[0]), signal.SIGKILL)
        took = _until_leader_changes(fleet, before["leader"])
        _tell(f"handed over after {took:.1f} s")
        assert progress_of(fleet.store)["evidence"]["n"] >= before["evidence"]["n"] or _percent(fleet) > 10
        load.errors.clear()  # those whose worker was killed under them
        _until(lambda: _phase(fleet) == "promoted")
        assert [entry["generation"] for entry in history(fleet.store, 100)] == [1, 2, 3]
        assert load.errors == []


def _until_leader_changes(fleet: Fleet, old: str) -> float:
    """How long it took."""
    began = time.monotonic()
    _until(lambda: progress_of(fleet.store).get("leader") != old)
    return time.monotonic() - began


@pytest.mark.parametrize("fleet", ["redis"], indirect=True)
def test_frozen_store_costs_no_request_anything(fleet: Fleet) -> None:
    """SIGSTOP for ten seconds: nobody waits for it, the last state stays, and it is said."""
    assert fleet.redis is not None
    with Load(fleet.server.url, users=2) as load:
        load.until(lambda: load.workers(route="pool") == fleet.pids(), "all give to the pool")
        calm = load.run_for(10.0)
        fleet.redis.pause()
        frozen = load.run_for(10.0)
        page = fleet.page()
        fleet.redis.resume()
        load.until(lambda: fleet.page()["problem"] is None and fleet.page()["age"] < 3, "it is heard again")
    assert load.errors == []
    assert {answer.route for answer in frozen} == {"pool"}
    assert {answer.reason for answer in frozen[-50:]} == {"stale"}
    assert page["age"] > 3
    assert "does not answer" in page["problem"]
    figures = [
        (_quantile(answers, 0.5), _quantile(answers, 0.99), _quantile(answers, 1.0)) for answers in (calm, frozen)
    ]
    _tell(f"calm and frozen, p50 p99 max in ms: {[[round(1000 * each, 1) for each in row] for row in figures]}")
    assert figures[1][0] - figures[0][0] < 0.020
    assert figures[1][2] - figures[0][2] < 0.400  # a request that waited for the store would wait for half a second


def _quantile(answers: list[Any], share: float) -> float:
    ordered = sorted(answer.seconds for answer in answers)
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def _phase(fleet: Fleet) -> str:
    return str(decode(fleet.store.read() or "").phase)


def _percent(fleet: Fleet) -> float:
    return decode(fleet.store.read() or "").percent or 0.0


def _breakers(fleet: Fleet) -> set[str]:
    return {json.loads(text)["breaker"]["state"] for text in fleet.store.reports().values()}
