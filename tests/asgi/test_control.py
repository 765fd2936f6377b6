"""Does an operator get what he asks for, all of it or nothing, and is it written down?"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from phase1.asgi.control import BadWish, Control
from phase1.observe.monitor import Monitor
from phase1.policy.breaker import BreakerState
from tests.asgi.web import bench_app, browser
from tests.doors.bench import Bench, SyncLegacy, completion, failure

CONTROL = "/admin/llm-system/control"
TOKEN = "admin-token-0123456789"
NODES = json.dumps(
    [{"name": name, "base_url": f"http://{name}.test/v1", "api_key": f"planted-{name}"} for name in ("a", "b")]
)


class Operator:
    """Somebody with the token, an app and its bench."""

    def __init__(self, http: httpx.AsyncClient, bench: Bench) -> None:
        self.http, self.bench = http, bench

    async def wish(self, **wishes: object) -> httpx.Response:
        return await self.http.post(CONTROL, json=wishes)

    async def route(self) -> tuple[str, str]:
        answer = (await self.http.get("/ask")).json()
        return answer["route"], answer["reason"]

    async def page(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/debug/llm-system")).json()
        return found


@pytest_asyncio.fixture
async def operator() -> AsyncIterator[Operator]:
    """At an app with two nodes and a legacy client."""
    app, bench = bench_app(
        completion,
        legacy=SyncLegacy(),
        llm_admin_token=TOKEN,
        llm_nodes=NODES,
        openai_api_key=None,
        openai_base_url=None,
    )
    async with bench.manager, browser(app) as http:
        http.headers["authorization"] = f"Bearer {TOKEN}"
        yield Operator(http, bench)


async def test_percent_holds_from_the_next_request_on(operator: Operator) -> None:
    """Down to nobody and back, without a restart."""
    assert (await operator.route())[0] == "pool"
    answer = (await operator.wish(percent=0)).json()
    assert [(change["what"], change["from"], change["to"]) for change in answer["changes"]] == [("percent", 100.0, 0.0)]
    assert (answer["worker"], answer["workers"]) == (os.getpid(), 1)
    assert (await operator.route())[0] == "legacy"
    await operator.wish(percent=100)
    assert (await operator.route())[0] == "pool"


async def test_forced_legacy_is_a_kill_switch(operator: Operator) -> None:
    """The pool stays warm."""
    await operator.wish(force_legacy=True)
    assert await operator.route() == ("legacy", "kill_switch")
    assert (await operator.page())["mode"] == "legacy_mode"
    assert (await operator.page())["pool"]["open"] is True
    await operator.wish(force_legacy=False)
    assert (await operator.route())[0] == "pool"


async def test_breaker_can_be_reset(operator: Operator) -> None:
    """An operator knows that the upstream is mended."""
    operator.bench.upstream.script = [lambda: failure(500)]
    for _ in range(4):
        await operator.http.get("/ask")
    assert operator.bench.manager.breaker.state is BreakerState.DISABLED
    answer = (await operator.wish(reset_breaker=True)).json()
    assert (answer["changes"][0]["from"], answer["changes"][0]["to"]) == ("disabled", "active")
    assert operator.bench.manager.breaker.state is BreakerState.ACTIVE


async def test_node_is_drained_and_revived(operator: Operator) -> None:
    """Nobody new is sent there meanwhile."""
    answer = (await operator.wish(drain="a")).json()
    assert (answer["changes"][0]["from"], answer["changes"][0]["to"]) == ("a up", "a drained")
    for _ in range(4):
        await operator.http.get("/ask")
    assert {request.url.partition("/v1")[0] for request in operator.bench.upstream.requests} == {"http://b.test"}
    assert [node["drained"] for node in (await operator.page())["nodes"]] == [True, False]
    await operator.wish(revive="a")
    assert [node["up"] for node in (await operator.page())["nodes"]] == [True, True]


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({}, "nothing is wished for; allowed: percent, force_legacy, reset_breaker, drain, revive"),
        ({"colour": "red"}, "'colour': unknown; allowed: percent, force_legacy, reset_breaker, drain, revive"),
        ({"percent": 101}, "percent=101: must be a number between 0 and 100"),
        ({"percent": -1}, "percent=-1: must be a number between 0 and 100"),
        ({"percent": "50"}, "percent='50': must be a number between 0 and 100"),
        ({"percent": True}, "percent=True: must be a number between 0 and 100"),
        ({"percent": 33.333}, "percent=33.333: must be a multiple of 0.01"),
        ({"force_legacy": "yes"}, "force_legacy='yes': must be true or false"),
        ({"reset_breaker": False}, "reset_breaker=False: must be true"),
        ({"drain": "c"}, "drain='c': must be the name of a node; allowed: a, b"),
        ({"revive": 1}, "revive=1: must be the name of a node; allowed: a, b"),
    ],
)
async def test_bad_wish_is_named_and_nothing_is_changed(
    operator: Operator, wishes: dict[str, object], text: str
) -> None:
    """Beside a good one, too: all or nothing."""
    good = {"drain": "a"} if "drain" not in wishes else {"percent": 1}
    for asked in (wishes, {**good, **wishes}) if wishes else (wishes,):
        response = await operator.wish(**asked)
        assert (response.status_code, response.text) == (400, text + "\n")
    page = await operator.page()
    assert (page["canary"]["percent"], page["switches"]["force_legacy"], page["audit"]) == (100, False, [])
    assert not any(node["drained"] for node in page["nodes"])


def test_hundredths_are_exact_enough() -> None:
    """0.07, 12.34, 99.99: what floating point makes of them is no error."""
    bench = Bench()
    control = Control(bench.manager, Monitor(bench.manager))
    for percent in (0.01, 0.07, 12.34, 33.33, 99.99, 100):
        control.apply({"percent": percent}, by="a test")
        assert bench.manager.canary.percent == percent


def test_pool_that_is_off_has_no_node_to_drain() -> None:
    """And says so."""
    bench = Bench(enable_llm_pool=False)
    control = Control(bench.manager, Monitor(bench.manager))
    with pytest.raises(BadWish, match="there are no nodes"):
        control.apply({"drain": "default"}, by="a test")


def test_node_can_be_drained_before_the_pool_opens() -> None:
    """The first request does not go there."""
    bench = Bench()
    control = Control(bench.manager, Monitor(bench.manager))
    (change,) = control.apply({"drain": "default"}, by="a test")["changes"]
    assert (change["from"], change["to"]) == ("default not open", "default drained")


@pytest.mark.parametrize(
    ("content", "headers", "status", "text"),
    [
        (b"percent=1", {"content-type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        (b'{"percent": 1}', {}, 415, "application/json"),
        (b"{", {"content-type": "application/json"}, 400, "no JSON"),
        (b"\xff", {"content-type": "application/json"}, 400, "no JSON"),
        (b"[]", {"content-type": "application/json; charset=utf-8"}, 400, "must be a JSON object"),
        (b'{"percent": 1, "x": "' + b"x" * 1024 + b'"}', {"content-type": "application/json"}, 413, "1024 bytes"),
    ],
)
async def test_body_that_is_none_is_refused(
    operator: Operator, content: bytes, headers: dict[str, str], status: int, text: str
) -> None:
    """What a form of another site could send, what is no JSON, what is too long."""
    response = await operator.http.post(CONTROL, content=content, headers=headers)
    assert response.status_code == status
    assert text in response.text
    assert operator.bench.manager.canary.percent == 100


async def test_body_that_ends_too_early_changes_nothing(operator: Operator) -> None:
    """The client has gone away in the middle."""
    from starlette.datastructures import Headers

    from phase1.asgi.body import BadBody, read_json

    messages = [{"type": "http.request", "body": b'{"percent"', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    with pytest.raises(BadBody, match="too early"):
        await read_json(Headers({"content-type": "application/json"}), receive)  # type: ignore[arg-type]


async def test_changes_are_audited(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, and on the page, newest first: when, who, what, from, to."""
    with caplog.at_level(logging.WARNING, "phase1"):
        await operator.wish(percent=25)
        await operator.wish(force_legacy=True)
    assert caplog.messages == [
        "control: percent was 100.0, is 25.0 (asked for by 127.0.0.1)",
        "control: force_legacy was False, is True (asked for by 127.0.0.1)",
    ]
    audit = (await operator.page())["audit"]
    assert [(entry["what"], entry["from"], entry["to"]) for entry in audit] == [
        ("force_legacy", False, True),
        ("percent", 100.0, 25.0),
    ]
    assert all(entry["actor"] == "127.0.0.1" and entry["time"] > 0 for entry in audit)


async def test_another_room_adds_its_own_wish() -> None:
    """With one line, and the same rules."""
    bench = Bench()
    monitor = Monitor(bench.manager)
    control = Control(bench.manager, monitor)
    control.wishes["pause"] = lambda manager, value: lambda: ("running", f"paused until {value}")
    assert control.apply({"pause": "noon"}, by="a test")["changes"][0]["to"] == "paused until noon"
    assert "pause" not in Control(bench.manager, monitor).wishes
