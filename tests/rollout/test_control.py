"""Does the control page speak for all workers where they share a state, and is the state to be seen?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Route

from phase1.asgi.lifespan import lifespan
from phase1.asgi.middleware import Phase1Middleware
from phase1.exceptions import ConfigurationError
from phase1.observe.exposition import render
from phase1.observe.monitor import Monitor
from phase1.policy.rollout import Desired
from phase1.rollout.file_store import FileStore
from phase1.rollout.record import decode, encode
from tests.asgi.web import ask, bench_app, browser
from tests.doors.bench import SyncLegacy, completion, settings

CONTROL = "/admin/llm-system/control"
TOKEN = "admin-token-0123456789"


class Site:
    """An app that follows a directory, and somebody with the token."""

    def __init__(self, http: httpx.AsyncClient, store: FileStore, middleware: Phase1Middleware) -> None:
        self.http, self.store, self.middleware = http, store, middleware

    async def wish(self, **wishes: object) -> httpx.Response:
        return await self.http.post(CONTROL, json=wishes)

    async def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/debug/llm-system")).json()["rollout"]
        return found

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a state of the page."""
        async with asyncio.timeout(20):
            while not condition(found := await self.rollout()):  # noqa: ASYNC110 - a thread makes it come
                await asyncio.sleep(0.02)
        return found

    @property
    def desired(self) -> Desired:
        return decode(self.store.read() or "")


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Up, and it has read the (empty) state."""
    (tmp_path / "rollout.toml").write_text("interval = 1\n[[steps]]\npercent = 10\n[[steps]]\npercent = 50\n")
    app, bench = bench_app(
        completion,
        legacy=SyncLegacy(),
        llm_admin_token=TOKEN,
        llm_state_url=f"file://{tmp_path}/state",
        llm_auto_rollout=True,
        llm_rollout_file=tmp_path / "rollout.toml",
    )
    middleware = app.router.middleware_stack
    assert isinstance(middleware, Phase1Middleware)
    async with bench.manager, browser(app) as http:
        await middleware.follow()
        http.headers["authorization"] = f"Bearer {TOKEN}"
        yield Site(http, FileStore(f"{tmp_path}/state"), middleware)
        middleware.stop_following()


async def test_percent_is_for_all(site: Site) -> None:
    """Into the store, and from there into this worker."""
    answer = (await site.wish(percent=12.5)).json()
    assert [(change["what"], change["from"], change["to"]) for change in answer["changes"]] == [("percent", None, 12.5)]
    assert site.desired == Desired(generation=1, percent=12.5)
    found = await site.until(lambda rollout: rollout["generation"] == 1 and bool(rollout["history"]))
    assert found["percent"] == 12.5
    assert found["history"][0]["by"] == "127.0.0.1"


async def test_forced_legacy_is_the_kill_switch(site: Site) -> None:
    """Here it holds when the answer is there."""
    await site.wish(force_legacy=True)
    assert site.desired.kill
    answer = (await site.http.get("/ask")).json()
    assert (answer["route"], answer["reason"]) == ("legacy", "kill_switch")
    await site.wish(force_legacy=False)
    await site.until(lambda rollout: rollout["generation"] == 2)
    assert (await site.http.get("/ask")).json()["route"] == "pool"


async def test_rollout_is_started_and_aborted(site: Site) -> None:
    """By the verbs of the command line."""
    change = (await site.wish(rollout="start")).json()["changes"][0]
    assert (change["from"], change["to"]) == ("idle, the settings' percent", "progressing, 10 %")
    found = await site.until(lambda rollout: rollout["reason"] is not None and rollout["phase"] == "progressing")
    assert [step["here"] for step in found["steps"]] == [True, False]
    assert found["leads"]
    assert (await site.wish(rollout="abort")).status_code == 200
    found = await site.until(lambda rollout: rollout["phase"] == "aborted" and len(rollout["history"]) > 1)
    assert found["percent"] == 0
    assert [entry["reason"] for entry in found["history"]] == ["phase1 rollout abort", "phase1 rollout start"]


async def test_epoch_and_breaker_mode(site: Site) -> None:
    """For all, too."""
    assert (await site.wish(new_epoch=True)).json()["changes"][0]["to"] == 1
    assert (await site.wish(breaker_mode="forced_off")).json()["changes"][0]["from"] == "automatic"
    found = await site.until(lambda rollout: rollout["generation"] == 2)
    assert (found["epoch"], found["breaker_mode"]) == (1, "forced_off")


@pytest.mark.parametrize(
    ("wishes", "status", "text"),
    [
        ({"percent": 101}, 400, "percent=101: must be a number between 0 and 100"),
        ({"force_legacy": 1}, 400, "force_legacy=1: must be true or false"),
        ({"rollout": "begin"}, 400, "rollout='begin': must be one of start, pause, resume, promote, abort"),
        ({"rollout": ["start"]}, 400, "rollout=['start']: must be one of start, pause, resume, promote, abort"),
        ({"breaker_mode": "off"}, 400, "breaker_mode='off': must be one of automatic, forced_off, forced_on"),
        ({"new_epoch": 1}, 400, "new_epoch=1: must be true"),
        ({"rollout": "resume"}, 409, "resume: the rollout is idle; allowed while it is inconclusive, paused"),
    ],
)
async def test_bad_wish_is_named(site: Site, wishes: dict[str, object], status: int, text: str) -> None:
    """And nothing is written."""
    response = await site.wish(**wishes)
    assert response.status_code == status
    assert response.text.startswith(text)
    assert site.store.read() is None


async def test_damaged_state_is_a_conflict(site: Site) -> None:
    """Where nobody here knows a better one."""
    site.middleware.stop_following()
    site.store.swap(None, json.dumps({**json.loads(encode(Desired(generation=9))), "schema": 2}), "line")
    response = await site.wish(percent=5)
    assert response.status_code == 409
    assert "written by a newer version" in response.text


async def test_store_that_is_away_is_503_and_kills_here(site: Site, tmp_path: Path) -> None:
    """The others could not be told; this worker is on legacy."""
    site.middleware.stop_following()
    state, other = tmp_path / "state", tmp_path / "other"
    while not state.is_file():  # the last round may still be under way, in a thread, and make it anew
        shutil.rmtree(state, ignore_errors=True)
        other.write_text("x")
        with contextlib.suppress(IsADirectoryError):
            other.rename(state)
    response = await site.wish(force_legacy=True)
    assert response.status_code == 503
    assert "cannot be read" in response.text
    assert (await site.http.get("/ask")).json()["reason"] == "kill_switch"


async def test_metrics_say_it(site: Site) -> None:
    """Generation, percent, age, phase, who leads."""
    await site.wish(rollout="start")
    await site.until(lambda rollout: rollout["reason"] is not None and rollout["generation"] == 1)
    text = (await site.http.get("/metrics/llm", headers={"accept": "text/plain"})).text
    assert "phase1_state_generation 1.0" in text
    assert "phase1_canary_percent 10.0" in text
    assert 'phase1_rollout_phase{phase="progressing"} 1.0' in text
    assert 'phase1_rollout_phase{phase="idle"} 0.0' in text
    assert "phase1_rollout_leaders 1.0" in text
    assert "phase1_state_problem 0.0" in text
    assert 'phase1_rollout_log_e{metric="failed",test="worse"} 0.0' in text


# -- how it gets in


async def test_app_that_shares_nothing_has_no_agent() -> None:
    """Not even its module's thread; the metrics say 0."""
    app, bench = bench_app(completion)
    assert bench.manager.rollout is None
    async with bench.manager, browser(app) as http:
        assert (await http.get("/debug/llm-system")).json()["rollout"] is None
    text, _ = render(Monitor(bench.manager).numbers(), "text/plain")
    assert b"phase1_state_generation 0.0" in text


@pytest.mark.parametrize("switch", [{"enable_llm_pool": False}, {"emergency_mode": True}])
async def test_pool_that_is_off_follows_nobody(tmp_path: Path, switch: dict[str, bool]) -> None:
    """Byte for byte as before: no file is made. In an emergency nothing of ours works in the background."""
    _, bench = bench_app(completion, llm_state_url=f"file://{tmp_path}/state", **switch)
    assert bench.manager.rollout is None
    assert not (tmp_path / "state").exists()


async def test_memory_rollout_is_one_workers(tmp_path: Path) -> None:
    """`LLM_AUTO_ROLLOUT` alone: a single process leads itself."""
    app, bench = bench_app(completion, legacy=SyncLegacy(), llm_auto_rollout=True, llm_admin_token=TOKEN)
    middleware = app.router.middleware_stack
    assert isinstance(middleware, Phase1Middleware)
    async with bench.manager, browser(app) as http:
        http.headers["authorization"] = f"Bearer {TOKEN}"
        await middleware.follow()
        assert (await http.post(CONTROL, json={"rollout": "start"})).status_code == 200
        async with asyncio.timeout(20):
            while bench.manager.canary.percent != 1:  # noqa: ASYNC110 - a thread
                await asyncio.sleep(0.02)
        middleware.stop_following()


async def test_rollout_that_may_not_move_says_so(tmp_path: Path) -> None:
    """Without `LLM_AUTO_ROLLOUT`, and with a file that cannot be honoured."""
    (tmp_path / "bad.toml").write_text("[[steps]]\npercent = 9\n[[steps]]\npercent = 5\n")
    for options, status, text in [
        ({}, 409, "LLM_AUTO_ROLLOUT is not true in this app"),
        ({"llm_auto_rollout": True, "llm_rollout_file": tmp_path / "bad.toml"}, 409, "step 5 % comes after 9 %"),
    ]:
        app, bench = bench_app(completion, llm_admin_token=TOKEN, llm_state_url=f"file://{tmp_path}/state", **options)
        async with bench.manager, browser(app) as http:
            http.headers["authorization"] = f"Bearer {TOKEN}"
            response = await http.post(CONTROL, json={"rollout": "start"})
            assert response.status_code == status
            assert text in response.text
            problem = (await http.get("/debug/llm-system")).json()["rollout"]["problem"]
            assert (problem is None) == (not options)


def test_bad_rollout_file_stops_a_strict_start(tmp_path: Path) -> None:
    """With `LLM_STRICT_START=true`, as every value that cannot be honoured."""
    middleware = Phase1Middleware(
        Starlette(),
        settings=settings(llm_auto_rollout=True, llm_rollout_file=tmp_path / "none.toml", llm_strict_start=True),
    )
    assert isinstance(middleware.refusal, ConfigurationError)
    assert "cannot be read" in str(middleware.refusal)


def test_redis_without_its_library_leaves_the_app_on_legacy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not hear the kill switch."""
    import sys

    for name in ("redis", "phase1.rollout.redis_store"):
        monkeypatch.setitem(sys.modules, name, None)
    app, bench = bench_app(completion, llm_state_url="redis://cache")
    del app
    assert bench.manager.problem is not None
    assert 'pip install "phase1[rollout]"' in bench.manager.problem
    assert not bench.manager.switches.ready


async def test_lifespan_waits_for_the_stores_first_word(tmp_path: Path) -> None:
    """The first request meets the state, not the settings."""
    FileStore(f"{tmp_path}/state").swap(None, encode(Desired(generation=3, kill=True)), "line")
    made = settings(llm_state_url=f"file://{tmp_path}/state")
    app = Starlette(routes=[Route("/ask", ask)], lifespan=lifespan(legacy=SyncLegacy(), settings=made))
    async with app.router.lifespan_context(app), browser(app) as http:
        assert (await http.get("/ask")).json()["reason"] == "kill_switch"


def test_workers_slowest_generation_is_shown() -> None:
    """Of several, the least: what has not arrived everywhere has not arrived."""
    from phase1.observe.numbers import merged

    numbers = [{"phase1_state_generation": {(): value}} for value in (3.0, 2.0, 3.0)]
    assert merged(numbers)["phase1_state_generation"][()] == 2.0
