"""What do client and upstream say to each other? Requests and answers of the size and shape that OpenAI's have.

Everything is made once and is the same in every run, so that all clients parse the same bytes.
"""

from __future__ import annotations

import json
from typing import Final

__all__ = [
    "ANSWER",
    "CHAT",
    "CHAT_REQUEST",
    "EMBEDDINGS",
    "EMBEDDINGS_REQUEST",
    "EMBEDDING_SIZE",
    "MESSAGES",
    "MODEL",
    "OPTIONS",
    "RESPONSES",
    "RESPONSES_REQUEST",
    "RESPONSE_HEADERS",
    "chat_events",
]

MODEL: Final = "gpt-4o-mini"
_SAVED: Final = "gpt-4o-mini-2024-07-18"
_CREATED: Final = 1_760_000_000
_SENTENCE: Final = (
    "A connection pool keeps a number of open connections at hand and lends one to each request , so that nobody has to"
    " pay for a new handshake ; when all of them are lent the next request waits its turn or is told to come again"
)
_WORDS: Final = _SENTENCE.split()

ANSWER: Final = " ".join(_WORDS * 4)
"""The text of every unary answer: about 150 tokens."""

MESSAGES: Final[list[dict[str, str]]] = [
    {"role": "system", "content": "You are the support assistant of a small company. Be brief and exact. " * 4},
    {"role": "user", "content": "What is a connection pool?"},
    {"role": "assistant", "content": " ".join(_WORDS)},
    {"role": "user", "content": "And why would I want one below my chat endpoint? " * 3},
]
OPTIONS: Final[dict[str, float]] = {"temperature": 0.2, "max_tokens": 300}

CHAT_REQUEST: Final[dict[str, object]] = {"model": MODEL, "messages": MESSAGES, **OPTIONS}
RESPONSES_REQUEST: Final[dict[str, object]] = {"model": MODEL, "input": MESSAGES, "temperature": 0.2}
EMBEDDINGS_REQUEST: Final[dict[str, object]] = {"model": "text-embedding-3-small", "input": ["a text", "another one"]}
EMBEDDING_SIZE: Final = 1536

RESPONSE_HEADERS: Final[dict[str, str]] = {
    "date": "Tue, 21 Oct 2025 12:00:00 GMT",
    "access-control-expose-headers": "X-Request-ID",
    "openai-organization": "user-0123456789",
    "openai-processing-ms": "412",
    "openai-project": "proj_0123456789",
    "openai-version": "2020-10-01",
    "x-envoy-upstream-service-time": "431",
    "x-ratelimit-limit-requests": "1000000",
    "x-ratelimit-limit-tokens": "100000000",
    "x-ratelimit-remaining-requests": "999999",
    "x-ratelimit-remaining-tokens": "99999999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "0s",
    "x-request-id": "req_0123456789abcdef0123456789abcdef",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "server": "cloudflare",
    "cf-ray": "0123456789abcdef-FRA",
    "alt-svc": 'h3=":443"; ma=86400',
}
"""The header fields of one of OpenAI's answers, without its cookies."""

_USAGE: Final = {
    "prompt_tokens": 187,
    "completion_tokens": 152,
    "total_tokens": 339,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def _embedding(index: int) -> list[float]:
    """Numbers of the length that they have in reality, always the same."""
    return [round((index + 7) * step * 2_654_435_761 % 2_000_003 / 1e8 - 0.01, 9) for step in range(EMBEDDING_SIZE)]


def _pretty(body: object) -> bytes:
    return json.dumps(body, indent=2).encode()  # as OpenAI sends it


CHAT: Final = _pretty(
    {
        "id": "chatcmpl-0123456789abcdefghijklmnopq",
        "object": "chat.completion",
        "created": _CREATED,
        "model": _SAVED,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
)

RESPONSES: Final = _pretty(
    {
        "id": "resp_0123456789abcdef0123456789abcdef0123456789abcdef",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": _SAVED,
        "output": [
            {
                "id": "msg_0123456789abcdef0123456789abcdef0123456789abcdef",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": ANSWER}],
            }
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 0.2,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 187,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 152,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 339,
        },
        "user": None,
        "metadata": {},
    }
)

EMBEDDINGS: Final = _pretty(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": _embedding(index)} for index in range(2)],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
)


def _chunk(delta: dict[str, str | None], finish_reason: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-0123456789abcdefghijklmnopq",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": _SAVED,
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        "obfuscation": "0123456789abcd",
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def chat_events(count: int) -> list[bytes]:
    """The server-sent events of one streamed chat answer: `count` objects (the first has no text), then `[DONE]`."""
    first = _chunk({"role": "assistant", "content": "", "refusal": None}, None)
    words = [_chunk({"content": f" {_WORDS[number % len(_WORDS)]}"}, None) for number in range(count - 2)]
    return [first, *words, _chunk({}, "stop"), b"data: [DONE]\n\n"]
