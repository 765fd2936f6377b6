"""After which outcomes does legacy answer the same request? The last column of RESILIENCE §1."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import openai
import pytest

from phase1.doors.fallback import may_fall_back
from phase1.engine.transport import Broken
from phase1.engine.transport.family import httpx
from phase1.engine.transport.mock import MockResponse
from phase1.events import CallFinished, FellBack, LegacyFinished
from phase1.exceptions import ConfigurationError
from phase1.policy.classify import Fallback, Kind, Outcome, judge
from tests.doors.bench import (
    HELLO,
    POOL_KEY,
    Answer,
    AsyncLegacy,
    Bench,
    SyncLegacy,
    completion,
    failure,
    refused,
    until,
)

JSON = [("content-type", "application/json")]

FALLS_BACK = {
    "connection refused": (refused, "connect"),
    "connection broken": (lambda: Broken("ReadError"), "broken"),
    "500": (lambda: failure(500), "server_error"),
    "502": (lambda: failure(502), "server_error"),
    "503 with Retry-After": (lambda: failure(503, retry_after="9"), "server_error"),
    "504": (lambda: failure(504), "server_error"),
    "529": (lambda: failure(529), "server_error"),
    "408": (lambda: failure(408), "server_error"),
    "401": (lambda: failure(401), "node_refused"),
    "402": (lambda: failure(402), "node_refused"),
    "403": (lambda: failure(403), "node_refused"),
    "429 insufficient_quota": (lambda: failure(429, "insufficient_quota"), "node_refused"),
    "404 model_not_found": (lambda: failure(404, "model_not_found"), "node_refused"),
    "redirect to a portal": (lambda: failure(302), "server_error"),
    "HTML page": (lambda: MockResponse(200, [("content-type", "text/html")], [b"<h1>Hi</h1>"]), "broken"),
    "JSON cut off": (lambda: MockResponse(200, JSON, [b'{"id": "c1", "choi']), "broken"),
    "a bug of ours": (lambda: RuntimeError("a bug"), "bug"),
}

STAYS = {
    "400": (lambda: failure(400), openai.BadRequestError),
    "404": (lambda: failure(404), openai.NotFoundError),
    "409": (lambda: failure(409), openai.ConflictError),
    "413": (lambda: failure(413), openai.APIStatusError),
    "422": (lambda: failure(422), openai.UnprocessableEntityError),
    "context length": (lambda: failure(400, "context_length_exceeded"), openai.BadRequestError),
    "content filter": (lambda: failure(400, "content_filter"), openai.BadRequestError),
    "429": (lambda: failure(429, retry_after="7"), openai.RateLimitError),
}

WITHOUT_LEGACY = {
    "connection refused": (refused, openai.APIConnectionError),
    "connection broken": (lambda: Broken("ReadError"), openai.APIConnectionError),
    "500": (lambda: failure(500), openai.InternalServerError),
    "401": (lambda: failure(401), openai.AuthenticationError),
    "403": (lambda: failure(403), openai.PermissionDeniedError),
    "quota": (lambda: failure(429, "insufficient_quota"), openai.RateLimitError),
    "bug": (lambda: RuntimeError("a bug"), openai.APIConnectionError),
} | STAYS

Script = Callable[[], Answer]


def sdk_legacy(key: str) -> openai.AsyncOpenAI:
    """The app's own SDK client, which always has an answer."""
    body = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "the SDK"}}],
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    return openai.AsyncOpenAI(
        api_key=key,
        base_url="http://legacy.test/v1",
        http_client=httpx.AsyncClient(transport=transport),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("make", [SyncLegacy, AsyncLegacy])
@pytest.mark.parametrize(("answer", "reason"), FALLS_BACK.values(), ids=FALLS_BACK)
async def test_legacy_answers_the_same_request(
    answer: Script, reason: str, make: type[SyncLegacy | AsyncLegacy]
) -> None:
    """One attempt at the pool, one event, one answer; the route that was chosen does not change."""
    bench = Bench(answer, legacy=make("legacy"))
    async with bench.manager:
        llm = bench.manager.llm("user-1")
        assert await llm.generate_response_async(HELLO, temperature=0) == "legacy"
        assert (llm.route, llm.reason) == ("pool", "split")
    assert [event.reason for event in bench.ear.of(FellBack)] == [reason]
    assert len(bench.ear.of(LegacyFinished)) == 1
    assert len(bench.upstream.requests) == 1


@pytest.mark.parametrize(("answer", "error"), STAYS.values(), ids=STAYS)
async def test_caller_gets_the_error_that_is_his(answer: Script, error: type[Exception]) -> None:
    """Legacy would answer the same, or with the same throttled key: it is not asked."""
    legacy = SyncLegacy()
    bench = Bench(answer, legacy=legacy)
    async with bench.manager:
        with pytest.raises(error):
            await bench.ask()
    assert legacy.calls == []
    assert bench.ear.of(FellBack) == []


@pytest.mark.parametrize(("answer", "error"), WITHOUT_LEGACY.values(), ids=WITHOUT_LEGACY)
async def test_without_legacy_the_error_is_the_sdks_own(answer: Script, error: type[Exception]) -> None:
    """The class that the app's `except` knows."""
    bench = Bench(answer)
    async with bench.manager:
        with pytest.raises(error) as caught:
            await bench.ask()
    assert type(caught.value).__module__.startswith("openai")
    assert bench.ear.of(FellBack) == []


async def test_rate_limit_keeps_its_retry_after() -> None:
    """What the caller's own back-off needs."""
    bench = Bench(lambda: failure(429, retry_after="7"), legacy=SyncLegacy())
    async with bench.manager:
        with pytest.raises(openai.RateLimitError) as caught:
            await bench.ask()
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize(("key", "falls_back"), [("sk-another", True), (POOL_KEY, False)])
async def test_rate_limit_falls_back_to_other_credentials_only(key: str, falls_back: bool) -> None:  # noqa: FBT001
    """A second key has its own limit; the same key is throttled everywhere."""
    bench = Bench(lambda: failure(429, retry_after="7"), legacy=sdk_legacy(key))
    async with bench.manager:
        if falls_back:
            assert await bench.ask() == "the SDK"
        else:
            with pytest.raises(openai.RateLimitError):
                await bench.ask()
    assert len(bench.ear.of(FellBack)) == falls_back


async def test_success_needs_nobody_else() -> None:
    """The usual day."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy)
    async with bench.manager:
        assert await bench.ask() == "from the pool"
    assert legacy.calls == []
    assert bench.ear.of(FellBack) == []


async def test_error_of_the_fallback_is_the_callers() -> None:
    """Legacy was the last resort: its own exception, not the pool's."""
    bench = Bench(lambda: failure(500), legacy=SyncLegacy(ValueError("legacy too")))
    async with bench.manager:
        with pytest.raises(ValueError, match="legacy too"):
            await bench.ask()
    assert len(bench.ear.of(FellBack)) == 1


async def test_timeout_of_the_fallback_itself_is_its_own() -> None:
    """Only our clock becomes the SDK's timeout."""
    error = TimeoutError("the client's own")
    bench = Bench(lambda: failure(500), legacy=SyncLegacy(error))
    async with bench.manager:
        with pytest.raises(TimeoutError) as caught:
            await bench.ask()
    assert caught.value is error


async def test_fallback_has_what_the_deadline_leaves() -> None:
    """A legacy client that hangs does not make the request later than `LLM_REQUEST_DEADLINE`."""
    legacy = SyncLegacy()
    legacy.gate.clear()
    bench = Bench(lambda: failure(500), legacy=legacy, llm_request_deadline=0.05)
    await bench.manager.start()
    try:
        with pytest.raises(openai.APITimeoutError):
            await bench.ask()
    finally:
        legacy.gate.set()
        await bench.manager.aclose()


async def test_nothing_is_asked_when_the_deadline_is_over() -> None:
    """The pool has used it up: the caller gets the timeout, in time."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy, llm_request_deadline=0.02)
    bench.upstream.gate.clear()
    async with bench.manager:
        with pytest.raises(openai.APITimeoutError):
            await bench.ask()
    assert legacy.calls == []


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [({"llm_queue_size": 0}, "refused"), ({"llm_queue_timeout": 0.01}, "refused")],
    ids=["queue full", "queue timeout"],
)
async def test_local_refusal_falls_back_for_free(overrides: dict[str, object], reason: str) -> None:
    """Nothing was sent, and it is no failure of the pool."""
    bench = Bench(legacy=SyncLegacy(), llm_pool_size=1, llm_client_concurrency=1, **overrides)
    bench.upstream.gate.clear()
    async with bench.manager:
        first = asyncio.ensure_future(bench.ask())
        await bench.upstream.seen(1)
        assert [await bench.ask() for _ in range(5)] == ["from legacy"] * 5
        assert bench.manager.breaker.snapshot().consecutive_failures == 0
        bench.upstream.gate.set()
        assert await first == "from the pool"
    assert [event.reason for event in bench.ear.of(FellBack)] == [reason] * 5
    assert len(bench.upstream.requests) == 1


async def test_refusal_without_legacy_is_a_503_with_our_code() -> None:
    """As the SDK knows it, with the time to come back."""
    bench = Bench(llm_pool_size=1, llm_client_concurrency=1, llm_queue_size=0)
    bench.upstream.gate.clear()
    async with bench.manager:
        first = asyncio.ensure_future(bench.ask())
        await bench.upstream.seen(1)
        with pytest.raises(openai.InternalServerError) as caught:
            await bench.ask()
        bench.upstream.gate.set()
        await first
    assert (caught.value.status_code, caught.value.code) == (503, "phase1_queue_full")
    assert caught.value.response.headers["retry-after"] == "1"


async def test_caller_who_goes_away_gets_no_fallback() -> None:
    """Cancellation passes, the place is free again, and it counts against nobody."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy)
    bench.upstream.gate.clear()
    async with bench.manager:
        call = asyncio.ensure_future(bench.ask())
        await bench.upstream.seen(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: bench.manager.bindings.current().admission.in_flight == 0)
        assert bench.manager.breaker.snapshot().window_requests == 0
    assert legacy.calls == []
    assert [event.kind for event in bench.ear.of(CallFinished)] == ["cancelled"]


async def test_missing_model_falls_back_and_says_so() -> None:
    """The pool cannot be asked without a model, legacy knows its own."""
    legacy = SyncLegacy()
    legacy.model = None  # type: ignore[assignment]
    bench = Bench(legacy=legacy, llm_model=None)
    async with bench.manager:
        assert await bench.ask() == "from legacy"
        assert await bench.ask(model="named") == "from the pool"
    assert [event.reason for event in bench.ear.of(FellBack)] == ["configuration"]


async def test_missing_model_without_legacy_is_a_configuration_error() -> None:
    """It names the setting."""
    bench = Bench(llm_model=None)
    async with bench.manager:
        with pytest.raises(ConfigurationError, match="LLM_MODEL is not set"):
            await bench.ask()
    assert bench.upstream.requests == []


async def test_pool_uses_the_legacy_clients_model() -> None:
    """Where `LLM_MODEL` is not set."""
    bench = Bench(legacy=SyncLegacy(), llm_model=None)
    async with bench.manager:
        assert await bench.ask() == "from the pool"
    assert [body["model"] for body in bench.upstream.bodies] == ["legacy-model"]


async def test_answer_without_text_is_no_failure() -> None:
    """A tool call has no content."""
    bench = Bench(lambda: completion(None), legacy=SyncLegacy())
    async with bench.manager:
        assert await bench.ask() == ""


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("other", [True, False])
@pytest.mark.parametrize("remaining", [1.0, 0.0, -1.0])
def test_rule_is_the_table(kind: Kind, other: bool, remaining: float) -> None:  # noqa: FBT001
    """Never after the deadline; credentials are asked about only where they matter."""
    asked: list[bool] = []

    def other_credentials() -> bool:
        asked.append(other)
        return other

    allowed = may_fall_back(Outcome(kind), other_credentials=other_credentials, remaining=remaining)
    permission = judge(kind).fallback
    if remaining <= 0 or permission is Fallback.NEVER:
        assert not allowed
    elif permission is Fallback.OTHER_CREDENTIALS:
        assert allowed is other
    else:
        assert allowed
    assert bool(asked) == (remaining > 0 and permission is Fallback.OTHER_CREDENTIALS)
