"""Does the upstream read what clients send, wherever the bytes are cut, and answer as OpenAI does?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.lab.mock.bodies import chat_events
from phase1.lab.mock.fast import Options, Request, Script, parse

_BODY = b'{"model": "m", "stream": true}'
_REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


def test_whole_request_is_read() -> None:
    """Path, stream or not, and where it ends."""
    assert parse(_REQUEST + b"POST") == Request(b"/v1/chat/completions", streams=True, end=len(_REQUEST))


@given(st.integers(0, len(_REQUEST) - 1))
def test_part_of_a_request_is_waited_for(cut: int) -> None:
    """Wherever it is cut."""
    assert parse(_REQUEST[:cut]) is None


def test_request_without_a_body_is_read() -> None:
    """No length is length 0."""
    request = parse(b"GET /v1/models HTTP/1.1\r\n\r\n")
    assert request == Request(b"/v1/models", streams=False, end=27)


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"x" * 70_000])
def test_what_is_no_request_is_refused(data: bytes) -> None:
    """Instead of being waited for."""
    with pytest.raises(ValueError, match="request"):
        parse(data)


@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings"])
def test_answers_are_whole(path: str) -> None:
    """The length in the head is that of the body, which is JSON; a node's prefix does not matter."""
    answer = Script(Options()).answer(Request(f"/node-1/v1/{path}".encode(), streams=False, end=0))
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["object"]


def test_unknown_path_is_not_found() -> None:
    """Not everything is chat."""
    answer = Script(Options()).answer(Request(b"/v1/nothing", streams=False, end=0))
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("per_write", [1, 3, 100])
def test_stream_is_the_same_however_it_is_written(per_write: int) -> None:
    """Grouping changes packets, not bytes."""
    one_by_one = b"".join(Script(Options(events=7)).stream)
    assert b"".join(Script(Options(events=7, per_write=per_write)).stream) == one_by_one


def test_stream_has_as_many_objects_as_asked() -> None:
    """And `[DONE]` after them."""
    *events, done = chat_events(5)
    assert done == b"data: [DONE]\n\n"
    finish_reasons = [json.loads(event[6:])["choices"][0]["finish_reason"] for event in events]
    assert finish_reasons == [None, None, None, None, "stop"]
