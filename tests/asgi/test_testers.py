"""Do the lists and a tester's signed header decide over HTTP, and does nobody else learn of them?"""

from __future__ import annotations

import json
import logging
import time

import pytest
from typer.testing import CliRunner

from phase1.asgi.testers import HEADER
from phase1.commands import app as command
from phase1.engine.log import DecisionLog
from phase1.policy.override import sign_override
from phase1.policy.selection import Route
from tests.asgi.web import bench_app, browser
from tests.doors.bench import SyncLegacy, failure

SECRET = "a-secret-of-the-operator"


def line(route: Route = Route.POOL, *, seconds: float = 600, secret: str = SECRET, now: float | None = None) -> str:
    """A header's value."""
    return sign_override(route, secret=secret.encode(), now=time.time() if now is None else now, seconds=seconds)


async def test_signed_header_decides_against_the_percent() -> None:
    """Both ways, without a key, and for this request alone."""
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_percent=0, llm_canary_secret=SECRET)
    async with bench.manager, browser(app) as http:
        to_pool = (await http.get("/ask", headers={HEADER: line()})).json()
        without = (await http.get("/ask")).json()
    assert (to_pool["route"], to_pool["reason"], to_pool["text"]) == ("pool", "targeting_match", "from the pool")
    assert (without["route"], without["reason"]) == ("legacy", "default")
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_secret=SECRET)
    async with bench.manager, browser(app) as http:
        to_legacy = (await http.get("/ask", headers={HEADER: line(Route.LEGACY)})).json()
    assert (to_legacy["route"], to_legacy["reason"]) == ("legacy", "targeting_match")


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ([line(now=0.0)], "expired"),
        ([line(secret="another-secret-of-somebody")], "forged"),
        (["pool"], "malformed"),
        ([line(), line()], "malformed"),
        ([line() + "x" * 50_000], "malformed"),
    ],
    ids=["expired", "forged", "word", "twice", "long"],
)
async def test_header_that_does_not_count_is_as_if_it_were_not_there(headers: list[str], fault: str) -> None:
    """The request is served as ever; the page says how often that happened."""
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_percent=0, llm_canary_secret=SECRET)
    async with bench.manager, browser(app) as http:
        answer = (await http.get("/ask", headers=[(HEADER, value) for value in headers])).json()
        metrics = (await http.get("/metrics/llm", params={"format": "json"})).json()
    assert (answer["route"], answer["reason"]) == ("legacy", "default")
    assert metrics["tester_headers"] == {fault: 1}


async def test_without_a_secret_the_header_means_nothing() -> None:
    """Off by default."""
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_percent=0)
    async with bench.manager, browser(app) as http:
        answer = (await http.get("/ask", headers={HEADER: line()})).json()
    assert (answer["route"], bench.manager.tester_headers) == ("legacy", {})


async def test_header_does_not_pass_a_kill_switch_or_the_breaker() -> None:
    """A tester is no operator."""
    app, bench = bench_app(legacy=SyncLegacy(), force_legacy_llm=True, llm_canary_secret=SECRET)
    async with bench.manager, browser(app) as http:
        answer = (await http.get("/ask", headers={HEADER: line()})).json()
    assert (answer["route"], answer["reason"]) == ("legacy", "kill_switch")
    app, bench = bench_app(lambda: failure(500), legacy=SyncLegacy(), llm_canary_secret=SECRET)
    async with bench.manager, browser(app) as http:
        for _ in range(3):
            await http.get("/ask")
        answer = (await http.get("/ask", headers={HEADER: line()})).json()
    assert (answer["route"], answer["reason"]) == ("legacy", "circuit_open")


async def test_lists_decide_by_the_sticky_key() -> None:
    """Allowed at 0 %, denied at 100 %."""
    lists = {"llm_canary_key": "header:X-User", "llm_canary_allow": "ann", "llm_canary_deny": "bob"}
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_percent=0, **lists)
    async with bench.manager, browser(app) as http:
        found = {user: (await http.get("/ask", headers={"x-user": user})).json() for user in ("ann", "bob", "eve")}
        bench.manager.canary = type(bench.manager.canary)(100)
        denied = (await http.get("/ask", headers={"x-user": "bob"})).json()
    assert (found["ann"]["route"], found["ann"]["reason"]) == ("pool", "targeting_match")
    assert (found["eve"]["route"], found["eve"]["reason"]) == ("legacy", "split")
    assert (denied["route"], denied["reason"]) == ("legacy", "targeting_match")


async def test_neither_lists_nor_headers_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Not by the log that tells everything, the pages, or a repr."""
    caplog.set_level(logging.DEBUG)
    value = line()
    app, bench = bench_app(
        legacy=SyncLegacy(),
        llm_canary_secret=SECRET,
        llm_canary_key="header:X-User",
        llm_canary_allow="planted-ann,planted-bob",
        llm_canary_deny="planted-eve",
    )
    bench.manager.events.subscribe(DecisionLog())
    async with bench.manager, browser(app) as http:
        for user in ("planted-ann", "planted-eve"):
            await http.get("/ask", headers={HEADER: value, "x-user": user})
        page = (await http.get("/debug/llm-system", params={"format": "json"})).text
        metrics = (await http.get("/metrics/llm")).text
    assert json.loads(page)["canary"]["allowed"] == 2
    assert 'phase1_tester_headers_total{result="accepted"} 2.0' in metrics
    for told in (page, metrics, caplog.text, repr(bench.manager), repr(bench.manager.settings)):
        assert not any(word in told for word in ("planted", value, SECRET))


# -- the command


def test_command_makes_a_header_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As curl takes it, or as JSON."""
    monkeypatch.setenv("LLM_CANARY_SECRET", SECRET)
    shown = CliRunner().invoke(command, ["tester-header"])
    name, value = shown.stdout.strip().split(": ")
    assert (shown.exit_code, name) == (0, HEADER)
    assert value.startswith("pool.")
    made = json.loads(CliRunner().invoke(command, ["tester-header", "--route", "legacy", "--json"]).stdout)
    assert made["value"].startswith("legacy.")
    assert made["ends"].endswith("+00:00")


async def test_header_of_the_command_is_accepted_by_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same secret on both sides."""
    monkeypatch.setenv("LLM_CANARY_SECRET", SECRET)
    name, value = CliRunner().invoke(command, ["tester-header", "--hours", "1"]).stdout.strip().split(": ")
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_percent=0)
    async with bench.manager, browser(app) as http:
        answer = (await http.get("/ask", headers={name: value})).json()
    assert answer["route"] == "pool"


def test_command_without_a_secret_says_so() -> None:
    """And what it has to be."""
    done = CliRunner().invoke(command, ["tester-header"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "LLM_CANARY_SECRET is not set here" in done.stderr


@pytest.mark.parametrize("hours", ["0", "721", "nan"])
def test_command_refuses_no_or_endless_time(hours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage."""
    monkeypatch.setenv("LLM_CANARY_SECRET", SECRET)
    assert CliRunner().invoke(command, ["tester-header", "--hours", hours]).exit_code == 2
