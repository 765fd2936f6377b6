"""Is what INTEGRATION.md says about outcomes, pages, numbers and names what the code does?"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from fastapi import FastAPI

import phase1
from phase1 import events, exceptions
from phase1.doors.shadow.report import DROPS
from phase1.engine.manager import LEGACY_THREADS
from phase1.observe.families import FAMILIES
from phase1.policy.breaker import PoolBreaker
from phase1.policy.classify import Kind
from phase1.policy.selection import Reason
from phase1.settings import Settings

from . import apps
from .conftest import Run
from .pages import INTEGRATION

if TYPE_CHECKING:
    from llmock.pytest_plugin import LLMock

MESSAGES = [{"role": "user", "content": "hello"}]
TOKENS = {"LLM_ADMIN_TOKEN": "a" * 16, "LLM_METRICS_TOKEN": "m" * 16}
PAGES = ("/debug/llm-system", "/admin/llm-system/log-status", "/metrics/llm", "/metrics/llm-system")
Serve = Callable[..., Any]


class Old:
    """A legacy client of an app's own. It answers everybody."""

    model = apps.MODEL

    def generate_response(self, messages: object) -> str:
        return "old"


@pytest.fixture
def serve(upstream: LLMock, env: Callable[..., None]) -> Serve:
    """An app with one endpoint and a node of its own model name, so that only the pool can be made to fail."""

    @asynccontextmanager
    async def start(legacy: object = None, **settings: str) -> AsyncIterator[apps.Served]:
        env(**({"ENABLE_LLM_POOL": "true", "LLM_NODES": apps.node(upstream), "LLM_MODEL": apps.MODEL} | settings))
        app = FastAPI()
        phase1.install(app, legacy=legacy)

        @app.post("/ask")
        async def ask(llm: phase1.LLM) -> list[Any]:
            try:
                return ["answer", await llm.generate_response_async(MESSAGES)]
            except openai.OpenAIError as exc:
                return [type(exc).__name__, getattr(exc, "code", None)]

        @app.post("/stream")
        async def stream(llm: phase1.LLM) -> list[Any]:
            got = ""
            try:
                async for chunk in await llm.chat.completions.create(model=apps.MODEL, messages=MESSAGES, stream=True):
                    got += chunk.choices[0].delta.content or "" if chunk.choices else ""
            except openai.OpenAIError as exc:
                return [got, type(exc).__name__]
            return [got, None]

        @app.post("/route")
        async def route(llm: phase1.LLM) -> list[Any]:
            return [llm.route, llm.reason]

        @app.post("/sdk")
        async def sdk(llm: phase1.LLM) -> list[Any]:
            try:
                answer = await llm.chat.completions.create(model=apps.MODEL, messages=MESSAGES)
            except openai.OpenAIError as exc:
                return [type(exc).__name__, getattr(exc, "code", None)]
            return ["answer", answer.choices[0].message.content]

        async with apps.serving(app) as served:
            yield served

    return start


async def post(served: apps.Served, path: str = "/ask") -> list[Any]:
    """What the endpoint got: an answer, or the exception's name and code."""
    answer: list[Any] = (await served.http.post(path)).json()
    return answer


# --- breaker and fallback ---------------------------------------------------------------------------------------------

FAULTS: list[tuple[int, str | None, bool, bool, str]] = [
    # status, error.code, counts as a failure, legacy answers, exception without legacy
    (500, None, True, True, "InternalServerError"),
    (503, None, True, True, "InternalServerError"),
    (408, None, True, True, "APIStatusError"),
    (429, None, False, False, "RateLimitError"),
    (429, "insufficient_quota", True, True, "RateLimitError"),
    (401, None, True, True, "AuthenticationError"),
    (403, None, True, True, "PermissionDeniedError"),
    (404, "model_not_found", True, True, "NotFoundError"),
    (400, None, False, False, "BadRequestError"),
    (400, "context_length_exceeded", False, False, "BadRequestError"),
    (400, "content_filter", False, False, "BadRequestError"),
    (404, None, False, False, "NotFoundError"),
    (409, None, False, False, "ConflictError"),
    (413, None, False, False, "APIStatusError"),
    (422, None, False, False, "UnprocessableEntityError"),
]


@pytest.mark.parametrize("with_legacy", [True, False], ids=["legacy", "no-legacy"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault[0]}-{fault[1]}")
async def test_outcome_of_a_status(
    fault: tuple[int, str | None, bool, bool, str], *, with_legacy: bool, serve: Serve, upstream: LLMock
) -> None:
    """The rows of the table that are statuses: breaker, fallback, exception."""
    status, code, counts, falls_back, exception = fault
    retry_after = 60.0 if status == httpx.codes.TOO_MANY_REQUESTS else None
    upstream.fail(status, code=code, times=None, retry_after=retry_after, model=apps.POOL_MODEL)
    async with serve(Old() if with_legacy else None) as served:
        outcome, text = await post(served)
        breaker = (await served.status())["breaker"]
    assert (outcome == "answer", breaker["consecutive_failures"]) == (with_legacy and falls_back, int(counts))
    assert text == "old" if outcome == "answer" else outcome == exception


@pytest.mark.parametrize("with_legacy", [True, False], ids=["legacy", "no-legacy"])
async def test_outcome_of_no_connection(*, with_legacy: bool, serve: Serve, upstream: LLMock) -> None:
    """Nobody listens at the node: a failure, legacy answers, else APIConnectionError."""
    nowhere = apps.node(upstream, base_url="http://127.0.0.1:9/v1")
    async with serve(Old() if with_legacy else None, LLM_NODES=nowhere) as served:
        outcome, _ = await post(served)
        breaker = (await served.status())["breaker"]
    assert (outcome, breaker["consecutive_failures"]) == ("answer" if with_legacy else "APIConnectionError", 1)


@pytest.mark.parametrize("with_legacy", [True, False], ids=["legacy", "no-legacy"])
async def test_outcome_of_silence_until_the_deadline(*, with_legacy: bool, serve: Serve, upstream: LLMock) -> None:
    """No time is left: APITimeoutError for everybody, and a failure."""
    upstream.delay(3.0, times=None)
    short = {"LLM_REQUEST_DEADLINE": "0.2", "LLM_CONNECT_TIMEOUT": "0.1"}
    async with serve(Old() if with_legacy else None, **short) as served:
        outcome, _ = await post(served)
        breaker = (await served.status())["breaker"]
    assert (outcome, breaker["consecutive_failures"]) == ("APITimeoutError", 1)


STREAMS: list[tuple[Callable[[LLMock], object], list[str], str | None, int]] = [
    (lambda upstream: upstream.reply("one two three"), ["one two three"], None, 0),
    (lambda upstream: upstream.disconnect(after_chunks=2), ["some"], "APIError", 1),
    (lambda upstream: upstream.truncate(after_chunks=0), [], "APIConnectionError", 1),
    (lambda upstream: upstream.slow_first_token(3.0), [], "APITimeoutError", 1),
]


@pytest.mark.parametrize("case", STREAMS, ids=["whole", "breaks", "empty", "silent"])
async def test_outcome_of_a_stream(
    case: tuple[Callable[[LLMock], object], list[str], str | None, int], serve: Serve, upstream: LLMock
) -> None:
    """The rows of the table that are streams, without legacy."""
    prepare, text, exception, failures = case
    prepare(upstream)
    async with serve(**({"LLM_FIRST_TOKEN_TIMEOUT": "0.3"} if exception == "APITimeoutError" else {})) as served:
        got, error = await post(served, "/stream")
        async with asyncio.timeout(apps.BOUND):
            while (await served.metrics())[
                "in_flight"
            ]:  # openai 1.x leaves a stream that broke to the garbage collector
                gc.collect()
                await asyncio.sleep(0.01)
        breaker = (await served.status())["breaker"]
    assert bool(got) is bool(text)
    assert (error, breaker["consecutive_failures"]) == (exception, failures)


async def test_429_falls_back_to_other_credentials(upstream: LLMock, run: Run) -> None:
    """An SDK client as legacy whose key is none of the pool's may be asked."""
    upstream.fail(429, times=None, retry_after=60, model=apps.POOL_MODEL)
    async with run("two-lines", pool=True, LLM_NODES=apps.node(upstream)) as served:
        assert (await served.http.post("/ask", params={"question": "hello"})).status_code == httpx.codes.OK
        assert (await served.metrics())["fallbacks"] == {"rate_limit": 1}


async def test_three_failures_switch_the_pool_off_and_legacy_answers(serve: Serve, upstream: LLMock) -> None:
    """The third call is the last that the pool is asked for; without legacy the fourth is a 503 with a code."""
    upstream.fail(500, times=None, model=apps.POOL_MODEL)
    async with serve(Old()) as served:
        assert {text for _, text in [await post(served) for _ in range(5)]} == {"old"}
        status = await served.status()
    assert (status["breaker"]["state"], status["metrics"]["calls"]) == ("disabled", {"server_error": 3})
    assert 0 < status["breaker"]["until_in"] <= 5
    async with serve() as served:
        assert [await post(served) for _ in range(4)][-1] == ["InternalServerError", "phase1_circuit_open"]


def test_numbers_of_the_breaker_are_the_codes() -> None:
    """As the text names them."""
    defaults = {name: one.default for name, one in inspect.signature(PoolBreaker).parameters.items()}
    assert Settings.model_fields["llm_failure_threshold"].default == 3
    text = " ".join(INTEGRATION.prose.split())
    for sentence in (
        "after 3 failed calls in a row (`LLM_FAILURE_THRESHOLD`)",
        f"under {defaults['window_min_success']:.0%}".replace("%", " %")
        + f" of at least {defaults['window_min_requests']} calls in the last {defaults['window']:g} s succeeded",
        f"It stays off for {defaults['open_base'] / 2:g} to {defaults['open_base']:g} s at first",
        f"at most {defaults['open_max']:g} s.",
        f"from {defaults['ramp_start']:.0%}".replace("%", " %") + f" to all in {defaults['ramp_seconds']:g} s",
        f"run in {LEGACY_THREADS} threads per app and process",
        f"`LLM_CLIENT_CONCURRENCY` ({Settings.model_fields['llm_client_concurrency'].default} by default)",
        f"`OPENAI_MAX_RETRIES`, {Settings.model_fields['openai_max_retries'].default} by default",
        f"`LLM_REQUEST_DEADLINE` ({Settings.model_fields['llm_request_deadline'].default:g} s)",
    ):
        assert sentence in text


# --- canary and switches ----------------------------------------------------------------------------------------------


def test_every_reason_is_explained() -> None:
    """Those that this version gives."""
    told = {row[0].strip("`") for row in INTEGRATION.table("reason")}
    assert told == set(Reason)


def test_every_dropped_copy_is_explained() -> None:
    """By each of its reasons."""
    told = {word for row in INTEGRATION.table("dropped") for word in re.findall(r"`(\w+)`", row[0])}
    assert told == set(DROPS)


@pytest.mark.parametrize(
    ("flag", "reason", "pool_open"),
    [
        ({"ENABLE_LLM_POOL": "false"}, "disabled", False),
        ({"FORCE_LEGACY_LLM": "true"}, "kill_switch", True),
        ({"DISABLE_POOL": "true"}, "kill_switch", False),
        ({"EMERGENCY_MODE": "true"}, "kill_switch", False),
        ({"LLM_CANARY_PERCENT": "0"}, "default", True),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
async def test_flag_switches_back(flag: dict[str, str], reason: str, pool_open: bool, serve: Serve) -> None:  # noqa: FBT001
    """Legacy answers, for the reason that the tables name, with the pool warm or not built."""
    async with serve(Old(), **flag) as served:
        answer, route, status = await post(served), await post(served, "/route"), await served.status()
    assert (answer, route) == (["answer", "old"], ["legacy", reason])
    assert (status["pool"]["open"], status["switches"]["enabled"]) == (pool_open, reason != "disabled")


@pytest.mark.parametrize("flag", ["FORCE_LEGACY_LLM", "DISABLE_POOL", "EMERGENCY_MODE"])
async def test_kill_switches_keep_the_loop_free(flag: str, run: Run, upstream: LLMock) -> None:
    """Blocking calls of the adopted client overlap, on legacy."""
    upstream.delay(0.2, times=None)
    async with run("two-lines", pool=True, **{flag: "true"}) as served:
        await asyncio.gather(*(served.http.post("/ask", params={"question": "hello"}) for _ in range(3)))
        metrics = await served.metrics()
    assert apps.peak(upstream.requests) > 1
    assert (metrics["calls"], metrics["legacy_calls"]) == ({}, {"ok": 3})


async def test_unblock_off_blocks_as_before(run: Run, upstream: LLMock) -> None:
    """One call after the other, none through the pool, and each of them is counted."""
    upstream.delay(0.05, times=None)
    async with run("two-lines", pool=True, LLM_UNBLOCK="false") as served:
        await asyncio.gather(*(served.http.post("/ask", params={"question": "hello"}) for _ in range(2)))
        metrics = await served.metrics()
    assert apps.peak(upstream.requests) == 1
    assert (metrics["calls"], list(metrics["blocking_sites"].values())) == ({}, [2])


# --- pages ------------------------------------------------------------------------------------------------------------


async def statuses(served: apps.Served, *, remote: bool = True, token: str | None = None) -> list[int]:
    """What each page answers: debug, admin, metrics, metrics."""
    http = served.caller(address="203.0.113.9", host="app.example") if remote else served.http
    headers = {"authorization": f"Bearer {token}"} if token else {}
    methods = ("POST" if page.startswith("/admin") else "GET" for page in PAGES)
    return [
        (await http.request(method, page, headers=headers)).status_code
        for method, page in zip(methods, PAGES, strict=True)
    ]


async def test_who_may_see_the_pages(serve: Serve) -> None:
    """Row by row of the table."""
    async with serve() as served:
        assert await statuses(served, remote=False) == [200, 200, 200, 200]
        assert await statuses(served) == [404, 404, 404, 404]
    async with serve(**TOKENS) as served:
        assert await statuses(served, token=TOKENS["LLM_ADMIN_TOKEN"]) == [200, 200, 200, 200]
        assert await statuses(served, token=TOKENS["LLM_METRICS_TOKEN"]) == [401, 401, 200, 200]
        assert await statuses(served, token="wrong") == [401, 401, 401, 401]
        assert await statuses(served) == [401, 401, 401, 401]
        basic = await served.caller(host="app.example").get(PAGES[0], auth=("anybody", TOKENS["LLM_ADMIN_TOKEN"]))
        assert basic.status_code == httpx.codes.OK
    async with serve(LLM_DEBUG_ACCESS="off", LLM_METRICS_ACCESS="off", LLM_ADMIN_ACCESS="off", **TOKENS) as served:
        assert await statuses(served, remote=False) == [404, 404, 404, 404]
        assert await statuses(served, token=TOKENS["LLM_ADMIN_TOKEN"]) == [404, 404, 404, 404]


@pytest.mark.parametrize(
    "name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Via", "CF-Connecting-IP"]
)
async def test_a_proxys_header_is_not_local(name: str, serve: Serve) -> None:
    """Each of those that the text lists."""
    async with serve() as served:
        assert (await served.http.get(PAGES[0], headers={name: "x"})).status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(
    ("host", "local"), [("localhost", True), ("my.localhost", True), ("[::1]", True), ("app.example", False)]
)
async def test_hosts_that_are_local(host: str, local: bool, serve: Serve) -> None:  # noqa: FBT001
    """As the text lists them."""
    async with serve() as served:
        assert ((await served.caller(host=host).get(PAGES[0])).status_code == httpx.codes.OK) is local


async def test_secrets_are_masked(serve: Serve) -> None:
    """The page may go into a ticket."""
    async with serve(**TOKENS) as served:
        text = json.dumps(await served.status())
    for secret in (apps.KEY, "sk-pool-0123456789", *TOKENS.values()):
        assert secret not in text
    assert "******" in text


# --- names ------------------------------------------------------------------------------------------------------------

PATH = re.compile(
    r"(?:metrics|breaker|pool|nodes|switches|system_status|canary)[.\[][\w.\[\]]*|mode|problem|pid|settings|system_status"
)


def resolve(status: dict[str, Any], path: str) -> None:
    """Raise unless `path` leads somewhere; a counter may count any kind."""
    value: Any = status
    for step in path.replace("[]", ".0").split("."):
        if isinstance(value, list):
            value = value[int(step)]
        elif value == {} or (step not in value and step in set(Kind)):
            assert step in set(Kind), path
            return
        else:
            value = value[step]


async def test_every_json_path_exists(serve: Serve) -> None:
    """Each path that stands in backticks, on the page of an app that has answered once."""
    paths = {code for code in INTEGRATION.codes if PATH.fullmatch(code)}
    assert len(paths) > 20
    async with serve(Old()) as served:
        await post(served)
        status = await served.status()
    for path in paths:
        resolve(status, path)
    for short in (".p50", ".p95", ".p99"):
        resolve(status, f"metrics.seconds.pool{short}")


def test_every_prometheus_name_exists() -> None:
    """In the table that the exposition is made of."""
    codes = {cls.code for cls in vars(exceptions).values() if hasattr(cls, "code")}
    others = {*codes, "phase1_available", "phase1_initialized", "phase1_llm_manager"}
    named = {code for code in INTEGRATION.codes if re.fullmatch("phase1_[a-z_]+", code)} - others
    assert named
    assert named <= {family.name + ("_total" if family.kind == "counter" else "") for family in FAMILIES}


def test_codes_are_those_that_are_raised() -> None:
    """The table of codes."""
    told = {row[0].strip("`") for row in INTEGRATION.table("code")}
    refusals = (exceptions.QueueFull, exceptions.QueueTimeout, exceptions.CircuitOpen, exceptions.NoNode)
    raised = {*refusals, exceptions.PoolClosed}
    assert told == {cls.code for cls in raised}


def test_log_names_are_events() -> None:
    """What `LLM_POOL_DEBUG` writes."""
    told = {code.removesuffix("(…)") for code in INTEGRATION.codes if re.fullmatch(r"[A-Z][A-Za-z]+\(…\)", code)} - {
        "FastAPI"
    }
    assert told == set(events.__all__) - {"Event", "Events", "Observer"}


# --- pitfalls ---------------------------------------------------------------------------------------------------------


async def test_sdk_resources_need_an_sdk_client_as_legacy(serve: Serve, upstream: LLMock) -> None:
    """Off, with a wrapper or nothing: a 503; with an SDK client: its answer."""
    for legacy in (Old(), None):
        async with serve(legacy, ENABLE_LLM_POOL="false") as served:
            assert await post(served, "/sdk") == ["InternalServerError", "phase1_pool_closed"]
    async with serve(openai.OpenAI(), ENABLE_LLM_POOL="false") as served:
        assert (await post(served, "/sdk"))[0] == "answer"


def test_adopt_reads_the_environment_only() -> None:
    """Settings in code do not reach it."""
    client = openai.OpenAI(api_key=apps.KEY)
    phase1.Settings(enable_llm_pool=True)
    assert phase1.adopt(client) is client


def test_sdk_does_not_read_our_file(upstream: LLMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key that only stands in `.env.phase1` is the pool's."""
    (tmp_path / ".env.phase1").write_text("OPENAI_API_KEY=sk-file\n", encoding="utf-8")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert phase1.Settings().openai_api_key is not None
    with pytest.raises(openai.OpenAIError, match=r"(?i)api_key"):
        openai.OpenAI()
