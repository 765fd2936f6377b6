"""Are the tokens found in the bytes, and nothing else?"""

from __future__ import annotations

import json

import pytest

from phase1.engine.usage import Flow, tokens_in


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}, (12, 34)),
        ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 7}, (5, 7)),
        ({"prompt_tokens": 8, "total_tokens": 8}, (8, None)),
        ({"completion_tokens": 1, "prompt_tokens": 2}, (2, 1)),
        ({}, (None, None)),
        (None, (None, None)),
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_tokens_are_those_that_the_upstream_counts(
    usage: object, expected: tuple[int | None, int | None], separators: tuple[str, str]
) -> None:
    """Chat, responses, embeddings; wherever they stand, and whatever the answer says."""
    said = '"usage":{"prompt_tokens":99,"completion_tokens":99}'
    body = {"choices": [{"message": {"content": said}}], "usage": usage, "model": "m"}
    assert tokens_in(json.dumps(body, separators=separators).encode()) == expected


def test_answer_without_usage_has_no_tokens() -> None:
    """`None`, not zero."""
    assert tokens_in(b'{"choices":[]}') == (None, None)


@pytest.mark.parametrize("together", [True, False])
def test_flow_counts_and_finds_the_usage_at_the_end(together: bool) -> None:  # noqa: FBT001
    """In the last event but one, whether `[DONE]` comes with it or after it. Then the content is forgotten."""
    usage, done = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n', b"data: [DONE]\n\n"
    flow = Flow()
    flow.add([b"data: {}\n\n", b"data: {}\n\n"])
    for batch in [[usage, done]] if together else [[usage], [done]]:
        flow.add(batch)
    assert (flow.chunks, flow.bytes) == (4, 20 + len(usage) + len(done))
    assert flow.tokens() == (1, 2)
    assert (flow.tail, flow.tail_before) == ([], [])
    assert flow.tokens() == (None, None)


def test_long_answer_is_not_gone_through() -> None:
    """The usage stands near its end."""
    said = "x" * 100_000
    assert tokens_in(json.dumps({"usage": {"prompt_tokens": 1}, "data": [said]}).encode()) == (None, None)
    assert tokens_in(json.dumps({"data": [said], "usage": {"prompt_tokens": 1}}).encode()) == (1, None)
