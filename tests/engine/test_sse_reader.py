"""Has the answer begun, ended, or gone wrong? For every kind of stream that the API has."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.engine.sse import Progress, StreamReader

from .upstream import DONE, chat_events, sse

WAITING, STARTED, FINISHED, FAILED = Progress


def chunk(*choices: dict[str, object], **more: object) -> bytes:
    """One chunk of a chat stream."""
    return sse({"object": "chat.completion.chunk", "choices": list(choices), **more})


def says(text: str, index: int = 0) -> dict[str, object]:
    """A choice that speaks."""
    return {"index": index, "delta": {"content": text}, "finish_reason": None}


def ends(index: int = 0, reason: str = "stop") -> dict[str, object]:
    """A choice that has ended."""
    return {"index": index, "delta": {}, "finish_reason": reason}


def typed(*types: str) -> list[bytes]:
    """Events of the APIs that give their events a type."""
    return [sse({"type": type_}, event=type_) for type_ in types]


def thread(*names: str) -> list[bytes]:
    """Events of the assistants, whose data do not repeat the name."""
    return [sse({"id": "x", "object": "thread.run"}, event=name) for name in names]


def progress(*events: bytes) -> list[Progress]:
    """How far the stream has come after each event."""
    reader = StreamReader()
    return [(reader.read(event), reader.progress)[1] for event in events]


def after(*events: bytes) -> StreamReader:
    """The reader that has read them all."""
    reader = StreamReader()
    for event in events:
        reader.read(event)
    return reader


# -- chat completions and completions


def test_chat_begins_with_its_first_word() -> None:
    """The role is no content; the finish reason ends it; `[DONE]` adds nothing."""
    assert progress(*chat_events("hel", "lo")) == [WAITING, STARTED, STARTED, FINISHED, FINISHED]
    assert after(*chat_events("hel")).checkable


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "assistant"},
        {"role": "assistant", "content": ""},
        {"content": None, "refusal": None, "tool_calls": []},
        {},
        None,
        "nonsense",
    ],
)
def test_delta_without_content_does_not_begin(delta: object) -> None:
    """Empty strings, nulls, empty lists: nothing that a caller would see."""
    assert progress(chunk({"index": 0, "delta": delta})) == [WAITING]


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"reasoning_content": "hm"},
        {"audio": {"data": "AAAA"}},
    ],
)
def test_delta_with_any_content_begins(delta: object) -> None:
    """Words, refusals, tool calls, thoughts, sounds."""
    assert progress(chunk({"index": 0, "delta": delta})) == [STARTED]


def test_completion_begins_with_its_first_text() -> None:
    """The older API has `text` instead of a delta."""
    assert progress(
        sse({"object": "text_completion", "choices": [{"index": 0, "text": "", "finish_reason": None}]}),
        sse({"object": "text_completion", "choices": [{"index": 0, "text": "a", "finish_reason": None}]}),
        sse({"object": "text_completion", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}),
        DONE,
    ) == [WAITING, STARTED, FINISHED, FINISHED]


def test_several_choices_end_with_the_last_one() -> None:
    """With n = 2 the first finish reason is not the end, in whatever order they speak."""
    assert progress(
        chunk(says("a", 0)),
        chunk(says("b", 1)),
        chunk(ends(0)),
        chunk(says("c", 1)),
        chunk(ends(1)),
        DONE,
    ) == [STARTED, STARTED, STARTED, STARTED, FINISHED, FINISHED]


def test_choice_that_begins_after_another_has_ended_goes_on() -> None:
    """One after the other: the end of the first was not the end of all."""
    assert progress(chunk(says("a", 0)), chunk(ends(0)), chunk(says("b", 1)), chunk(ends(1))) == [
        STARTED,
        FINISHED,
        STARTED,
        FINISHED,
    ]


def test_usage_only_chunk_means_nothing() -> None:
    """Neither before the content (Azure's filter results) nor after the end (`include_usage`)."""
    usage = chunk(usage={"total_tokens": 3})
    assert progress(usage, chunk(says("a")), usage, chunk(ends()), usage, DONE) == [
        WAITING,
        STARTED,
        STARTED,
        FINISHED,
        FINISHED,
        FINISHED,
    ]


def test_finish_reason_without_content_is_a_whole_answer() -> None:
    """A model may say nothing; that is not an empty stream."""
    assert progress(chunk({"index": 0, "delta": {"role": "assistant"}}), chunk(ends(reason="content_filter"))) == [
        WAITING,
        FINISHED,
    ]


def test_done_alone_is_an_empty_stream() -> None:
    """`[DONE]` ends what has begun; it begins nothing."""
    reader = after(DONE)
    assert (reader.progress, reader.checkable) == (WAITING, True)
    assert progress(chunk({"index": 0, "delta": {"role": "assistant"}}), DONE) == [WAITING, WAITING]


def test_done_ends_a_stream_without_finish_reason() -> None:
    """Some servers never send one."""
    assert progress(chunk(says("a")), DONE) == [STARTED, FINISHED]


def test_choice_that_is_no_object_is_passed_over() -> None:
    """Tolerant where nothing is lost."""
    assert progress(sse({"choices": [None, 7, says("a")]})) == [STARTED]


# -- APIs whose events have a type


def test_response_begins_with_its_first_delta() -> None:
    """What comes before it tells about the response, not from it."""
    events = typed(
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.completed",
    )
    assert progress(*events) == [WAITING] * 4 + [STARTED] * 2 + [FINISHED]


@pytest.mark.parametrize("last", ["response.incomplete", "response.cancelled", "response.completed"])
def test_response_ends_with_each_of_its_last_words(last: str) -> None:
    """Too long, cancelled, whole: told by the upstream, so not broken."""
    assert progress(*typed("response.output_text.delta", last)) == [STARTED, FINISHED]


def test_typed_stream_is_checkable() -> None:
    """It says when it is finished, so a missing end is a failure."""
    reader = after(*typed("response.created"))
    assert (reader.progress, reader.checkable) == (WAITING, True)


def test_what_comes_after_the_end_does_not_reopen_a_response() -> None:
    """A late event of a finished response."""
    assert progress(*typed("response.completed", "response.output_text.delta")) == [FINISHED, FINISHED]


def test_assistant_run_begins_with_a_message_delta() -> None:
    """Its events have their names in the `event` field."""
    events = thread(
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.message.created",
        "thread.message.delta",
        "thread.run.completed",
    )
    done = b"event: done\ndata: [DONE]\n\n"
    assert progress(*events, done) == [WAITING] * 5 + [STARTED] + [FINISHED] * 2


@pytest.mark.parametrize(
    "last", ["thread.run.requires_action", "thread.run.incomplete", "thread.run.cancelled", "thread.run.expired"]
)
def test_assistant_run_ends_with_each_of_its_last_words(last: str) -> None:
    """All of them are the upstream's own."""
    assert progress(*thread("thread.message.delta", last)) == [STARTED, FINISHED]


@pytest.mark.parametrize(
    ("delta", "last"),
    [
        ("speech.audio.delta", "speech.audio.done"),
        ("transcript.text.delta", "transcript.text.done"),
        ("image_generation.partial_image", "image_generation.completed"),
        ("image_edit.partial_image", "image_edit.completed"),
    ],
)
def test_audio_and_images_begin_and_end(delta: str, last: str) -> None:
    """Speech, transcripts, images, edited images."""
    assert progress(*typed(delta, last)) == [STARTED, FINISHED]


# -- streams that we do not know


@pytest.mark.parametrize("payload", [{"hello": 1}, {"type": "ping"}, {"type": {"a": 1}}, [1], 7, "text", None])
def test_unknown_stream_begins_and_is_never_checked(payload: object) -> None:
    """Whatever comes is passed on, and its end is taken as it is."""
    reader = after(sse(payload))
    assert (reader.progress, reader.checkable) == (STARTED, False)


def test_keep_alives_mean_nothing() -> None:
    """Comments stop no clock."""
    assert progress(b": keep-alive\n\n", b"\n\n", b"retry: 1\n\n", b"event: ping\n\n") == [WAITING] * 4


def test_data_of_several_lines_is_one_payload() -> None:
    """Joined by line ends, as the specification has it, for each line end."""
    for end in (b"\n", b"\r\n", b"\r"):
        text = b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "a"}}]}\n\n'.replace(b"\n", end)
        assert progress(text) == [STARTED]


def test_space_after_the_colon_may_be_missing() -> None:
    """The specification makes it optional, for the name as for the data."""
    assert progress(b'event:thread.message.delta\ndata:{"id":1}\n\n') == [STARTED]
    assert progress(b'event:error\ndata:{"message":"m"}\n\n') == [FAILED]


# -- errors


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (sse({"error": {"message": "m", "code": "c"}}), "m"),
        (sse({"error": {"message": "m", "code": "c"}}, event="error"), "m"),
        (sse({"error": {"message": "m", "code": "c"}, "choices": [says("x")]}), "m"),
        (sse({"type": "error", "error": {"message": "m", "code": "c"}}), "m"),
        (sse({"type": "error", "message": "m", "code": "c"}), "m"),
        (sse({"type": "response.failed", "response": {"error": {"message": "m", "code": "c"}}}), "m"),
        (sse({"last_error": {"message": "m", "code": "c"}}, event="thread.run.failed"), "m"),
        (sse({"error": "m", "code": "c"}), "m"),
        (sse({"type": "response.failed", "response": None, "code": "c"}), None),
    ],
)
def test_error_of_each_api_is_read(event: bytes, message: str | None) -> None:
    """Its code and its message are at hand, wherever that API puts them."""
    reader = after(event)
    assert reader.progress is FAILED
    assert reader.error is not None
    assert (reader.error["message"], reader.error["code"]) == (message, "c")


def test_empty_error_is_none() -> None:
    """`error: null` stands in many a healthy payload."""
    assert progress(chunk(says("a"), error=None)) == [STARTED]
    assert progress(sse({"type": "response.created", "error": None, "response": {"error": None}})) == [WAITING]


def test_nothing_heals_a_stream_that_has_failed() -> None:
    """Neither more content nor an end."""
    failed = sse({"error": {"message": "m"}})
    assert progress(failed, *chat_events("a"), b"data: {broken\n\n") == [FAILED] * 6


@pytest.mark.parametrize("data", ['{"choices": [{"delta"', "hello", "{'a': 1}", "DONE", "\udcff"])
def test_payload_that_is_no_json_is_an_error(data: str) -> None:
    """Skipping it would lose tokens without a word."""
    with pytest.raises(ValueError, match="at line 1 column"):
        after(b"data: " + data.encode(errors="surrogateescape") + b"\n\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "error", "type", "index", "finish_reason", "text", "response", "code"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = st.sampled_from([None, "error", "thread.run.failed", "thread.message.delta", "done"])


@settings(max_examples=300)
@given(events=st.lists(st.tuples(JSON, NAMES), max_size=5))
def test_no_json_surprises_the_reader(events: list[tuple[object, str | None]]) -> None:
    """Whatever a server sends as JSON, the reader knows how far the stream is, and never goes back to WAITING."""
    reader = StreamReader()
    begun = False
    for payload, name in events:
        reader.read(f"event: {name}\ndata: {json.dumps(payload)}\n\n".encode() if name else sse(payload))
        assert not (begun and reader.progress is WAITING)
        begun = reader.progress is not WAITING
        assert (reader.error is not None) is (reader.progress is FAILED)


# -- skimming


SPACES = st.sampled_from([(", ", ": "), (",", ":")])
CHOICES = st.one_of(
    st.builds(says, st.sampled_from(["", "a", 'x"finish_reason":null', '"error"', "}\n"])),
    st.builds(says, st.just("b"), st.sampled_from([0, 1])),
    st.builds(ends, st.sampled_from([0, 1]), st.sampled_from(["stop", "length"])),
    st.just(
        {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, "finish_reason": None}
    ),
)
PAYLOADS = st.one_of(
    st.builds(lambda choices: {"choices": choices}, st.lists(CHOICES, max_size=2)),
    st.builds(
        lambda choices: {"id": "x", "choices": choices, "usage": None}, st.lists(CHOICES, min_size=1, max_size=2)
    ),
    st.just({"error": {"message": "no", "code": "c"}}),
    st.just({"choices": [], "usage": {"total_tokens": 3}}),
)


@given(st.lists(st.tuples(PAYLOADS, SPACES), max_size=8), st.booleans())
def test_skimming_comes_to_the_same(payloads: list[tuple[dict[str, object], tuple[str, str]]], done: bool) -> None:  # noqa: FBT001
    """Whatever a chat stream says, a reader that skims knows as much of it after each event."""
    events = [f"data: {json.dumps(payload, separators=spaces)}\n\n".encode() for payload, spaces in payloads]
    whole, skimming = StreamReader(), StreamReader(skims=True)
    for event in [*events, *([b"data: [DONE]\n\n"] if done else [])]:
        assert whole.read(event) == skimming.read(event)
        assert (whole.progress, whole.error, whole.checkable) == (skimming.progress, skimming.error, skimming.checkable)


def test_skimming_reads_no_json_where_an_answer_just_goes_on() -> None:
    """Whoever parses it finds out; what does more than go on is read."""
    reader = StreamReader(skims=True)
    reader.read(b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n')
    assert reader.read(b'data: {"choices":[{"index":0,"delta":{broken},"finish_reason":null}]}\n\n')
    with pytest.raises(ValueError, match="key must be a string"):
        reader.read(b'data: {"choices":[{"index":0,"delta":{broken},"finish_reason":"stop"}]}\n\n')
