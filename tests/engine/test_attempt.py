"""What does one attempt say about the fault that it met?"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import inf

import pytest

from phase1.engine.attempt import Attempt, Clocks, try_once
from phase1.engine.call import Call
from phase1.engine.deadlines import Deadlines
from phase1.engine.sse import BROKEN_EVENT
from phase1.engine.transport import Broken, NeverSent
from phase1.engine.transport.mock import MockResponse
from phase1.policy.classify import Kind

from .providers import (
    CHAT,
    STREAMED_CHAT,
    Pause,
    Providers,
    Step,
    after,
    body,
    chat_stream,
    never,
    raising,
    status,
    streamed,
    whole,
)
from .upstream import DONE, chat_events, sse

CLOCKS = Clocks(first_token=30.0, idle=20.0)


class Attempted:
    """One attempt at a provider that takes this step, and how long it took."""

    def __init__(self, step: Step) -> None:
        self.providers = Providers(a=[step])
        self.seconds = 0.0

    async def make(self, call: Call = CHAT, *, within: float = 55.0) -> Attempt:
        loop = asyncio.get_running_loop()
        (node,) = self.providers.nodes(loop.time)
        started = loop.time()
        attempt = await try_once(
            node.clients[0].transport,
            node.aim(call),
            call,
            clocks=CLOCKS,
            expires_at=started + within,
            deadlines=Deadlines(),
        )
        self.seconds = loop.time() - started
        return attempt


async def kind_of(step: Step, call: Call = CHAT, *, within: float = 55.0) -> Kind:
    """What an attempt comes to that leaves nothing open."""
    attempted = Attempted(step)
    attempt = await attempted.make(call, within=within)
    assert attempted.providers.open == []
    return attempt.outcome.kind


async def read(attempt: Attempt) -> bytes:
    """A whole stream."""
    assert attempt.stream is not None
    return b"".join([event async for batch in attempt.stream.batches() for event in batch])


# -- whole answers


async def test_whole_answer_comes_back_as_it_was() -> None:
    """Status, headers, body; the response is closed."""
    attempted = Attempted(body(b'{"a"', b": 1}"))
    attempt = await attempted.make()
    assert (attempt.outcome.kind, attempt.status, attempt.body) == (Kind.OK, 200, b'{"a": 1}')
    assert attempt.headers == (("content-type", "application/json"),)
    assert attempt.error is None
    assert attempted.providers.open == []


@pytest.mark.parametrize("answer", [b'{"a": 1}\n', b"[1, 2] ", b'"text"', b"7", b"true", b"null", b""])
async def test_any_json_is_an_answer(answer: bytes) -> None:
    """Objects, lists, scalars, trailing space; an empty body is the SDK's business."""
    attempt = await Attempted(body(answer)).make()
    assert (attempt.outcome.kind, attempt.body) == (Kind.OK, answer)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"])
async def test_json_by_any_name_is_read_whole(content_type: str) -> None:
    """Parameters, capitals, structured suffixes."""
    attempt = await Attempted(body(b"{}", content_type=content_type)).make()
    assert (attempt.body, attempt.stream) == (b"{}", None)


@pytest.mark.parametrize("answer", [b'{"a": [1, 2', b'{"a": tru', b'{"a":'])
async def test_json_that_is_cut_off_is_broken(answer: bytes) -> None:
    """A clean end of the connection does not make it an answer."""
    assert await kind_of(body(answer)) is Kind.BROKEN


async def test_error_under_a_200_is_that_error() -> None:
    """Gateways answer so when the provider behind them has failed: another node is asked, or the SDK raises it."""
    attempt = await Attempted(body(b'{"error": {"code": "overloaded_error", "message": "busy"}}')).make()
    assert (attempt.outcome.kind, attempt.status) == (Kind.SERVER_ERROR, 500)
    assert b"busy" in attempt.body


@pytest.mark.parametrize(
    "answer",
    [
        b'{"object": "response", "error": {"code": "server_error"}}',
        b'{"id": "batch_1", "errors": {"data": []}, "error": {"code": "x"}}',
        b'{"choices": [], "error": null}',
        b'{"error": "a word"}',
        b'["error"]',
    ],
)
async def test_object_that_holds_an_error_is_an_answer(answer: bytes) -> None:
    """A failed response or batch is what the caller asked about."""
    attempt = await Attempted(body(answer)).make()
    assert (attempt.outcome.kind, attempt.status, attempt.body) == (Kind.OK, 200, answer)


async def test_html_page_is_broken() -> None:
    """A captive portal, a proxy's page: no LLM has answered."""
    attempt = await Attempted(body(b"<html>", content_type="text/html")).make()
    assert attempt.outcome.kind is Kind.BROKEN
    assert "HTML" in str(attempt.error)


async def test_answer_without_content_is_passed_on() -> None:
    """A 204 has no type and no body."""
    attempt = await Attempted(body(code=204, content_type="")).make()
    assert (attempt.outcome.kind, attempt.status) == (Kind.OK, 204)
    assert await read(attempt) == b""


class Unclosable(MockResponse):
    async def aclose(self) -> None:
        raise OSError("cannot be closed")


@pytest.mark.parametrize("call", [CHAT, STREAMED_CHAT], ids=["whole", "streamed"])
async def test_answer_that_cannot_be_closed_is_still_an_answer(call: Call) -> None:
    """What has gone wrong has gone wrong after it."""
    events = chat_events("a")
    content_type = "text/event-stream" if call.streams else "application/json"
    chunks = events if call.streams else [b"{}"]
    attempt = await Attempted(lambda: Unclosable(200, (("content-type", content_type),), chunks)).make(call)
    assert attempt.outcome.kind is Kind.OK
    if attempt.stream is not None:
        assert await read(attempt) == b"".join(events)
        await attempt.stream.aclose()


# -- error answers


@pytest.mark.parametrize(
    ("code", "error", "kind"),
    [
        (500, None, Kind.SERVER_ERROR),
        (502, None, Kind.SERVER_ERROR),
        (503, None, Kind.SERVER_ERROR),
        (504, None, Kind.SERVER_ERROR),
        (529, None, Kind.SERVER_ERROR),
        (408, None, Kind.SERVER_ERROR),
        (429, None, Kind.RATE_LIMIT),
        (429, "insufficient_quota", Kind.NODE_REFUSED),
        (401, None, Kind.NODE_REFUSED),
        (402, None, Kind.NODE_REFUSED),
        (403, None, Kind.NODE_REFUSED),
        (404, "model_not_found", Kind.NODE_REFUSED),
        (400, None, Kind.CALLER_ERROR),
        (404, None, Kind.CALLER_ERROR),
        (409, None, Kind.CALLER_ERROR),
        (413, None, Kind.CALLER_ERROR),
        (422, None, Kind.CALLER_ERROR),
        (400, "context_length_exceeded", Kind.CONTEXT_LENGTH),
        (400, "content_filter", Kind.CONTENT_FILTER),
        (302, None, Kind.SERVER_ERROR),
    ],
)
async def test_status_is_judged_after_the_error_code(code: int, error: str | None, kind: Kind) -> None:
    """And the answer is kept as it was, for whoever has to give it back."""
    attempted = Attempted(status(code, error=error))
    attempt = await attempted.make()
    assert (attempt.outcome.kind, attempt.outcome.code) == (kind, error)
    assert (attempt.status, attempt.error) == (code, None)
    assert b"scripted" in attempt.body
    assert attempted.providers.open == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"error": {"code": 429, "message": "m"}}', Kind.RATE_LIMIT),
        (b'{"error": {"type": "insufficient_quota"}}', Kind.NODE_REFUSED),
        (b'{"code": "insufficient_quota"}', Kind.NODE_REFUSED),
        (b'{"error": "out of luck"}', Kind.SERVER_ERROR),
        (b'{"error": {"code": null, "type": 7}}', Kind.SERVER_ERROR),
        (b'["insufficient_quota"]', Kind.SERVER_ERROR),
        (b"<h1>502 Bad Gateway</h1>", Kind.SERVER_ERROR),
        (b"", Kind.SERVER_ERROR),
    ],
)
async def test_error_body_of_any_shape_is_read(answer: bytes, kind: Kind) -> None:
    """Codes that are numbers, types alone, no envelope, no JSON at all."""
    assert (await Attempted(body(answer, code=500)).make()).outcome.kind is kind


def in_ten_minutes() -> str:
    """As an HTTP date."""
    return format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "7"}, 7.0), ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5), ({}, None)],
)
async def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """In seconds, in milliseconds, or not at all."""
    outcome = (await Attempted(status(429, headers=headers)).make()).outcome
    assert outcome.retry_after == seconds


async def test_retry_after_may_be_a_date() -> None:
    """Of the wall clock, which is not the loop's."""
    outcome = (await Attempted(status(429, headers={"retry-after": in_ten_minutes()})).make()).outcome
    assert outcome.retry_after == pytest.approx(600.0, abs=30.0)


# -- no answer


async def test_connection_that_never_was_is_connect() -> None:
    """The transport's own error is at hand."""
    attempt = await Attempted(raising(NeverSent("no route"))).make()
    assert attempt.outcome.kind is Kind.CONNECT
    assert str(attempt.error) == "no route"


async def test_connection_that_breaks_while_we_wait_is_broken() -> None:
    """The request had been sent."""
    assert await kind_of(raising(Broken("reset"))) is Kind.BROKEN


async def test_connection_that_breaks_in_the_body_is_broken() -> None:
    """Nothing has reached the caller yet, so it may be tried elsewhere."""
    assert await kind_of(body(b'{"a":', Broken("reset"))) is Kind.BROKEN


async def test_error_of_ours_is_a_bug() -> None:
    """Whatever it is, it must not get out: slot and permit depend on it."""
    attempt = await Attempted(raising(ZeroDivisionError("oops"))).make()
    assert attempt.outcome.kind is Kind.BUG
    assert isinstance(attempt.error, ZeroDivisionError)
    assert await kind_of(body(RuntimeError("oops"))) is Kind.BUG


SILENT = {
    "before the headers": never,
    "before the body": body(Pause(inf)),
    "in the body": body(b"{", Pause(inf)),
    "in the body of an error": body(Pause(inf), code=500),
}


@pytest.mark.parametrize("step", SILENT.values(), ids=SILENT)
async def test_deadline_ends_an_attempt(step: Step) -> None:
    """Before the headers and in the body; it is a timeout of ours, and the response is closed."""
    attempted = Attempted(step)
    attempt = await attempted.make(within=55.0)
    assert attempt.outcome.kind is Kind.TIMEOUT
    assert isinstance(attempt.error, TimeoutError)
    assert attempted.seconds == pytest.approx(55.0)
    assert attempted.providers.open == []


async def test_without_a_deadline_an_attempt_waits() -> None:
    """The app asked for it: an hour is fine."""
    attempted = Attempted(after(3600.0, whole()))
    assert (await attempted.make(within=inf)).outcome.kind is Kind.OK
    assert attempted.seconds == pytest.approx(3600.0)


# -- the first token


async def test_first_token_clock_ends_a_silent_stream() -> None:
    """30 s without content, long before the deadline."""
    attempted = Attempted(never)
    attempt = await attempted.make(STREAMED_CHAT)
    assert attempt.outcome.kind is Kind.FIRST_TOKEN_TIMEOUT
    assert attempted.seconds == pytest.approx(30.0)


async def test_deadline_before_the_first_token_clock_is_a_timeout() -> None:
    """Whichever comes first gives the name."""
    assert await kind_of(never, STREAMED_CHAT, within=10.0) is Kind.TIMEOUT


async def test_keep_alives_and_role_do_not_stop_the_first_token_clock() -> None:
    """A server that is busy is not a server that answers."""
    alive = [Pause(1.0), b": keep-alive\n\n"] * 100
    attempted = Attempted(streamed(*chat_events()[:1], *alive))
    attempt = await attempted.make(STREAMED_CHAT)
    assert attempt.outcome.kind is Kind.FIRST_TOKEN_TIMEOUT
    assert attempted.seconds == pytest.approx(30.0)
    assert attempted.providers.open == []


async def test_first_token_clock_is_for_streams_only() -> None:
    """A whole answer comes when it is whole."""
    assert await kind_of(after(50.0, whole())) is Kind.OK


async def test_slow_stream_whose_first_token_came_in_time_is_left_alone() -> None:
    """The first-token clock and the deadline are for its beginning: it may go on for an hour."""
    words = [event for word in chat_events(*"abcdefgh") for event in (Pause(19.0), word)]
    attempted = Attempted(streamed(chat_events("first")[0], chat_events("first")[1], *words * 20))
    assert (await read(await attempted.make(STREAMED_CHAT))).endswith(DONE)


# -- the beginning of a stream


async def test_nothing_is_handed_out_before_the_first_content() -> None:
    """The attempt is over with the first content, and the beginning comes with it."""
    role, first, *rest = chat_events("hel", "lo")
    attempted = Attempted(streamed(Pause(5.0), role, Pause(5.0), first, Pause(5.0), *rest))
    attempt = await attempted.make(STREAMED_CHAT)
    assert attempted.seconds == pytest.approx(10.0)
    assert attempt.stream is not None
    assert await anext(attempt.stream.batches()) == [role, first]


async def test_whole_stream_comes_through_byte_for_byte() -> None:
    """Every event, in its order, whatever the chunks; it was whole."""
    events = chat_events("hel", "lo")
    stream = b"".join(events)
    for size in (1, 7, 50, len(stream)):
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        attempt = await Attempted(streamed(*chunks)).make(STREAMED_CHAT)
        assert await read(attempt) == stream
        assert attempt.stream is not None
        assert attempt.stream.outcome.kind is Kind.OK


@pytest.mark.parametrize("chunks", [[], [DONE], chat_events()[:1], [b": keep-alive\n\n"] * 200, [b"\n\n"]])
async def test_stream_without_content_is_empty(chunks: list[bytes]) -> None:
    """It ended in good order and said nothing: try elsewhere."""
    assert await kind_of(streamed(*chunks), STREAMED_CHAT) is Kind.EMPTY


@pytest.mark.parametrize("chunk", [b'data: {"choices": [{"del\n\n', b"data: oops\n\n", b'data: {"choices": [{"del'])
async def test_broken_event_before_the_content_is_truncated(chunk: bytes) -> None:
    """Also one that the end of the stream has cut."""
    assert await kind_of(streamed(*chat_events()[:1], chunk), STREAMED_CHAT) is Kind.TRUNCATED


async def test_broken_event_after_the_content_loses_nothing_before_it() -> None:
    """Though all of it came in one packet."""
    good = chat_events("hel", "lo")[:3]
    attempt = await Attempted(streamed(b"".join(good[:2]), good[2] + b"data: oops\n\n")).make(STREAMED_CHAT)
    assert await read(attempt) == b"".join(good) + BROKEN_EVENT
    assert attempt.stream is not None
    assert attempt.stream.outcome.kind is Kind.BROKEN_AFTER_TOKEN


async def test_connection_that_breaks_before_the_content_is_broken() -> None:
    """Try elsewhere."""
    assert await kind_of(streamed(chat_events()[0], Broken("reset")), STREAMED_CHAT) is Kind.BROKEN


async def test_start_up_events_are_held_back_up_to_a_bound() -> None:
    """64 of them; then the stream begins all the same, and its end is still checked."""
    prelude = sse({"type": "response.in_progress"})
    attempted = Attempted(streamed(*[prelude] * 63, Pause(1.0), prelude, Pause(1.0), prelude))
    attempt = await attempted.make(STREAMED_CHAT)
    assert attempted.seconds == pytest.approx(1.0)
    answer = await read(attempt)
    assert answer.startswith(prelude * 65)
    assert b"phase1_stream_broken" in answer


async def test_keep_alives_before_the_content_are_not_held() -> None:
    """However many: nobody was there to be kept alive."""
    events = chat_events("a")
    attempt = await Attempted(streamed(*[b": keep-alive\n\n"] * 1000, *events)).make(STREAMED_CHAT)
    assert await read(attempt) == b"".join(events)


async def test_keep_alives_after_the_content_are_passed_on() -> None:
    """There somebody listens."""
    role, word, *rest = chat_events("a")
    attempt = await Attempted(streamed(role, word, b": keep-alive\n\n", *rest)).make(STREAMED_CHAT)
    assert b": keep-alive\n\n" in await read(attempt)


# -- errors inside a stream, before its content


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"code": "rate_limit_exceeded"}, Kind.RATE_LIMIT, 429),
        ({"code": 429}, Kind.RATE_LIMIT, 429),
        ({"code": "insufficient_quota"}, Kind.NODE_REFUSED, 403),
        ({"code": "server_error"}, Kind.SERVER_ERROR, 500),
        ({"code": 502}, Kind.SERVER_ERROR, 500),
        ({"code": None, "type": None}, Kind.SERVER_ERROR, 500),
        ({"code": "context_length_exceeded"}, Kind.CONTEXT_LENGTH, 400),
        ({"code": "content_filter"}, Kind.CONTENT_FILTER, 400),
        ({"type": "invalid_request_error"}, Kind.CALLER_ERROR, 400),
    ],
)
async def test_error_before_the_content_is_an_error_answer(error: dict[str, object], kind: Kind, code: int) -> None:
    """Judged by its code, and the caller gets the upstream's own words, as if they had come instead of the stream."""
    event = sse({"error": {"message": "their words", **error}})
    attempted = Attempted(streamed(*chat_events()[:1], event, Pause(inf)))
    attempt = await attempted.make(STREAMED_CHAT)
    assert (attempt.outcome.kind, attempt.status, attempt.error) == (kind, code, None)
    assert attempt.headers == (("content-type", "application/json"),)
    assert b'"message":"their words"' in attempt.body
    assert (attempt.stream, attempted.seconds) == (None, 0.0)
    assert attempted.providers.open == []


async def test_failed_response_before_its_content_is_an_error_answer() -> None:
    """The responses API has its error inside of the response."""
    failed = {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "sorry"}}}
    attempt = await Attempted(streamed(sse({"type": "response.created"}), sse(failed))).make(STREAMED_CHAT)
    assert (attempt.outcome.kind, attempt.status) == (Kind.SERVER_ERROR, 500)
    assert b"sorry" in attempt.body


# -- cancellation


@pytest.mark.parametrize(
    "step",
    [never, body(b"{", Pause(inf)), streamed(chat_events()[0], Pause(inf))],
    ids=["before the headers", "in the body", "in the stream"],
)
async def test_cancellation_passes_and_closes(step: Step) -> None:
    """It is the caller's `CancelledError`, before the headers and after."""
    attempted = Attempted(step)
    task = asyncio.create_task(attempted.make(STREAMED_CHAT))
    await asyncio.sleep(1.0)
    task.cancel("the caller has gone")
    with pytest.raises(asyncio.CancelledError, match="the caller has gone"):
        await task
    assert attempted.providers.open == []


async def test_callers_own_timeout_is_the_callers() -> None:
    """`asyncio.timeout` around us ends as the caller's TimeoutError, not as an attempt that timed out."""
    attempted = Attempted(body(b"{", Pause(inf)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            await attempted.make()
    assert attempted.providers.open == []


async def test_cancellation_in_the_moment_of_our_timeout_is_cancellation() -> None:
    """When both come at once, the caller's counts."""
    attempted = Attempted(never)
    task = asyncio.create_task(attempted.make(within=10.0))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(10.0, task.cancel)
    await asyncio.sleep(11.0)
    assert task.cancelled()


async def test_broken_promise_of_a_stream_is_no_error_before_anybody_reads() -> None:
    """A stream that nobody has read yet has come to nothing but a cancellation."""
    attempt = await Attempted(chat_stream()).make(STREAMED_CHAT)
    assert attempt.stream is not None
    assert attempt.stream.outcome.kind is Kind.CANCELLED
