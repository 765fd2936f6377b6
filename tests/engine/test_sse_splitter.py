"""Does it matter where the network cuts a stream?"""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from phase1.engine.sse import EventSplitter, EventTooLarge, StreamReader, error_event

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
FIELDS = st.one_of(
    st.builds(lambda text: f"data: {text}", TEXT),
    st.builds(lambda text: f"data:{text}", TEXT),
    st.builds(lambda text: f": {text}", TEXT),
    st.builds(lambda text: f"event: {text}", TEXT),
    st.sampled_from(["retry: 3000", "id: 7", "data", "data:"]),
)
BLOCKS = st.lists(st.lists(FIELDS, min_size=1, max_size=4), max_size=6)
# What a stream can hold at worst: nothing but the bytes that mean something to a splitter.
NOISE = st.lists(st.sampled_from([b"\r", b"\n", b"a", b"data: ", b":"]), max_size=40).map(b"".join)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """`stream`, cut at these places."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


def split(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    """The whole events, and what is left."""
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events, splitter.rest()


def dispatched(stream: bytes) -> list[tuple[str | None, str]]:
    """What the SDK hands out: an event's name and its data."""
    return [(sse.event, sse.data) for sse in SSEDecoder().iter_bytes(iter([stream])) if sse.data]


def written(blocks: list[list[str]], end: bytes) -> bytes:
    """The blocks as bytes."""
    return b"".join(b"".join(line.encode() + end for line in block) + end for block in blocks)


@settings(max_examples=300)
@given(blocks=BLOCKS, end=LINE_ENDS, cuts=st.lists(st.integers(0, 10_000)))
def test_where_the_bytes_are_cut_does_not_matter(blocks: list[list[str]], end: bytes, cuts: list[int]) -> None:
    """Every block is one event, for each of the three line ends, with its bytes as they were."""
    events, rest = split(pieces(written(blocks, end), cuts))
    assert events == [written([block], end) for block in blocks]
    assert rest == b""


@settings(max_examples=300)
@given(stream=NOISE, cuts=st.lists(st.integers(0, 100)))
def test_any_bytes_are_cut_alike_and_none_is_lost(stream: bytes, cuts: list[int]) -> None:
    """Whatever a server sends: the same events for all cuts, and together they are the stream."""
    events, rest = split(pieces(stream, cuts))
    assert (events, rest) == split([stream])
    assert b"".join(events) + rest == stream


@given(blocks=BLOCKS, end=LINE_ENDS)
def test_sdk_sees_the_same_events(blocks: list[list[str]], end: bytes) -> None:
    """The SDK's decoder finds in each event on its own what it finds in the whole stream."""
    whole = written(blocks, end)
    assume(b"data\n" not in whole.replace(b"\r", b"\n"))  # a field without a colon: we read it as nothing
    events, _ = split([whole])
    assert [found for event in events for found in dispatched(event)] == dispatched(whole)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_event_comes_with_its_last_byte(end: bytes) -> None:
    """Not before, and not only with the next event."""
    event = b"data: 1" + end + end
    splitter = EventSplitter()
    assert [splitter.feed(event[at : at + 1]) for at in range(len(event) - 1)] == [[]] * (len(event) - 1)
    assert splitter.feed(event[-1:]) == [event]


def test_blank_lines_before_the_first_event_are_an_event_of_their_own() -> None:
    """Nothing is in it, and nothing of it sticks to the next one."""
    assert split([b"\n\ndata: 1\n\n"]) == ([b"\n\n", b"data: 1\n\n"], b"")


def test_unfinished_event_is_the_rest() -> None:
    """A stream that ends without a blank line: whoever asks gets what there was."""
    assert split([b"data: 1\n\nda", b"ta: 2\n"]) == ([b"data: 1\n\n"], b"data: 2\n")


def test_event_beyond_the_limit_is_an_error() -> None:
    """Memory is bounded, also when the bytes trickle in."""
    splitter = EventSplitter(limit=10)
    splitter.feed(b"data: 1234")
    with pytest.raises(EventTooLarge, match="10 bytes"):
        splitter.feed(b"5")


def test_limit_is_for_one_event_not_for_a_chunk() -> None:
    """Many events in one chunk are no large event."""
    assert len(EventSplitter(limit=12).feed(b"data: 1\n\n" * 1000)) == 1000


def test_large_event_in_many_pieces_is_scanned_once() -> None:
    """Eight megabytes in eight thousand pieces: what was searched is not searched again."""
    splitter = EventSplitter()
    assert not any(splitter.feed(b"x" * 1024) for _ in range(8192))
    assert [len(event) for event in splitter.feed(b"\n\n")] == [8 * 1024 * 1024 + 2]


@pytest.mark.parametrize(
    "event", [b"\n\n", b": keep-alive\n\n", b"retry: 3000\n\n", b"event: ping\n\n", b"data:\n\n", b"data: \r\n\r\n"]
)
def test_keep_alive_dispatches_nothing(event: bytes) -> None:
    """Comments, fields that only the browser wants, an event without data."""
    assert not StreamReader().read(event)


@pytest.mark.parametrize("event", [b"data: 1\n\n", b": hello\ndata: {}\n\n", b"event: ping\ndata: {}\n\n"])
def test_event_with_data_is_no_keep_alive(event: bytes) -> None:
    """Also when there is a comment beside it."""
    assert StreamReader().read(event)


def test_error_event_is_what_the_sdk_reads_as_an_error() -> None:
    """One event, whose data is an object with `error`."""
    (sse,) = SSEDecoder().iter_bytes(iter([error_event(message="it broke", code="phase1_x")]))
    assert json.loads(sse.data) == {
        "error": {"message": "it broke", "type": "phase1_error", "param": None, "code": "phase1_x"}
    }
