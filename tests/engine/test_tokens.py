"""How many tokens does a call use, and which model does it name?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.engine.attempt import Attempt
from phase1.engine.tokens import MeteredStream, estimate, model_of, used
from phase1.policy.classify import Kind, Outcome

from .providers import CHAT


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"gpt-4o","messages":[]}', "gpt-4o"),
        (b'{"messages":[{"content":"\\"model\\": \\"fake\\""}], "model" : "real"}', "real"),
        (b'{"messages":[]}', ""),
        (b"", ""),
        (b'{"model":7}', ""),
        (b'--boundary\r\nname="model"\r\n\r\nwhisper', ""),
        (b'{"model":"m\xff"}', "m\ufffd"),
    ],
)
def test_model_of_a_request(body: bytes, model: str) -> None:
    """The field, not what a message says."""
    assert model_of(body) == model


@given(st.text(), st.text())
def test_text_of_a_message_is_never_taken_for_the_field(before: str, after: str) -> None:
    """Its quotes are escaped, whatever it says."""
    said = f'{before}"model": "fake"{after}'
    assert model_of(json.dumps({"messages": [{"content": said}], "model": "real"}).encode()) == "real"


@pytest.mark.parametrize(
    ("field", "tokens"),
    [("max_tokens", 100), ("max_completion_tokens", 100), ("max_output_tokens", 100), ("other", 256)],
)
def test_estimate_of_a_request(field: str, tokens: int) -> None:
    """A token for four bytes, and what may be answered."""
    body = json.dumps({"model": "m", field: 100}).encode()
    assert estimate(body) == len(body) / 4 + tokens


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (b'{"usage":{"prompt_tokens":9,"total_tokens": 12}}', 12),
        (b'{"content":"\\"total_tokens\\": 99","usage":{"total_tokens":7}}', 7),
        (b'{"usage":null}', None),
        (b'{"total_tokens":null}', None),
        (b"", None),
    ],
)
def test_usage_of_an_answer(answer: bytes, tokens: int | None) -> None:
    """The last one, if it says so."""
    assert used(answer) == tokens


class Source:
    """A stream that is at hand."""

    begun = (b"a",)
    ended = True
    outcome = Outcome(Kind.OK)
    closed = False

    async def batches(self):  # noqa: ANN201
        yield [b"a", b'"total_tokens":']
        yield [b'"total_tokens":3', b"}"]
        yield [b'"total_tokens":4']

    async def aclose(self) -> None:
        self.closed = True


async def test_stream_is_metered_once() -> None:
    """And is otherwise what it was."""
    told: list[int] = []
    source = Source()
    stream = MeteredStream(source, told.append)
    assert stream.begun is source.begun
    batches = [b"".join(batch) async for batch in stream.batches()]
    assert batches == [b'a"total_tokens":', b'"total_tokens":3}', b'"total_tokens":4']
    assert (told, stream.ended, stream.outcome) == ([3], True, Outcome(Kind.OK))
    await stream.aclose()
    assert source.closed
    assert Attempt(stream.outcome, stream=stream).stream is stream
    assert model_of(CHAT.body) == "m"
