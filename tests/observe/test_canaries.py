"""Is there any output that says what somebody has said? Planted words are looked for in all of them."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import phase1
from phase1.console.screen import screen
from phase1.observe.monitor import Monitor
from tests.asgi.web import bench_app, browser, mount
from tests.doors.bench import Bench, SyncLegacy, completion, failure

PLANTED = ("planted-prompt", "planted-answer", "planted-error", "planted-key", "planted-header", "planted-conversation")
OUTPUTS = (
    "/debug/llm-system",
    "/debug/llm-system?format=html",
    "/debug/llm-system/requests",
    "/metrics/llm",
    "/metrics/llm?format=json",
)
TOKEN = "planted-key-of-the-admin"


async def chat(request: Request) -> Response:
    """Says everything that must not be repeated."""
    await request.body()
    llm = phase1.get_llm(request)
    messages = [{"role": "user", "content": "planted-prompt"}]
    return PlainTextResponse(await llm.generate_response_async(messages, user="planted-conversation"))


def planted_failure() -> object:
    """An upstream's error that repeats the prompt, as some do."""
    answer = failure(500, x_request_id="planted-header and more")
    answer.chunks = [json.dumps({"error": {"message": "planted-error", "code": "planted-error"}}).encode()]  # type: ignore[attr-defined]
    return answer


async def test_no_output_repeats_what_was_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Page, JSON, metrics, recorder, other workers' files, the log, the terminal."""
    bench = Bench(
        planted_failure,  # type: ignore[arg-type]
        lambda: completion("planted-answer"),
        legacy=SyncLegacy("planted-answer"),
        openai_api_key="planted-key-0123456789",
        llm_admin_token=TOKEN,
        llm_pool_debug=True,
        llm_canary_key="header:x-conversation",
        llm_runtime_dir=tmp_path / "shared",
        llm_route_header=True,
        llm_server_timing=True,
    )
    app = mount(Starlette(routes=[Route("/chat", chat, methods=["POST"])]), bench.manager)
    outputs: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with bench.manager, browser(app) as http:
            for _ in range(3):
                response = await http.post(
                    "/chat",
                    content="planted-prompt",
                    headers={"x-conversation": "planted-conversation", "x-other": "planted-header"},
                )
                outputs.append(repr(response.headers))
            async with asyncio.timeout(20):
                while not list((tmp_path / "shared").glob("*.json")):  # noqa: ASYNC110 - a thread writes it
                    await asyncio.sleep(0.05)
            outputs += [(await http.get(path)).text for path in OUTPUTS]
            await http.post("/admin/llm-system/log-status", headers={"authorization": f"Bearer {TOKEN}"})
            await http.post(
                "/admin/llm-system/control",
                json={"drain": "planted-node"},
                headers={"authorization": f"Bearer {TOKEN}"},
            )
            state = (await http.get("/debug/llm-system")).json()
    from rich.console import Console

    Console(width=120).print(screen(state, width=120))
    ours = [record.getMessage() for record in caplog.records if record.name == "phase1"]
    outputs += [*ours, capsys.readouterr().out, *(path.read_text() for path in (tmp_path / "shared").glob("*.json"))]
    assert len(outputs) > 10
    assert state["metrics"]["finished"] >= 3
    for word in PLANTED:
        assert not [output[:200] for output in outputs if word in output], word


async def test_observer_that_fails_is_counted_logged_once_and_reaches_no_request(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even the recorder itself: the answers come, the metric counts."""
    monkeypatch.setattr("phase1.observe.recorder.FlightRecorder.on_event", _raise)
    app, bench = bench_app()
    async with bench.manager, browser(app) as http:
        answers = [await http.get("/ask") for _ in range(3)]
        text = (await http.get("/metrics/llm")).text
        monitor_says = (await http.get("/debug/llm-system")).json()["metrics"]["observer_failures"]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "phase1_observer_failures_total 3.0" in text
    assert monitor_says == 3
    assert [record.message for record in caplog.records if "observer" in record.message] == [
        "observer FlightRecorder failed; this is said once"
    ]


def _raise(*_: object) -> None:
    raise ZeroDivisionError


async def test_collector_can_stand_in_the_apps_own_registry() -> None:
    """For apps that have a /metrics of their own."""
    from prometheus_client import CollectorRegistry, generate_latest

    from phase1.observe.exposition import Collector
    from phase1.observe.numbers import numbers_of

    bench = Bench()
    registry = CollectorRegistry()
    registry.register(Collector(lambda: numbers_of(bench.manager)))
    assert b"phase1_enabled 1.0" in generate_latest(registry)


async def test_monitor_says_whether_it_watches(tmp_path: Path) -> None:
    """One thread while it does; `watch` again changes nothing."""
    bench = Bench()
    monitor = Monitor(bench.manager)
    assert repr(monitor) == "<Monitor <FlightRecorder 0 of 0 calls> idle>"
    monitor.watch()
    monitor.watch()
    assert repr(monitor).endswith("watching>")
    monitor.close()
    assert repr(monitor).endswith("idle>")
