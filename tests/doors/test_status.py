"""What does a manager say about itself?"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from phase1.doors import status as module
from phase1.doors.status import summary_line
from phase1.exceptions import ConfigurationError
from tests.doors.bench import Bench, SyncLegacy, completion, failure, until


def nodes(*entries: dict[str, object]) -> str:
    """The setting `LLM_NODES`."""
    return json.dumps(list(entries))


ONE = {
    "name": "one",
    "base_url": "http://one.test/v1?query=secret#fragment",
    "api_key": "sk-one",
    "weight": 2,
    "priority": 1,
    "pool_size": 3,
    "region": "eu",
    "quota_domain": "team",
    "models": {"m": "n"},
}


def test_status_is_json() -> None:
    """Everything in it, at any time, without a word of our own types."""
    for bench in (Bench(), Bench(enable_llm_pool=False), Bench(llm_nodes=nodes(ONE))):
        assert json.loads(json.dumps(bench.manager.status(), allow_nan=False))


def test_node_is_shown_without_its_secrets() -> None:
    """The key by its digest, the URL without query and fragment."""
    shown: Any = Bench(llm_nodes=nodes(ONE)).manager.status()["nodes"]
    assert shown == [
        {
            "name": "one",
            "base_url": "http://one.test/v1",
            "api_key": "sha256:456f1612",
            "pool_size": 3,
            "weight": 2.0,
            "priority": 1,
            "region": "eu",
            "quota_domain": "team",
            "models": {"m": "n"},
            "rpm": None,
            "tpm": None,
        }
    ]


async def test_live_node_has_its_state() -> None:
    """Switched off by a 401, and for how long."""
    bench = Bench(lambda: failure(401), legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask()
        node: Any = bench.manager.status()["nodes"]
    assert (node[0]["up"], node[0]["off_for"], node[0]["cooling_for"]) == (False, 30.0, 0.0)


async def test_node_that_rests_says_how_long() -> None:
    """After a 429, with up to 10 % of jitter."""
    bench = Bench(lambda: failure(429, retry_after="20"), legacy=SyncLegacy())
    async with bench.manager:
        with pytest.raises(Exception, match="scripted"):
            await bench.ask()
        node: Any = bench.manager.status()["nodes"]
    assert node[0]["up"] is True
    assert 20 <= node[0]["cooling_for"] <= 22


async def test_numbers_are_those_of_the_moment() -> None:
    """In flight, waiting, capacity, and how long it took."""
    bench = Bench(llm_pool_size=1, llm_client_concurrency=1)
    bench.upstream.gate.clear()
    async with bench.manager:
        calls = [asyncio.ensure_future(bench.ask()) for _ in range(3)]
        await until(lambda: bench.manager.get_metrics()["waiting"] == 2)
        metrics = bench.manager.get_metrics()
        assert (metrics["in_flight"], metrics["capacity"]) == (1, 1)
        bench.upstream.gate.set()
        await asyncio.gather(*calls)
        metrics = bench.manager.get_metrics()
    assert (metrics["in_flight"], metrics["waiting"]) == (0, 0)
    assert metrics["calls"] == {"ok": 3}
    seconds: Any = metrics["seconds"]
    assert seconds["pool"]["count"] == 3
    assert seconds["legacy"]["mean"] is None


async def test_numbers_of_legacy_are_shown_beside_the_pools() -> None:
    """Calls by result, fallbacks by reason."""
    bench = Bench(completion, lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask_in_turn(2)
        metrics = bench.manager.get_metrics()
    assert metrics["legacy_calls"] == {"ok": 1}
    assert metrics["fallbacks"] == {"server_error": 1}
    assert metrics["attempts"] == [
        {"node": "default", "kind": "primary", "outcome": "ok", "count": 1},
        {"node": "default", "kind": "primary", "outcome": "server_error", "count": 1},
    ]


@pytest.mark.parametrize(
    ("overrides", "mode"),
    [
        ({}, "pool"),
        ({"llm_canary_percent": 0}, "pool"),
        ({"enable_llm_pool": False}, "legacy_mode"),
        ({"force_legacy_llm": True}, "legacy_mode"),
        ({"disable_pool": True}, "legacy_mode"),
        ({"emergency_mode": True}, "legacy_mode"),
    ],
)
def test_mode_says_whether_anything_can_go_to_the_pool(overrides: dict[str, object], mode: str) -> None:
    """`legacy_mode` is what seed 000's monitoring looks for."""
    manager = Bench(**overrides).manager
    assert manager.status()["mode"] == manager.get_metrics()["status"] == mode


def test_mode_is_legacy_when_the_pool_cannot_start() -> None:
    """Whatever the switches want."""
    manager = Bench().manager
    manager.give_up(ConfigurationError("no such thing"))
    assert manager.status()["mode"] == "legacy_mode"


def test_summary_is_one_line_with_the_problem_in_it() -> None:
    """For the log."""
    manager = Bench(legacy=SyncLegacy(), llm_canary_percent=12.5).manager
    assert summary_line(manager) == (f"LLM system: pool, canary 12.5 %, a legacy client, {manager!r}")
    manager.give_up(ConfigurationError("no such thing"))
    assert summary_line(manager).startswith("LLM system: legacy_mode (no such thing), ")


def test_summary_says_when_there_is_no_legacy_client() -> None:
    """Then the pool's errors are the callers'."""
    assert "no legacy client" in summary_line(Bench().manager)


def test_log_status_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, by the logger `phase1`."""
    with caplog.at_level(logging.INFO):
        Bench().manager.log_status()
    assert [(record.name, record.levelname) for record in caplog.records] == [("phase1", "INFO")]


def test_version_of_a_copied_package_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have put the folder into his project: there is no distribution to ask."""

    def nowhere(name: str) -> str:
        raise module.PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", nowhere)
    assert Bench().manager.status()["version"] not in {None, ""}


def test_version_is_the_distributions() -> None:
    """As `pip show phase1` says."""
    assert Bench().manager.status()["version"] == module.version("phase1")
