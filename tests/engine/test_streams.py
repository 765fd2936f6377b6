"""What becomes of a stream whose first content has reached the caller?"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from math import inf

import openai
import pytest

from phase1.engine.attempt import Clocks, try_once
from phase1.engine.call import AnswerStream
from phase1.engine.deadlines import Deadlines
from phase1.engine.transport import Broken
from phase1.engine.transport.family import httpx
from phase1.policy.classify import Kind, Outcome

from .providers import STREAMED_CHAT, Chunk, Pause, Providers, Step, body, streamed
from .upstream import DONE, chat_events, sse

ROLE, HEL, LO, STOP, _ = chat_events("hel", "lo")


class Streamed:
    """An answer whose first content is at hand, as the caller gets it."""

    def __init__(self, step: Step) -> None:
        self.providers = Providers(a=[step])
        self.ends: list[Outcome] = []
        self.received: list[bytes] = []

    async def begin(self) -> AnswerStream:
        """The stream."""
        loop = asyncio.get_running_loop()
        (node,) = self.providers.nodes(loop.time)
        attempt = await try_once(
            node.clients[0].transport,
            node.aim(STREAMED_CHAT),
            STREAMED_CHAT,
            clocks=Clocks(first_token=30.0, idle=20.0),
            expires_at=inf,
            deadlines=Deadlines(),
        )
        assert attempt.stream is not None
        return AnswerStream(attempt.stream, self.ends.append)

    async def read(self) -> bytes:
        """The whole stream."""
        async for chunk in await self.begin():
            self.received.append(chunk)
        return b"".join(self.received)

    @property
    def kinds(self) -> list[Kind]:
        """What it has come to: once."""
        return [outcome.kind for outcome in self.ends]


async def sdk_reads(stream: bytes) -> list[str]:
    """What the installed SDK makes of these bytes; raises what it raises."""
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx.MockTransport(lambda request: answer)
    async with openai.AsyncOpenAI(api_key="k", http_client=httpx.AsyncClient(transport=transport)) as client:
        chunks = await client.chat.completions.create(model="m", messages=[], stream=True)
        return [chunk.choices[0].delta.content or "" async for chunk in chunks]


def open_stream(*chunks: Chunk) -> Streamed:
    """A stream with these chunks."""
    return Streamed(streamed(*chunks))


# -- whole streams


async def test_whole_stream_is_left_alone() -> None:
    """Byte for byte what the upstream sent; the SDK reads it; one outcome; closed."""
    events = chat_events("hel", "lo")
    live = open_stream(*events)
    received = await live.read()
    assert received == b"".join(events)
    assert await sdk_reads(received) == ["", "hel", "lo", ""]
    assert live.kinds == [Kind.OK]
    assert live.providers.open == []


@pytest.mark.parametrize(
    "end",
    [[STOP], [LO, DONE], [STOP, b"data: [DONE]"], [STOP[:-1]], [STOP[:-2]], [STOP.replace(b"\n", b"\r\n"), DONE]],
    ids=["no done", "no finish reason", "no last blank line", "one line end", "no line end", "other line ends"],
)
async def test_stream_that_says_it_is_whole_is_whole(end: list[bytes]) -> None:
    """Servers forget `[DONE]`, the finish reason, the last blank line: nothing is lost, nothing is added."""
    live = open_stream(ROLE, HEL, *end)
    received = await live.read()
    assert received.rstrip() == b"".join([ROLE, HEL, *end]).rstrip()
    assert live.kinds == [Kind.OK]
    assert (await sdk_reads(received))[:2] == ["", "hel"]


async def test_break_after_the_last_word_loses_nothing() -> None:
    """The answer was whole: no error is added to it."""
    for ending in (Broken("reset"), Pause(inf)):
        for last in ([STOP], [STOP, DONE]):
            live = open_stream(ROLE, HEL, *last, ending)
            assert await live.read() == b"".join([ROLE, HEL, *last])
            assert live.kinds == [Kind.OK]
            assert live.providers.open == []


async def test_stream_that_we_do_not_know_is_whole_at_its_end() -> None:
    """It cannot say that it is finished."""
    live = open_stream(sse({"hello": 1}), sse({"hello": 2}))
    await live.read()
    assert live.kinds == [Kind.OK]


# -- streams that break

BREAKS: dict[str, list[Chunk]] = {
    "clean end without finish reason": [],
    "silence": [Pause(inf)],
    "reset": [Broken("reset")],
    "broken event": [b'data: {"choices": [{"del\n\n'],
    "end in the middle of an event": [b'data: {"choices": [{"del'],
}


@pytest.mark.parametrize("ending", BREAKS.values(), ids=BREAKS)
async def test_break_ends_with_an_error_that_the_sdk_raises(ending: list[Chunk]) -> None:
    """Never a silent end: what came before is passed on, then `openai.APIError` with our code."""
    live = open_stream(ROLE, HEL, *ending)
    received = await live.read()
    assert received.startswith(ROLE + HEL)
    with pytest.raises(openai.APIError, match="broke before its end") as caught:
        await sdk_reads(received)
    assert caught.value.code == "phase1_stream_broken"
    assert live.kinds == [Kind.BROKEN_AFTER_TOKEN]
    assert live.providers.open == []


async def test_idle_clock_ends_a_silent_stream() -> None:
    """20 s without an event, counted from the last one."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await open_stream(ROLE, HEL, Pause(19.0), LO, Pause(inf)).read()
    assert loop.time() - started == pytest.approx(39.0)


async def test_several_choices_are_whole_only_with_the_last_one() -> None:
    """With n = 2, an end after the first finish reason is a break."""
    first = sse({"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]})
    live = open_stream(first, sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    assert b"phase1_stream_broken" in await live.read()
    assert live.kinds == [Kind.BROKEN_AFTER_TOKEN]


@pytest.mark.parametrize("last_word", ["response.completed", "response.incomplete"])
async def test_response_without_its_last_word_is_broken(last_word: str) -> None:
    """And with it, it is whole: the same for every API whose events have a type."""
    delta = sse({"type": "response.output_text.delta", "delta": "x"})
    broken, full = open_stream(delta), open_stream(delta, sse({"type": last_word}))
    assert b"phase1_stream_broken" in await broken.read()
    assert b"phase1_stream_broken" not in await full.read()
    assert (broken.kinds, full.kinds) == ([Kind.BROKEN_AFTER_TOKEN], [Kind.OK])


# -- errors inside a stream, after its content


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", Kind.SERVER_ERROR),
        ("rate_limit_exceeded", Kind.RATE_LIMIT),
        ("content_filter", Kind.CONTENT_FILTER),
    ],
)
@pytest.mark.parametrize("ending", [[], [DONE], [Broken("reset")], [Pause(inf)]], ids=["end", "done", "reset", "hang"])
async def test_upstreams_own_error_is_passed_on_and_judged_by_its_code(
    code: str, kind: Kind, ending: list[Chunk]
) -> None:
    """The caller gets the upstream's words, once; a filter that strikes is nobody's failure."""
    live = open_stream(ROLE, HEL, sse({"error": {"message": "their words", "code": code}}), *ending)
    received = await live.read()
    assert b"phase1_stream_broken" not in received
    with pytest.raises(openai.APIError, match="their words"):
        await sdk_reads(received)
    assert live.kinds == [kind]


# -- bytes that mean nothing to us


async def test_opaque_body_comes_through() -> None:
    """Audio, files: chunk by chunk as they come."""
    live = Streamed(body(b"\x00\x01", b"", b"\x02", content_type="audio/mpeg"))
    assert await live.read() == b"\x00\x01\x02"
    assert live.kinds == [Kind.OK]


@pytest.mark.parametrize("ending", [Broken("reset"), Pause(inf)], ids=["reset", "silence"])
async def test_opaque_body_that_breaks_raises(ending: Chunk) -> None:
    """Bytes cannot say that they broke; an exception can."""
    live = Streamed(body(b"\x00", ending, content_type="audio/mpeg"))
    with pytest.raises(Broken, match="before its end"):
        await live.read()
    assert live.received == [b"\x00"]
    assert live.kinds == [Kind.BROKEN_AFTER_TOKEN]
    assert live.providers.open == []


# -- callers that go away


@pytest.mark.parametrize(("seen", "kind"), [(1, Kind.CANCELLED), (2, Kind.CANCELLED), (3, Kind.OK), (4, Kind.OK)])
async def test_caller_who_closes_after_the_last_word_has_had_it_whole(seen: int, kind: Kind) -> None:
    """The SDK closes at `[DONE]`, an app at the finish reason: a success. Before that it is a cancellation."""
    live = open_stream(*chat_events("hel", "lo"))
    stream = await live.begin()
    chunks = aiter(stream)
    for _ in range(seen):
        await anext(chunks)
    await stream.aclose()
    assert live.kinds == [kind]
    assert live.providers.open == []


async def test_caller_who_closes_after_an_error_has_had_the_error() -> None:
    """The SDK raises it and closes; it is judged by its code all the same."""
    live = open_stream(ROLE, HEL, sse({"error": {"code": "rate_limit_exceeded"}}), Pause(inf))
    stream = await live.begin()
    chunks = aiter(stream)
    await anext(chunks)
    await anext(chunks)
    await stream.aclose()
    assert live.kinds == [Kind.RATE_LIMIT]


async def test_stream_that_is_closed_unread_is_a_cancellation() -> None:
    """Closing again changes nothing."""
    live = open_stream(ROLE, HEL, Pause(inf))
    stream = await live.begin()
    await stream.aclose()
    await stream.aclose()
    assert live.kinds == [Kind.CANCELLED]
    assert live.providers.open == []


async def test_loop_left_early_is_a_cancellation() -> None:
    """`break` in the caller's loop: the generator is closed, and with it the upstream."""
    live = open_stream(ROLE, HEL, LO, Pause(inf))
    stream = await live.begin()
    async for _ in stream:
        break
    gc.collect()
    await asyncio.sleep(0.1)
    assert live.kinds == [Kind.CANCELLED]
    assert live.providers.open == []


async def test_cancelled_reader_closes_the_upstream() -> None:
    """It is the caller's `CancelledError`, and the slot is free."""
    live = open_stream(ROLE, HEL, Pause(inf))
    task = asyncio.create_task(live.read())
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert live.received == [ROLE + HEL]
    assert live.kinds == [Kind.CANCELLED]
    assert live.providers.open == []


async def test_abandoned_stream_is_settled_and_closed() -> None:
    """Nobody reads it, nobody closes it: the garbage collector tells us."""
    live = open_stream(ROLE, HEL, Pause(inf))
    await live.begin()
    gc.collect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert live.kinds == [Kind.CANCELLED]
    assert live.providers.open == []


def test_stream_abandoned_with_its_loop_is_let_go() -> None:
    """Its loop is closed when the garbage collector comes: there is nobody left to tell."""
    live = open_stream(ROLE, HEL, Pause(inf))
    with asyncio.Runner() as runner:
        stream = runner.run(live.begin())
    del stream
    gc.collect()
    assert live.kinds == []


class Misbehaving:
    """A source whose chunks and whose closing fail as they should not."""

    def __init__(self, *, chunk: Exception | None = None, close: Exception | None = None) -> None:
        self._chunk = chunk
        self._close = close
        self.outcome = Outcome(Kind.CANCELLED)
        self.ended = False

    async def batches(self) -> AsyncIterator[list[bytes]]:
        yield [b"x"]
        if self._chunk:
            raise self._chunk

    async def aclose(self) -> None:
        if self._close:
            raise self._close


async def test_error_of_ours_in_a_stream_is_a_bug() -> None:
    """It reaches the caller, and the slot is given back."""
    ends: list[Outcome] = []
    with pytest.raises(ZeroDivisionError):
        [_ async for _ in AnswerStream(Misbehaving(chunk=ZeroDivisionError()), ends.append)]
    assert [outcome.kind for outcome in ends] == [Kind.BUG]


async def test_abandoned_stream_that_cannot_be_closed_is_no_noise() -> None:
    """Nobody waits for the result of that closing, so its error is dropped."""
    noise: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: noise.append(context))
    ends: list[Outcome] = []
    AnswerStream(Misbehaving(close=OSError()), ends.append)
    await asyncio.sleep(0.1)
    gc.collect()
    assert [outcome.kind for outcome in ends] == [Kind.CANCELLED]
    assert noise == []
