"""Are two requests the same?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.fingerprint import fingerprint

SAME = {
    "scope": ("endpoints", "user", "u1"),
    "path": "/chat/completions",
    "question": {"model": "m", "messages": [{"role": "user", "content": "a secret"}]},
    "headers": [("openai-organization", "o")],
    "credentials": [("authorization", "Bearer k")],
}


def print_of(**changes: object) -> str:
    """Of the request with these changes."""
    return fingerprint(**{**SAME, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"scope": ("endpoints", "user", "u2")},
        {"scope": ("endpoints",)},
        {"scope": ("others", "user", "u1")},
        {"path": "/completions"},
        {"question": {"model": "m2", "messages": [{"role": "user", "content": "a secret"}]}},
        {"question": {"model": "m", "messages": [{"role": "user", "content": "a secret "}]}},
        {"headers": [("openai-organization", "p")]},
        {"headers": []},
        {"headers": [("openai-organization", "o"), ("x-anything", "1")]},
        {"credentials": [("authorization", "Bearer l")]},
        {"credentials": []},
        {"headers": [("openai-organization", "o"), ("authorization", "Bearer k")], "credentials": []},
    ],
)
def test_everything_that_shapes_the_answer_makes_a_difference(change: dict[str, object]) -> None:
    """Endpoints, user, path, body, header fields, key."""
    assert print_of(**change) != print_of()


@pytest.mark.parametrize(
    "field",
    ["user-agent", "x-stainless-retry-count", "traceparent", "x-request-id", "idempotency-key", "cache-control"],
)
def test_what_differs_from_call_to_call_makes_none(field: str) -> None:
    """Versions, traces, ids."""
    assert print_of(headers=[*SAME["headers"], (field, "1")]) == print_of()  # type: ignore[misc]


def test_order_makes_no_difference() -> None:
    """Of keys in JSON, and of header fields."""
    question = dict(reversed(SAME["question"].items()))  # type: ignore[attr-defined]
    fields = [("a", "1"), ("b", "2")]
    assert print_of(question=question) == print_of()
    assert print_of(headers=fields) == print_of(headers=fields[::-1])


def test_digest_shows_nothing() -> None:
    """64 digits, and no word of the prompt."""
    assert len(print_of()) == 64
    assert set(print_of()) <= set("0123456789abcdef")


PAIRS = st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3)
JSON = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3) | st.none(), max_size=3)
PARTS = st.tuples(st.lists(st.text(max_size=3), max_size=3), JSON, PAIRS)


@given(PARTS, PARTS)
def test_same_digest_same_request(one: tuple, other: tuple) -> None:  # type: ignore[type-arg]
    """However the parts are cut: nothing moves from one into the next."""

    def digest(parts: tuple) -> str:  # type: ignore[type-arg]
        scope, question, credentials = parts
        return print_of(scope=scope, question=question, headers=[], credentials=credentials)

    def plain(parts: tuple) -> object:  # type: ignore[type-arg]
        return list(parts[0]), json.dumps(parts[1], sort_keys=True), sorted(parts[2])

    assert (digest(one) == digest(other)) == (plain(one) == plain(other))
