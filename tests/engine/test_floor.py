"""Is a stream that only trickles broken off, and every other one left alone?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from phase1.engine.attempt import Clocks, try_once
from phase1.engine.call import AnswerStream
from phase1.engine.deadlines import Deadlines
from phase1.engine.paced import BelowFloor, Paced
from phase1.engine.sse import BROKEN_EVENT
from phase1.engine.transport import Broken
from phase1.events import StreamBroken
from phase1.policy.classify import Kind, Outcome
from phase1.policy.floor import Floor

from .conftest import MakeManager
from .providers import STREAMED_CHAT, Chunk, Pause, Providers, Step, body, streamed
from .upstream import chat_events

ROLE, *WORDS, STOP, DONE = chat_events(*["word"] * 100)
PACED = Clocks(first_token=30.0, idle=20.0, floor=1.0)


def spoken(pause: float, words: Sequence[bytes] = WORDS) -> list[Chunk]:
    """A word, a pause, a word, and so on."""
    return [ROLE, *(chunk for word in words for chunk in (word, Pause(pause))), STOP, DONE]


async def read(step: Step, clocks: Clocks = PACED, *, reader: float = 0.0) -> tuple[Outcome, list[bytes], float]:
    """A stream read by somebody who takes his time: what it came to, its events, the seconds."""
    providers, loop = Providers(a=[step]), asyncio.get_running_loop()
    (node,) = providers.nodes(loop.time)
    began = loop.time()
    attempt = await try_once(
        node.clients[0].transport,
        node.aim(STREAMED_CHAT),
        STREAMED_CHAT,
        clocks=clocks,
        expires_at=began + 55.0,
        deadlines=Deadlines(),
    )
    assert attempt.stream is not None
    ends: list[Outcome] = []
    events = []
    async for batch in AnswerStream(attempt.stream, ends.append).batches():
        events += batch
        await asyncio.sleep(reader)
    assert providers.open == []
    (outcome,) = ends
    return outcome, events, loop.time() - began


async def test_trickling_stream_ends_with_an_error_event() -> None:
    """A word in two seconds, where one a second was asked for: 20 s of patience are used up after 40."""
    outcome, events, seconds = await read(streamed(*spoken(2.0)))
    assert (outcome.kind, outcome.code) == (Kind.BROKEN_AFTER_TOKEN, "floor")
    assert events[-1] == BROKEN_EVENT
    assert 36.0 <= seconds <= 42.0


async def test_stream_at_its_floor_is_left_alone() -> None:
    """Also one that pauses now and then, and one whose events are large."""
    for pause in (0.1, 1.0):
        outcome, events, _ = await read(streamed(*spoken(pause)))
        assert (outcome.kind, events) == (Kind.OK, [ROLE, *WORDS, STOP, DONE])
    large = [*chat_events("x" * 10_000)] * 1
    outcome, _, _ = await read(streamed(large[0], large[1], Pause(19.0), *large[2:]))
    assert outcome.kind is Kind.OK


async def test_no_floor_is_no_clock() -> None:
    """By default a stream may trickle as long as it is not silent."""
    outcome, _, seconds = await read(streamed(*spoken(15.0)), Clocks(first_token=30.0, idle=20.0))
    assert (outcome.kind, seconds) == (Kind.OK, 1500.0)


async def test_keep_alives_are_no_tokens() -> None:
    """They keep the idle clock from running out, and nothing else."""
    chunks = [ROLE, WORDS[0], *[b": still here\n\n", Pause(5.0)] * 100]
    outcome, _, seconds = await read(streamed(*chunks))
    assert (outcome.code, seconds) == ("floor", 20.0)


async def test_slow_reader_is_not_the_upstreams_fault() -> None:
    """Only waiting for the upstream counts."""
    outcome, _, _ = await read(streamed(ROLE, *WORDS, STOP, DONE), reader=30.0)
    assert outcome.kind is Kind.OK


async def test_silence_is_the_idle_clocks() -> None:
    """It says so, whether there is a floor or not."""
    for floor in (0.0, 0.01):
        outcome, _, _ = await read(
            streamed(ROLE, WORDS[0], Pause(float("inf"))), Clocks(first_token=30.0, idle=5.0, floor=floor)
        )
        assert (outcome.kind, outcome.code) == (Kind.BROKEN_AFTER_TOKEN, "idle")


async def test_bytes_that_trickle_break_too() -> None:
    """Audio has no event that could say so: the exception does."""
    step = body(*[b"x", Pause(2.0)] * 100, content_type="audio/mpeg")
    with pytest.raises(Broken):
        await read(step)


async def test_answer_that_was_whole_is_whole() -> None:
    """What trickles after the last word loses nothing."""
    outcome, _, _ = await read(streamed(ROLE, WORDS[0], STOP, *[b": bye\n\n", Pause(5.0)] * 100))
    assert outcome.kind is Kind.OK


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        (spoken(2.0), "floor"),
        ([ROLE, WORDS[0], Pause(float("inf"))], "idle"),
        ([ROLE, WORDS[0], Broken("reset")], "upstream"),
    ],
    ids=["floor", "idle", "upstream"],
)
async def test_reason_is_counted(make_manager: MakeManager, chunks: list[Chunk], reason: str) -> None:
    """One failure for breaker and node, and a number for whoever asks which clock it was."""
    manager = make_manager(Providers(a=[streamed(*chunks)]), llm_stream_floor=1.0)
    async with asyncio.timeout(1000):
        answer = await manager.send(STREAMED_CHAT)
        assert answer.stream is not None
        async for _ in answer.stream:
            pass
    assert manager.of(StreamBroken) == [StreamBroken(reason)]
    assert manager.tally.broken_streams == {reason: 1}
    assert manager.breaker.snapshot().consecutive_failures == 1
    await manager.aclose()


class _LateSource:
    """Its own clock runs out."""

    response = None
    held: Sequence[bytes] = ()
    last_word = None

    async def more(self) -> list[bytes]:
        raise TimeoutError


async def test_another_clock_is_not_the_floor() -> None:
    """Who has run out of time is told by whose clock it was."""
    source: Any = _LateSource()
    with pytest.raises(TimeoutError) as told:
        await Paced(source, Floor(1.0, grace=20.0)).more()
    assert not isinstance(told.value, BelowFloor)
