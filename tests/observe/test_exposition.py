"""Can Prometheus read it, and does it say what has happened?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from phase1.events import Routed
from phase1.observe.exposition import AVAILABLE, render
from phase1.observe.numbers import numbers_of
from tests.doors.bench import Bench, SyncLegacy, completion, failure, until

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def families(bench: Bench, accept: str = "") -> dict[str, Metric]:
    """What a scrape gets, read as Prometheus reads it."""
    body, content_type = render(numbers_of(bench.manager), accept)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics") else parse_text
    return {family.name: family for family in parse(body.decode())}


def values(bench: Bench) -> dict[tuple[str, frozenset[str]], float]:
    """Every sample by its name and label values."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families(bench).values()
        for sample in family.samples
    }


def labelled(name: str, *values: str) -> tuple[str, frozenset[str]]:
    """One sample's name and label values."""
    return name, frozenset(values)


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS, "*/*"])
async def test_exposition_can_be_parsed(accept: str) -> None:
    """In both formats; every family has a help text."""
    bench = Bench(completion, lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask_in_turn(3)
        found = families(bench, accept)
    assert {"phase1_route", "phase1_attempts", "phase1_fallbacks", "phase1_breaker_state"} <= found.keys()
    assert all(family.documentation for family in found.values())


def test_content_type_follows_accept() -> None:
    """The encoder and its content type belong together."""
    bench = Bench()
    assert render(numbers_of(bench.manager), "")[1].startswith("text/plain; version=")
    assert render(numbers_of(bench.manager), "application/json")[1].startswith("text/plain; version=")
    assert render(numbers_of(bench.manager), OPENMETRICS)[1].startswith("application/openmetrics-text")


async def test_counters_say_what_has_happened() -> None:
    """Routes, attempts, fallbacks and the breaker's changes, with their labels."""
    bench = Bench(completion, lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask_in_turn(5)
        found = values(bench)
    assert found[labelled("phase1_route_total", "pool", "split")] == 4
    assert found[labelled("phase1_route_total", "legacy", "circuit_open")] == 1
    assert found[labelled("phase1_attempts_total", "default", "primary", "ok")] == 1
    assert found[labelled("phase1_attempts_total", "default", "primary", "server_error")] == 3
    assert found[labelled("phase1_fallbacks_total", "server_error")] == 3
    assert found[labelled("phase1_breaker_transitions_total", "pool", "disabled")] == 1
    assert found[labelled("phase1_breaker_state", "pool", "disabled")] == 1
    assert found[labelled("phase1_breaker_state", "pool", "active")] == 0


async def test_gauges_show_the_pool_at_work() -> None:
    """Capacity and what is in flight right now."""
    bench = Bench(llm_pool_size=2, llm_client_concurrency=1, llm_canary_percent=100)
    bench.upstream.gate.clear()

    def waiting() -> int:
        return bench.manager.bindings.current().admission.waiting

    async with bench.manager:
        calls = [asyncio.ensure_future(bench.ask()) for _ in range(3)]
        await until(lambda: len(bench.upstream.requests) == 2 and waiting() == 1)
        found = values(bench)
        bench.upstream.gate.set()
        await asyncio.gather(*calls)
        later = values(bench)
    assert found[labelled("phase1_pool_capacity_requests", "default")] == 2
    assert found[labelled("phase1_pool_requests_in_flight", "default")] == 2
    assert found[labelled("phase1_pool_queue_depth")] == 1
    assert found[labelled("phase1_node_healthy", "default")] == 1
    assert found[labelled("phase1_enabled")] == 1
    assert found[labelled("phase1_canary_percent")] == 100
    assert later[labelled("phase1_pool_requests_in_flight", "default")] == 0
    assert later[labelled("phase1_pool_queue_depth")] == 0


def test_without_a_pool_there_are_no_gauges_of_it() -> None:
    """A pool that is not there has no capacity of 0; the rest is told all the same."""
    found = families(Bench(enable_llm_pool=False))
    assert found["phase1_enabled"].samples[0].value == 0
    assert (
        not {"phase1_pool_requests_in_flight", "phase1_pool_capacity_requests", "phase1_pool_queue_depth"}
        & found.keys()
    )


async def test_kill_switch_has_no_gauges_of_a_pool_either() -> None:
    """The binding is there for legacy's threads, the pool is not."""
    bench = Bench(emergency_mode=True)
    async with bench.manager:
        assert "phase1_pool_capacity_requests" not in families(bench)


def test_scrape_may_run_beside_the_counting() -> None:
    """Rendered in a thread while the loop counts: a dictionary that grows under the reader's hands would raise."""
    bench = Bench()
    over = threading.Event()
    errors: list[BaseException] = []

    def scrape() -> None:
        try:
            while not over.is_set():
                render(numbers_of(bench.manager), "")
                bench.manager.get_metrics()
        except BaseException as exc:  # noqa: BLE001 - it is looked at
            errors.append(exc)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=scrape) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(3000):
            bench.manager.events.notify(Routed("pool", str(number)))
    finally:
        sys.setswitchinterval(interval)
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []


WITHOUT_PROMETHEUS = """
import asyncio, sys
sys.modules["prometheus_client"] = None
import httpx, phase1
from phase1.observe.exposition import AVAILABLE
from starlette.applications import Starlette

assert not AVAILABLE
app = Starlette()
phase1.install(app, settings=phase1.Settings.load(enable_llm_pool=False))

async def main():
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for path in ("/metrics/llm", "/metrics/llm-system", "/metrics/llm?format=prometheus"):
            response = await http.get(path, headers={"accept": "text/plain"})
            assert response.status_code == 200, response
            print(response.headers["content-type"], response.json()["status"])

asyncio.run(main())
"""


def test_without_prometheus_client_the_metrics_are_json() -> None:
    """The extra is not needed to see the numbers."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_PROMETHEUS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["application/json legacy_mode"] * 3


def test_here_it_is_installed() -> None:
    """Or the tests above would have tested nothing."""
    assert AVAILABLE
