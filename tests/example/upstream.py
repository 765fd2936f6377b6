"""What stands in for the LLM? A chat-completions server on a real socket whose answer depends on the request alone.

The text carries a digest of model and messages, so two apps that say different things upstream get different answers.
A word `upstream:<fault>` in the last message makes it fail that way.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

BOUND = 20.0
"""Seconds after which whatever waits here gives up, so that a failing test ends."""


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return self.headers["authorization"].removeprefix("Bearer ")


@dataclass(frozen=True)
class Fault:
    """An error answer."""

    status: int
    error: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def _error(status: int, type_: str, code: str | None = None, **headers: str) -> Fault:
    message = f"scripted {code or type_}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(status, {"error": {"message": message, "type": type_, "code": code, "param": None}}, named)


FAULTS = {
    "400": _error(400, "invalid_request_error"),
    "context": _error(400, "invalid_request_error", "context_length_exceeded"),
    "401": _error(401, "invalid_request_error", "invalid_api_key"),
    "403": _error(403, "invalid_request_error", "unsupported_country_region_territory"),
    "404": _error(404, "invalid_request_error", "model_not_found"),
    "422": _error(422, "invalid_request_error"),
    "429": _error(429, "requests", "rate_limit_exceeded", retry_after="7"),
    "quota": _error(429, "insufficient_quota", "insufficient_quota"),
    "500": _error(500, "server_error"),
    "503": _error(503, "server_error", retry_after="1"),
}


class Upstream:
    """`with Upstream() as upstream:` serves at `upstream.url` and remembers what it saw.

    It answers only when `together` requests wait at the same time; after `patience` seconds it gives up, for good, and
    answers 500.
    """

    def __init__(self, together: int = 1, patience: float = BOUND) -> None:
        self.seen: list[Seen] = []
        self.patience = patience
        self.barrier = threading.Barrier(together)
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def keys(self) -> set[str]:
        """Whose API keys came along."""
        return {seen.key for seen in self.seen}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.over.set()
        self.barrier.abort()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(BOUND)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    upstream: Upstream


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment per answer
    server: _Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.path, headers, json.loads(raw))
        upstream = self.server.upstream
        upstream.seen.append(seen)
        last = seen.body["messages"][-1]["content"]
        fault = re.search(r"upstream:(\w+)", last)
        self._misbehave(fault[1], upstream) if fault else self._answer_together(seen.body, upstream)

    def _answer_together(self, body: dict[str, Any], upstream: Upstream) -> None:
        try:
            upstream.barrier.wait(upstream.patience)
        except threading.BrokenBarrierError:
            self._send(500, FAULTS["500"].error)
        else:
            self._send(200, completion(body, text(body)))

    def _misbehave(self, name: str, upstream: Upstream) -> None:
        special: dict[str, Callable[[], object]] = {
            "hang": lambda: self._hang(upstream),
            "reset": self._reset,
            "empty": lambda: self._send(200, completion({}, None)),
            "html": lambda: self._write(502, b"<h1>Bad Gateway</h1>", {"content-type": "text/html"}),
        }
        if name in special:
            special[name]()
        else:
            fault = FAULTS[name]
            self._send(fault.status, fault.error, fault.headers)

    def _hang(self, upstream: Upstream) -> None:
        upstream.over.wait(BOUND)
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _send(self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._write(status, json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})})

    def _write(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silence."""


def text(body: dict[str, Any]) -> str:
    """What the model says to this request: two lines, with a digest of all that it was asked."""
    messages = body["messages"]
    digest = hashlib.sha256(json.dumps([body["model"], messages], sort_keys=True).encode()).hexdigest()[:16]
    last = messages[-1]["content"]
    return f"1. Of {len(messages)} messages ({digest}), which one matters?\n2) What follows from “{last}”?"


def completion(body: dict[str, Any], content: str | None) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body.get("model", "stub"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
