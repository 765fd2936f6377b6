"""May a request be sent twice, and is its answer always the same?"""

from __future__ import annotations

import json

import pytest

from phase1.policy.repeatable import is_deterministic, question_of

CHAT = "/chat/completions"
AZURE = "/deployments/gpt/chat/completions?api-version=1"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {}),
        (AZURE, {}),
        ("/completions", {}),
        ("/embeddings", {}),
        ("/moderations", {}),
        ("/responses", {"store": False}),
        (CHAT, {"store": False, "tools": None}),
        (CHAT, {"tools": [{"type": "function"}, {"type": "custom"}]}),
        ("/responses", {"store": False, "tools": [{"type": "web_search"}]}),
    ],
)
def test_what_only_asks_may_be_sent_twice(path: str, body: dict[str, object]) -> None:
    """It costs tokens, and changes nothing."""
    assert question_of("POST", path, json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/models", {}),
        ("DELETE", CHAT, {}),
        ("POST", CHAT, {"store": True}),
        ("POST", "/responses", {}),
        ("POST", "/responses", {"store": None}),
        ("POST", "/responses", {"store": False, "background": True}),
        ("POST", "/responses", {"store": False, "conversation": "conv_1"}),
        ("POST", "/responses", {"store": False, "tools": [{"type": "mcp"}]}),
        ("POST", "/responses", {"store": False, "tools": [{"type": "code_interpreter"}]}),
        ("POST", CHAT, {"tools": "all"}),
        ("POST", CHAT, {"tools": ["mcp"]}),
        ("POST", "/chat/completions/chatcmpl-1", {"metadata": {}}),
        ("POST", "/images/generations", {}),
        ("POST", "/audio/speech", {}),
        ("POST", "/files", {}),
        ("POST", "/threads/t/runs", {}),
        ("POST", "/batches", {}),
        ("POST", CHAT, []),
    ],
)
def test_everything_else_may_not(method: str, path: str, body: object) -> None:
    """What is kept, what acts, what is not known."""
    assert question_of(method, path, json.dumps(body).encode()) is None


def test_body_that_is_no_json_may_not() -> None:
    """Multipart, or broken."""
    assert question_of("POST", CHAT, b"--boundary") is None


@pytest.mark.parametrize(
    ("path", "question", "same"),
    [
        (CHAT, {"temperature": 0}, True),
        (CHAT, {"temperature": 0.0, "n": 1}, True),
        (AZURE, {"temperature": 0}, True),
        ("/embeddings", {}, True),
        ("/moderations", {}, True),
        (CHAT, {}, False),
        (CHAT, {"temperature": 0, "n": 2}, False),
        (CHAT, {"temperature": 0.1}, False),
        (CHAT, {"temperature": False}, False),
        (CHAT, {"temperature": None}, False),
        (CHAT, {"seed": 7}, False),
    ],
)
def test_deterministic_is_what_was_asked_to_be(path: str, question: dict[str, object], same: bool) -> None:  # noqa: FBT001
    """Temperature 0 and one choice; a seed alone is a wish."""
    assert is_deterministic(path, question) is same
