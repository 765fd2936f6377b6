"""How do httpx requests and the engine's calls become each other? For both families, with the engine's fake network."""

# ruff: noqa: ANN401 - of either httpx

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import math
from types import ModuleType
from typing import Any

import pytest

from phase1.doors.http import EngineTransport, Turn, async_engine_client, sync_engine_client, taking_turn, to_call
from phase1.engine.manager import Manager
from phase1.engine.transport import Broken, NeverSent
from phase1.engine.transport.mock import MockResponse
from phase1.exceptions import CircuitOpen, QueueFull
from phase1.policy.breaker import BreakerMode

from .bench import Bench, completion, failure

BASE = "http://upstream.test/v1"
FAMILIES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> ModuleType:
    """`httpx`, and `httpx2` where it is installed."""
    return importlib.import_module(request.param)


def request_of(family: ModuleType, path: str = "/chat/completions", **options: Any) -> Any:
    """A request as the SDK makes it."""
    return family.Request("POST", BASE + path, **({"json": {"model": "m"}} | options))


# A request becomes a call


def test_path_and_query_are_relative_to_the_base(family: ModuleType) -> None:
    """The node's own address will stand before them, whatever it is."""
    request = request_of(family, "/files/a%20b?limit=2&after=f%2F1")
    assert to_call(request, b"", b"/v1").path == "/files/a%20b?limit=2&after=f%2F1"


def test_a_path_that_only_looks_like_the_base_is_kept(family: ModuleType) -> None:
    """`/v1` at the beginning is taken away once."""
    assert to_call(request_of(family, "/v1/models"), b"", b"/v1").path == "/v1/models"


def test_credentials_and_what_is_the_connections_stay_behind(family: ModuleType) -> None:
    """A node brings its own key; the caller's is at hand for a node that has none."""
    headers = {"Authorization": "Bearer k", "api-key": "a", "X-Own": "1", "Connection": "close", "Accept": "*/*"}
    call = to_call(request_of(family, headers=headers), b"", b"/v1")
    names = [name for name, _ in call.headers]
    assert {"x-own", "accept", "content-type"} <= set(names)
    assert not {"authorization", "api-key", "host", "connection", "content-length", "accept-encoding"} & set(names)
    assert list(call.credentials) == [("authorization", "Bearer k"), ("api-key", "a")]


@pytest.mark.parametrize(
    ("timeout", "asked"),
    [
        ({"connect": 5.0, "read": 600, "write": 600, "pool": 600}, None),
        ({"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}, None),
        ({"connect": 3.0, "read": 3.0, "write": 3.0, "pool": 3.0}, 3.0),
        ({"connect": 600, "read": 600, "write": 600, "pool": 600}, 600.0),
        ({"connect": None, "read": None, "write": None, "pool": None}, math.inf),
        (None, None),
    ],
    ids=["the SDK's default", "httpx's default", "asked for", "asked for long", "asked for none", "nothing"],
)
def test_a_timeout_counts_only_if_somebody_has_asked_for_it(
    family: ModuleType, timeout: dict[str, float] | None, asked: float | None
) -> None:
    """The defaults of the SDK and of httpx are nobody's wish."""
    request = request_of(family, extensions={} if timeout is None else {"timeout": timeout})
    assert to_call(request, b"", b"/v1", plain=True).timeout == asked


def test_five_seconds_are_a_wish_in_a_request_of_the_sdks(family: ModuleType) -> None:
    """There httpx's default stands only if the app has written it."""
    request = request_of(family, extensions={"timeout": {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}})
    assert to_call(request, b"", b"/v1").timeout == 5.0


@pytest.mark.parametrize(
    ("body", "content_type", "streams"),
    [
        (b'{"stream": true}', "application/json", True),
        (b'{"a": 1, "stream" :true}', "application/json", True),
        (b'{"stream": false}', "application/json", False),
        (b'{"text": "\\"stream\\": true"}', "application/json", False),
        (b'{"body": {"stream": true}}\n', "multipart/form-data; boundary=b", False),
    ],
)
def test_a_call_streams_if_its_json_says_so(
    family: ModuleType, body: bytes, content_type: str, *, streams: bool
) -> None:
    """A file of batch requests is no request for a stream."""
    request = request_of(family, json=None, content=body, headers={"content-type": content_type})
    assert to_call(request, body, b"/v1").streams is streams


# An answer becomes a response


async def test_an_answer_is_a_response_of_the_same_family(family: ModuleType) -> None:
    """Status, header fields and body; and nobody need try again."""
    bench = Bench(lambda: MockResponse(200, [("content-type", "application/json"), ("x-request-id", "r")], [b"{}"]))
    async with bench.manager:
        client = async_engine_client(bench.manager, BASE, family)
        request = request_of(family)
        response = await client.send(request)
    assert isinstance(response, family.Response)
    assert (response.status_code, response.content, response.headers["x-request-id"]) == (200, b"{}", "r")
    assert response.headers["x-should-retry"] == "false"
    assert response.request is request


async def test_a_body_that_is_no_json_comes_chunk_by_chunk(family: ModuleType) -> None:
    """Audio is not gathered first."""
    bench = Bench(lambda: MockResponse(200, [("content-type", "audio/mpeg")], [b"a", b"b"]))
    async with bench.manager:
        response = await async_engine_client(bench.manager, BASE, family).send(request_of(family), stream=True)
        assert [chunk async for chunk in response.aiter_raw()] == [b"a", b"b"]


async def test_a_body_that_breaks_raises_the_familys_error(family: ModuleType) -> None:
    """`ReadError`, which the SDK and every other library knows."""
    bench = Bench(lambda: MockResponse(200, [("content-type", "audio/mpeg")], [b"a", Broken("x")]))
    async with bench.manager:
        response = await async_engine_client(bench.manager, BASE, family).send(request_of(family), stream=True)
        with pytest.raises(family.ReadError):
            await response.aread()


async def test_a_stream_that_is_closed_early_frees_its_place(family: ModuleType) -> None:
    """`aclose` gives back permit, place and node."""
    bench = Bench(lambda: MockResponse(200, [("content-type", "audio/mpeg")], [b"a", b"b"]))
    async with bench.manager as manager:
        response = await async_engine_client(manager, BASE, family).send(request_of(family), stream=True)
        assert manager.bindings.current().admission.in_flight == 1
        await response.aclose()
        assert manager.bindings.current().admission.in_flight == 0


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (NeverSent("x"), "ConnectError"),
        (Broken("x"), "RemoteProtocolError"),
        (ValueError("bug"), "RemoteProtocolError"),
    ],
)
async def test_no_answer_is_the_familys_error(family: ModuleType, error: Exception, raised: str) -> None:
    """The SDK makes `APIConnectionError` of it; the cause says what the pool says."""

    def fail() -> Exception:
        return error

    bench = Bench(fail)
    async with bench.manager:
        with pytest.raises(getattr(family, raised)) as caught:
            await async_engine_client(bench.manager, BASE, family).send(request_of(family))
    assert caught.value.__cause__ is not None
    assert caught.value.request.url == BASE + "/chat/completions"


async def test_the_deadline_is_the_familys_timeout(family: ModuleType) -> None:
    """The SDK makes `APITimeoutError` of it."""
    bench = Bench()
    bench.upstream.gate.clear()
    async with bench.manager:
        client = async_engine_client(bench.manager, BASE, family)
        with pytest.raises(family.ReadTimeout):
            await client.send(request_of(family, extensions={"timeout": {"read": 0.01}}))
        bench.upstream.gate.set()


async def test_a_refusal_is_a_503_with_our_code(family: ModuleType) -> None:
    """Nothing was sent: the answer says why, and when to come back."""
    bench = Bench()
    bench.manager.breaker.force(BreakerMode.FORCED_OFF)
    async with bench.manager:
        response = await async_engine_client(bench.manager, BASE, family).send(request_of(family))
    assert response.status_code == 503
    assert response.json()["error"]["code"] == CircuitOpen.code
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-should-retry"] == "false"
    assert bench.upstream.requests == []


async def test_an_error_answer_is_passed_on_as_it_is(family: ModuleType) -> None:
    """With its header fields, for they tell when to come back."""
    bench = Bench(lambda: failure(429, "rate_limit_exceeded", retry_after="7"))
    async with bench.manager:
        response = await async_engine_client(bench.manager, BASE, family).send(request_of(family))
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"


async def test_a_call_waits_under_the_key_of_its_turn(family: ModuleType) -> None:
    """The admission queue is fair between app users: it hears whose call it is."""
    bench = Bench(llm_pool_size=1, llm_client_concurrency=1, llm_queue_size=1)
    bench.upstream.gate.clear()
    async with bench.manager as manager:
        client = async_engine_client(manager, BASE, family)

        async def ask(key: str) -> Any:
            token = taking_turn.set(Turn(key))
            try:
                return await client.send(request_of(family))
            finally:
                taking_turn.reset(token)

        first = asyncio.create_task(ask("a"))
        await bench.upstream.seen(1)
        second = asyncio.create_task(ask("b"))
        await asyncio.sleep(0)
        assert list(manager.bindings.current().admission._lines) == ["b"]
        assert (await ask("c")).json()["error"]["code"] == QueueFull.code
        bench.upstream.gate.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]


# The clients that stand for the engine


async def test_one_client_stands_for_one_address(family: ModuleType) -> None:
    """It is made once for each base URL and family, and costs no connection."""
    bench = Bench(completion)
    async with bench.manager as manager:
        assert async_engine_client(manager, BASE, family) is async_engine_client(manager, BASE, family)
        assert sync_engine_client(manager, BASE, family) is sync_engine_client(manager, BASE, family)
        assert async_engine_client(manager, BASE, family) is not async_engine_client(manager, BASE + "/x", family)


async def test_closing_it_closes_nothing_of_the_engines(family: ModuleType) -> None:
    """A library that closes what it was given takes nothing away from others."""
    bench = Bench(completion)
    async with bench.manager as manager:
        async with family.AsyncClient(transport=EngineTransport(manager, BASE)) as client:
            assert (await client.send(request_of(family))).status_code == 200
        assert (await async_engine_client(manager, BASE, family).send(request_of(family))).status_code == 200


async def test_it_keeps_no_cookies(family: ModuleType) -> None:
    """All clients and all users of the app share it."""
    cookie = [("content-type", "application/json"), ("set-cookie", "session=secret; Path=/")]
    bench = Bench(lambda: MockResponse(200, cookie, [b"{}"]))
    async with bench.manager as manager:
        client = async_engine_client(manager, BASE, family)
        response = await client.send(request_of(family))
        assert response.headers["set-cookie"] == "session=secret; Path=/"
        assert not client.cookies
        assert "cookie" not in client.build_request("POST", BASE + "/chat/completions").headers


async def test_both_families_speak_to_one_manager() -> None:
    """An app may have libraries of both."""
    bench = Bench(completion)
    async with bench.manager as manager:
        for name in FAMILIES:
            family = importlib.import_module(name)
            assert (await async_engine_client(manager, BASE, family).send(request_of(family))).status_code == 200
    assert isinstance(bench.manager, Manager)
    assert len(bench.upstream.requests) == len(FAMILIES)
