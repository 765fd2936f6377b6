"""What of an answer is compared? Read from the SDK's objects, from text, from JSON and from errors."""

from __future__ import annotations

import json
from typing import Any

import openai

from phase1.exceptions import DeadlineExceeded, PoolError
from phase1.policy.comparison import Answered
from phase1.policy.kinds import Kind

__all__ = ["of_error", "of_failure", "of_json", "of_object"]

_OK = 200
_TIMEOUTS = frozenset({Kind.FIRST_TOKEN_TIMEOUT, Kind.STALL, Kind.TIMEOUT})


def of_object(answer: object, seconds: float) -> Answered | None:
    """Of a chat completion as the SDK has it, an HTTP response, or an own client's text; `None` = of nothing else."""
    if isinstance(answer, str):
        return Answered("200", seconds, text=answer)
    if hasattr(answer, "is_stream_consumed"):
        return _of_response(answer, seconds)
    try:
        return _of_completion(answer, seconds)
    except (AttributeError, LookupError, TypeError):  # an own client's may look alike
        return None


def _of_completion(answer: Any, seconds: float) -> Answered:  # noqa: ANN401 - the SDK's
    choice, usage = answer.choices[0], getattr(answer, "usage", None)
    return Answered(
        "200",
        seconds,
        choice.finish_reason,
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
        _text_of_message(choice.message),
    )


def _of_response(response: Any, seconds: float) -> Answered | None:  # noqa: ANN401 - httpx's or httpx2's
    whole = response.is_closed and hasattr(response, "_content")
    return of_json(response.status_code, response.content, seconds) if whole else None


def _text_of_message(message: Any) -> str:  # noqa: ANN401 - the SDK's
    calls = [call.function for call in message.tool_calls or () if getattr(call, "function", None) is not None]
    return " ".join([message.content or "", *(f"{call.name} {call.arguments}" for call in calls)])


def of_error(error: Exception, seconds: float) -> Answered:
    """Of what a client has raised."""
    if isinstance(error, openai.APIStatusError):
        return Answered(str(error.status_code), seconds)
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return Answered("timeout", seconds)
    return Answered("connection" if isinstance(error, openai.APIConnectionError) else "error", seconds)


def of_failure(error: PoolError, seconds: float) -> Answered:
    """Of what the engine has raised."""
    late = isinstance(error, DeadlineExceeded) or getattr(error, "kind", None) in _TIMEOUTS
    return Answered("timeout" if late else "connection", seconds)


def of_json(status: int, body: bytes, seconds: float) -> Answered | None:
    """Of an HTTP answer; `None` = it is a 200, and no chat completion."""
    if status != _OK:
        return Answered(str(status), seconds)
    try:
        return _of_document(json.loads(body), seconds)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _of_document(document: Any, seconds: float) -> Answered:  # noqa: ANN401 - anything
    choice, usage = document["choices"][0], document.get("usage") or {}
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls") or () if "function" in call]
    words = [message.get("content") or "", *(f"{call['name']} {call['arguments']}" for call in calls)]
    return Answered(
        "200",
        seconds,
        choice.get("finish_reason"),
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        " ".join(words),
    )
