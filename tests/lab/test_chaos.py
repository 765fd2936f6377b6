"""Do endpoints misbehave as they should, and is it counted what users notice?"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from typer.testing import CliRunner

from phase1.commands import app
from phase1.lab.chaos.faults import FAULTS, RETRY_AFTER
from phase1.lab.chaos.report import broken_promises, document, table, text
from phase1.lab.chaos.run import Outcome, Plan, play
from phase1.lab.chaos.suites import SUITES, Scenario
from phase1.lab.chaos.upstream import Endpoint

ROOT = Path(__file__).parent.parent.parent
SHORT = Plan(users=8, seconds=0.6)
PATIENT = {
    "llm_request_deadline": 40.0,
    "llm_queue_timeout": 40.0,
    "llm_connect_timeout": 30.0,
    "llm_first_token_timeout": 30.0,
    "llm_idle_timeout": 30.0,
}
"""A slow machine is no fault of an endpoint: where none hangs, nothing runs out."""
RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's settings."""
    for name in ("LLM_NODES", "LLM_NODES_FILE", "ENABLE_LLM_POOL", "LOAD_BALANCE_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


async def ask(fault: str, *, streams: bool, patience: float = 5.0) -> httpx.Response:
    """One request to an endpoint with this fault."""
    async with Endpoint(FAULTS[fault]) as endpoint, httpx.AsyncClient(trust_env=False, timeout=patience) as client:
        return await client.post(f"{endpoint.url}/chat/completions", json={"model": "m", "stream": streams})


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_healthy_endpoint_answers(*, streams: bool) -> None:
    """As the API does."""
    answer = await ask("healthy", streams=streams)
    assert answer.status_code == 200
    assert ("[DONE]" in answer.text) is streams
    assert "five" in answer.text


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("500", 500),
        ("401", 401),
        ("429, no header", 429),
        ("500 in bursts", 500),
        ("HTML", 200),
        ("error in band", 200),
    ],
)
async def test_endpoint_that_answers_wrongly(fault: str, status: int) -> None:
    """With a body that says so."""
    answer = await ask(fault, streams=False)
    assert answer.status_code == status
    assert ("on purpose" in answer.text) is (fault != "HTML")


@pytest.mark.parametrize(
    ("fault", "name", "value"),
    [
        ("429, Retry-After", "retry-after", f"{RETRY_AFTER:g}"),
        ("429, retry-after-ms", "retry-after-ms", f"{RETRY_AFTER * 1000:g}"),
        ("429, a whole day", "retry-after", "86400"),
        ("429, date in the past", "retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ],
)
async def test_endpoint_that_throttles_says_when_to_come_back(fault: str, name: str, value: str) -> None:
    """In every form there is."""
    answer = await ask(fault, streams=False)
    assert (answer.status_code, answer.headers[name]) == (429, value)


async def test_endpoint_that_refuses() -> None:
    """Nobody listens."""
    with pytest.raises(httpx.ConnectError):
        await ask("refuses connections", streams=False)


@pytest.mark.parametrize(("fault", "streams"), [("hangs", False), ("hangs", True), ("hangs midway", True)])
async def test_endpoint_that_hangs(fault: str, *, streams: bool) -> None:
    """Until the client goes away; then nothing is left of it."""
    with pytest.raises(httpx.ReadTimeout):
        await ask(fault, streams=streams, patience=0.3)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_endpoint_that_cuts(*, streams: bool) -> None:
    """In the middle of the message."""
    with pytest.raises(httpx.HTTPError):
        await ask("cut before a word", streams=streams)


async def test_endpoint_that_truncates() -> None:
    """In good order, without a word about it."""
    answer = await ask("truncates streams", streams=True)
    assert "words" in answer.text
    assert 'finish_reason": "stop' not in answer.text
    assert "[DONE]" not in answer.text


async def test_endpoint_counts_its_connections() -> None:
    """One that is kept is one that is open."""
    async with Endpoint(FAULTS["500"]) as endpoint:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(3):
                await client.post(f"{endpoint.url}/x", json={})
            assert (endpoint.requests, endpoint.open_connections) == (3, 1)
        async with asyncio.timeout(5.0):
            while endpoint.open_connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def test_suite_has_every_fault() -> None:
    """And every scenario only faults that there are."""
    used = {fault for scenario in SUITES["nodes"] for fault in scenario.nodes}
    assert used == FAULTS.keys()
    assert len({scenario.name for scenario in SUITES["nodes"]}) == len(SUITES["nodes"])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", ["healthy", "refuses connections", "500", "401", "429, Retry-After", "HTML"])
async def test_users_do_not_notice_one_bad_node(fault: str) -> None:
    """Eight users for a moment: everybody is served, and nothing is left."""
    outcome = await play(Scenario(fault, (fault, "healthy", "healthy"), settings=PATIENT), SHORT)
    assert outcome.answered == outcome.requests >= 8
    assert (outcome.cooling, outcome.leaked, outcome.errors) == (0, 0, {})
    assert outcome.attempts >= outcome.requests


@pytest.mark.timeout(120)
async def test_what_cannot_be_served_is_counted() -> None:
    """All nodes fail; every stream is cut: neither is a success."""
    dead = await play(Scenario("dead", ("500", "500", "500")), SHORT)
    assert (dead.answered, dead.success, dead.leaked) == (0, 0.0, 0)
    assert sum(dead.errors.values()) == dead.requests
    cut = await play(Scenario("cut", ("truncates streams",)), SHORT)
    assert cut.cut > 0
    assert cut.answered + cut.cut + sum(cut.errors.values()) == cut.requests


def outcome(**changes: object) -> Outcome:
    """A good one."""
    return Outcome(**{"name": "500", "requests": 1000, "answered": 1000, "attempts": 1020, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"answered": 998}, "99.80% success"),
        ({"attempts": 1201}, "1.20 requests to nodes per request"),
        ({"late": 1}, "1 requests ended after their deadline"),
        ({"cooling": 2}, "2 requests went to a quota domain"),
        ({"leaked": 3}, "3 places, tasks or connections"),
        ({"requests": 0, "answered": 0}, "nobody has asked anything"),
    ],
)
def test_broken_promise_is_told(changes: dict[str, int], problem: str) -> None:
    """With the scenario's name."""
    (told,) = broken_promises([outcome(**changes)])
    assert told.startswith("500: ")
    assert problem in told


def test_kept_promises() -> None:
    """Nothing to tell: also of streams that nobody could save, and where there was nobody to serve."""
    assert broken_promises([outcome(), outcome(cut=10, answered=990)]) == []
    assert broken_promises([outcome(name="all of them 500", answered=0)]) == []
    assert outcome(requests=0).amplification == 0.0
    assert outcome(requests=0, answered=0).success == 1.0


def test_document_and_table() -> None:
    """The JSON can be read again, and is what people see."""
    result = json.loads(json.dumps(document("nodes", Plan(), [outcome(), outcome(name="all of them 500", answered=0)])))
    assert (result["schema"], result["kept"], result["plan"]["users"]) == ("phase1.chaos/v1", True, 50)
    lines = table(result["scenarios"]).splitlines()
    assert lines[2] == "| 500 | 1,000 | 100.00% | 0 | 0.00 s | 0 | 0 | 1.02 | 0 | 0 |"
    assert lines[3].startswith("| all of them 500 | 1,000 | – |")
    assert "kept: 99.9 % success" in text(result)
    broken = document("nodes", Plan(), [outcome(late=1)])
    assert "not kept: 500: 1 requests ended after their deadline" in text(broken)


def script() -> ModuleType:
    """`scripts/readme_chaos.py`."""
    spec = importlib.util.spec_from_file_location("readme_chaos", ROOT / "scripts" / "readme_chaos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_gets_into_the_readme() -> None:
    """Between the markers, and nothing else changes."""
    result = document("nodes", Plan(), [outcome()])
    readme = "before\n<!-- chaos:begin -->\nold\n<!-- chaos:end -->\nafter\n"
    written = script().with_table(readme, result, "2026-11-26")
    assert written.startswith("before\n<!-- chaos:begin -->\n50 users at once")
    assert written.endswith("<!-- chaos:end -->\nafter\n")
    assert "(2026-11-26)" in written
    assert "old" not in written


def test_readme_has_a_table_of_every_scenario() -> None:
    """It comes from a run of this suite."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- chaos:begin -->")[2].partition("<!-- chaos:end -->")[0]
    assert [scenario.name for scenario in SUITES["nodes"] if f"| {scenario.name} |" not in shown] == []
    assert "kept: 99.9 % success" in shown


def test_command_refuses_an_unknown_suite() -> None:
    """With those that there are."""
    done = RUNNER.invoke(app, ["chaos", "--suite", "weather"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--suite weather: must be one of provider, client, worker, all, nodes" in done.stderr


def test_command_prints_what_it_has_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table, or the document; and its exit code says whether the promises were kept."""
    monkeypatch.setitem(SUITES, "nodes", (Scenario("healthy", ("healthy",)),))  # type: ignore[arg-type]
    done = RUNNER.invoke(app, ["chaos", "--suite", "nodes", "--users", "2", "--seconds", "0.5"])
    assert done.exit_code == 0, done.output
    assert "| healthy |" in done.stdout
    assert "healthy: " in done.stderr
    monkeypatch.setitem(SUITES, "nodes", (Scenario("500", ("500",)),))  # type: ignore[arg-type]
    done = RUNNER.invoke(app, ["chaos", "--suite", "nodes", "--users", "2", "--seconds", "0.5", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["kept"] is False
