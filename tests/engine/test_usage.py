"""Are the model and the tokens found in the bytes, and nothing else?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.engine.usage import Flow, model_in, tokens_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@given(messages=JSON, model=st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=40))
def test_model_is_found_whatever_is_said_before_it(separators: tuple[str, str], messages: object, model: str) -> None:
    """A prompt that says `"model":"x"` is a string: its quotes are escaped there."""
    said = json.dumps({"model": "planted"}) + '"model":"planted"'
    body = {"messages": [{"role": "user", "content": said}, json.dumps(messages)], "model": model}
    assert model_in(json.dumps(body, separators=separators, ensure_ascii=False).encode()) == model


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"not json",
        b'{"model":null}',
        b'{"model":{"a":1}}',
        b'{"model":""}',
        b'{"model":"a\\"b"}',
        b'{"model":"' + b"x" * 200 + b'"}',
        b'--boundary\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1',
    ],
)
def test_body_without_a_plain_model_names_none(body: bytes) -> None:
    """Multipart, nothing, something else."""
    assert model_in(body) is None


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


def test_long_prompt_is_not_gone_through() -> None:
    """The model stands before it or after it; in the middle of other things nobody looks."""
    prompt = "x" * 100_000
    first = json.dumps({"model": "m", "messages": [prompt]}).encode()
    last = json.dumps({"messages": [prompt], "model": "m"}).encode()
    middle = json.dumps({"messages": [prompt], "model": "m", "tools": [prompt]}).encode()
    assert (model_in(first), model_in(last), model_in(middle)) == ("m", "m", None)
    assert tokens_in(json.dumps({"usage": {"prompt_tokens": 1}, "data": [prompt]}).encode()) == (None, None)
    assert tokens_in(json.dumps({"data": [prompt], "usage": {"prompt_tokens": 1}}).encode()) == (1, None)
