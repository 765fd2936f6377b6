"""What does the API answer? Replies for every resource that the tests ask for, and the ways to break them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from .provider import Request

__all__ = [
    "AUDIO",
    "CHAT_STREAM",
    "DONE",
    "Reply",
    "chat",
    "error",
    "json_reply",
    "spoken",
    "sse_reply",
    "usual_answer",
    "words",
]

DONE = b"data: [DONE]\n\n"
AUDIO = bytes(range(256)) * 8
CHAT_STREAM = ("Hel", "lo")


@dataclass(frozen=True)
class Reply:
    """One answer, chunked unless its headers say how long it is. `parts`: bytes, gates and faults."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    parts: Sequence[Any] = ()


def json_reply(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A whole JSON answer."""
    body = json.dumps(payload).encode()
    fields = {"content-type": "application/json", "x-request-id": "req_1", "content-length": str(len(body))}
    return Reply(status, list({**fields, **(headers or {})}.items()), [body])


def error(status: int, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as the API writes it."""
    body = {"error": {"message": f"scripted {status}", "type": "scripted_error", "param": None, "code": code}}
    return json_reply(body, status=status, headers=headers)


def chat(text: str = "Hello") -> dict[str, Any]:
    """A whole chat completion."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}


def spoken(text: str) -> Reply:
    """A whole chat completion as a reply."""
    return json_reply(chat(text))


def words(*texts: str) -> list[bytes]:
    """The events of a chat stream, one word each; the role before them, finish reason and `[DONE]` after them."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts)]
    return [*(_chunk(delta) for delta in deltas), _chunk({}, "stop"), DONE]


def _chunk(delta: Mapping[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return _event({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def _event(payload: Mapping[str, object]) -> bytes:
    name = payload.get("type")
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(payload).encode() + b"\n\n"


def sse_reply(*parts: object) -> Reply:
    """A stream of events; gates and faults may stand between them."""
    return Reply(200, [("content-type", "text/event-stream; charset=utf-8"), ("x-request-id", "req_1")], parts)


def usual_answer(request: Request) -> Reply:
    """What the API says to a request that is well."""
    path = urlsplit(request.path).path
    if request.method == "DELETE":
        return json_reply({"id": path.rpartition("/")[2], "object": "file", "deleted": True})
    return _BINARY.get(path) or _structured(request, _without_deployment(path))


def _without_deployment(path: str) -> str:
    """Azure puts the model into the path."""
    return "/" + path.split("/", 3)[3] if path.startswith("/deployments/") else path


def _structured(request: Request, path: str) -> Reply:
    payload = _payload(request)
    if path == "/chat/completions":
        return _chat(payload)
    if path.startswith("/responses"):
        return sse_reply(*_response_events()) if payload.get("stream") else json_reply(_response("completed"))
    if path == "/files" and request.method == "GET":
        return _page(request)
    if path == "/models" and request.method == "GET":
        return json_reply({"object": "list", "data": [_MODEL, {**_MODEL, "id": "n"}]})
    return json_reply(_ANSWERS[path] if path in _ANSWERS else _ANSWERS[path.rpartition("/")[0]])


def _payload(request: Request) -> dict[str, Any]:
    is_json = (request.header("content-type") or "").startswith("application/json")
    payload: dict[str, Any] = json.loads(request.body) if is_json and request.body else {}
    return payload


def _chat(payload: Mapping[str, Any]) -> Reply:
    if payload.get("stream"):
        return sse_reply(*words(*CHAT_STREAM))
    if payload.get("tools"):
        return json_reply(_tool_call(payload["tools"][0]["function"]["name"]))
    if payload.get("response_format"):
        return spoken('{"city": "Rome", "days": 3}')
    return spoken("Hello")


def _tool_call(name: str) -> dict[str, Any]:
    completion = chat()
    call = {"id": "t1", "type": "function", "function": {"name": name, "arguments": '{"city": "Rome", "days": 3}'}}
    completion["choices"][0] |= {"finish_reason": "tool_calls"}
    completion["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
    return completion


def _page(request: Request) -> Reply:
    """Three pages of two files."""
    after = parse_qs(urlsplit(request.path).query).get("after", ["f0"])[0]
    first = int(after.removeprefix("f")) + 1
    files = [{**_FILE, "id": f"f{number}"} for number in (first, first + 1)]
    return json_reply({"object": "list", "data": files, "has_more": first < 5, "first_id": f"f{first}"})


def _response(status: str) -> dict[str, Any]:
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    message = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "m",
        "output": [message] if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
    }


def _response_events() -> list[bytes]:
    where = {"item_id": "m1", "output_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    item = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "content_index": 0, "part": part},
        {"type": "response.output_text.delta", **where, "content_index": 0, "delta": "Hello", "logprobs": []},
        {"type": "response.output_text.done", **where, "content_index": 0, "text": "Hello", "logprobs": []},
        {"type": "response.completed", "response": _response("completed")},
    ]
    return [_event({**event, "sequence_number": number}) for number, event in enumerate(events)]


_MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "us"}
_FILE = {"id": "f1", "object": "file", "bytes": 4, "created_at": 1, "filename": "a.txt", "purpose": "batch"}
_BATCH = {
    "id": "b1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "f1",
    "completion_window": "24h",
    "status": "completed",
    "created_at": 1,
}
_ANSWERS: dict[str, object] = {
    "/batches": _BATCH,
    "/completions": {"id": "t1", "object": "text_completion", "created": 1, "model": "m", "choices": []},
    "/embeddings": {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    },
    "/files": _FILE,
    "/images/edits": {"created": 1, "data": [{"b64_json": "aGk="}]},
    "/images/generations": {"created": 1, "data": [{"b64_json": "aGk="}]},
    "/models": _MODEL,
    "/moderations": {"id": "mod1", "model": "m", "results": []},
    "/audio/transcriptions": {"text": "Hello"},
}
_BINARY = {
    "/audio/speech": Reply(200, [("content-type", "audio/mpeg")], [AUDIO[:100], AUDIO[100:]]),
    "/files/f1/content": Reply(200, [("content-type", "application/octet-stream")], [b"one\n", b"two\n"]),
}
