"""What one account has and another has not."""

from __future__ import annotations

import json

import pytest

from phase1.policy.belongings import concerns, is_kept, made, named, not_here


def body(**fields: object) -> bytes:
    """A request."""
    return json.dumps({"model": "m", **fields}).encode()


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        ("/files/file-abc123", {}, ["file-abc123"]),
        ("/files/file-abc123/content?x=1", {}, ["file-abc123"]),
        ("/threads/thread_abc123/runs/run_abc123", {}, ["thread_abc123", "run_abc123"]),
        ("/responses/resp_abc123", {}, ["resp_abc123"]),
        ("/responses", {"previous_response_id": "resp_abc123", "input": "hello"}, ["resp_abc123"]),
        ("/responses", {"conversation": "conv_abc123"}, ["conv_abc123"]),
        ("/batches", {"input_file_id": "file-abc123"}, ["file-abc123"]),
        ("/fine_tuning/jobs", {"training_file": "file-abc123"}, ["file-abc123"]),
        ("/responses", {"tools": [{"type": "file_search", "vector_store_ids": ["vs_abc123"]}]}, ["vs_abc123"]),
        ("/chat/completions", {"messages": [{"content": [{"file": {"file_id": "file-abc123"}}]}]}, ["file-abc123"]),
        ("/chat/completions", {"messages": [{"role": "tool", "tool_call_id": "call_abc123"}]}, []),
        ("/chat/completions", {"messages": [{"content": '"file_id": "file-abc123"'}]}, []),
        ("/chat/completions", {}, []),
        ("/files", {}, []),
    ],
)
def test_what_a_call_refers_to(path: str, fields: dict[str, object], expected: list[str]) -> None:
    """In its path or in its JSON, and not in anybody's text."""
    assert named(path, body(**fields)) == expected


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/files", True), ("/files?purpose=batch", True), ("/vector_stores/vs_1/files", True), ("/responses", False)],
)
def test_what_stays_at_its_account(path: str, kept: bool) -> None:  # noqa: FBT001 - a table
    """All but what may be made anywhere."""
    assert is_kept(path) is kept


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        ("/files", b'{"object":"file","id":"file-abc123"}', "file-abc123"),
        ("/responses", b'{\n  "id": "resp_abc123", "output": [{"id": "msg_abc123"}]}', "resp_abc123"),
        ("/responses", b'data: {"type":"response.created","response":{"id":"resp_abc123"}}\n\n', "resp_abc123"),
        ("/chat/completions", b'{"id": "chatcmpl-abc123"}', None),
        ("/files", b"[]", None),
    ],
)
def test_what_an_answer_tells_of(path: str, answer: bytes, expected: str | None) -> None:
    """The name under which it will be asked for."""
    assert made(path, answer) == expected


def test_plain_calls_are_not_looked_at() -> None:
    """Nearly all of them."""
    assert not concerns("/chat/completions", body(messages=[]))
    assert concerns("/chat/completions", body(messages=[{"file_id": "file-abc123"}]))
    assert concerns("/responses", b"")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(404, None, True), (400, "previous_response_not_found", True), (400, None, False), (None, None, False)],
)
def test_what_says_that_it_is_not_here(status: int | None, code: str | None, expected: bool) -> None:  # noqa: FBT001
    """By its status or its code."""
    assert not_here(status, code) is expected
