"""How does an OpenAI-like server answer that costs next to nothing? Raw asyncio, ready-made bytes, no framework.

    python -m phase1.lab.mock.fast --latency 0.2

It tells its port in one line on stdout, and ends when its stdin does, or on SIGTERM. It reads HTTP/1.1 with a
content-length, which is what every client here sends, and knows paths by their end: `/node-2/v1/chat/completions` is
as good as `/v1/chat/completions`. `GET /requests` tells how many requests to `…/v1/…` there have been.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from phase1.lab.loops import run
from phase1.lab.machine import pin, raise_open_files
from phase1.lab.mock.bodies import CHAT, EMBEDDINGS, RESPONSE_HEADERS, RESPONSES, chat_events

__all__ = ["COUNT", "Options", "Request", "Script", "main", "parse", "serve"]

COUNT: Final = "/requests"
"""Where it tells how often it was asked."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_STREAMS = re.compile(rb'"stream"\s*:\s*true')
_MAX_HEAD = 64 * 1024
_BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Options:
    """How it answers.

    `latency`: seconds until an answer, or a stream, begins. `events`: objects in a stream; `per_write` of them leave
    together, `interval` seconds apart (0 = as fast as the other side reads).
    """

    latency: float = 0.0
    events: int = 200
    per_write: int = 1
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is needed of a request, and where the next one begins."""

    path: bytes
    streams: bool
    end: int


def parse(data: bytes) -> Request | None:
    """The request at the start of `data`; `None` = not all there yet. Raises `ValueError` for what is none of ours."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        if len(data) > _MAX_HEAD:
            raise ValueError("the head of the request is too large")
        return None
    length = _LENGTH.search(data, 0, head_end)
    body_start = head_end + 4
    end = body_start + (int(length[1]) if length else 0)
    if len(data) < end:
        return None
    return Request(_path(data), _STREAMS.search(data, body_start, end) is not None, end)


def _path(data: bytes) -> bytes:
    line = data[: data.find(b"\r\n")].split(b" ")
    if len(line) != 3:  # noqa: PLR2004 - method, path, version
        raise ValueError("no HTTP request")
    return line[1]


class Script:
    """Every answer as the bytes that are sent."""

    def __init__(self, options: Options) -> None:
        self.latency = options.latency
        self.interval = options.interval
        self._answers = {
            b"/chat/completions": _whole(200, CHAT),
            b"/responses": _whole(200, RESPONSES),
            b"/embeddings": _whole(200, EMBEDDINGS),
        }
        self._unknown = _whole(404, json.dumps({"error": {"message": "no such path", "code": 404}}).encode())
        self._asked = 0
        self.stream = _stream(options)

    def latency_of(self, request: Request) -> float:
        """Seconds until the answer."""
        return 0.0 if request.path == COUNT.encode() else self.latency

    def answer(self, request: Request) -> bytes | None:
        """A whole answer; `None` = the stream."""
        if request.path == COUNT.encode():
            return _whole(200, json.dumps({"requests": self._asked}).encode())
        self._asked += 1
        name = request.path.partition(b"/v1")[2]
        if request.streams and name == b"/chat/completions":
            return None
        return self._answers.get(name, self._unknown)


def _head(status: int, headers: dict[str, str]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in (headers | RESPONSE_HEADERS).items())
    return f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode()


def _whole(status: int, body: bytes) -> bytes:
    return _head(status, {"content-type": "application/json", "content-length": str(len(body))}) + body


def _stream(options: Options) -> tuple[bytes, ...]:
    """What is written one by one: the head, groups of events, the end."""
    head = _head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"})
    events = [b"%x\r\n%s\r\n" % (len(event), event) for event in chat_events(options.events)]
    size = options.per_write
    groups = [b"".join(events[start : start + size]) for start in range(0, len(events), size)]
    groups[-1] += b"0\r\n\r\n"
    return (head, *groups)


class Connection(asyncio.Protocol):
    """One client's connection: one request after the other."""

    __slots__ = ("_buffer", "_loop", "_paused", "_queue", "_script", "_timer", "_transport")

    def __init__(self, script: Script, loop: asyncio.AbstractEventLoop) -> None:
        self._script = script
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._queue: deque[bytes] = deque()
        self._timer: asyncio.Handle | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone is there."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Say nothing more."""
        self._transport = None
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer = data = self._buffer + data if self._buffer else data
        try:
            request = parse(data)
        except ValueError:
            self._close()
            return
        if request is not None:
            self._buffer = data[request.end :]
            self._after(self._script.latency_of(request), partial(self._answer, request))

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        if seconds:
            self._timer = self._loop.call_later(seconds, step)
        else:
            step()

    def _answer(self, request: Request) -> None:
        answer = self._script.answer(request)
        if answer is None:
            self._queue.extend(self._script.stream)
            self._write_next()
        elif self._transport is not None:
            self._transport.write(answer)

    def _write_next(self) -> None:
        if self._transport is None or self._paused or not self._queue:
            return
        self._transport.write(self._queue.popleft())
        if not self._queue:
            return
        if self._script.interval:
            self._timer = self._loop.call_later(self._script.interval, self._write_next)
        else:
            self._timer = self._loop.call_soon(self._write_next)  # the other connections have their turn

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        if self._timer is not None:
            self._timer.cancel()
        self._write_next()


async def serve(
    options: Options, *, host: str = "127.0.0.1", port: int = 0, fd: int | None = None, stays: bool = False
) -> None:
    """Listen there, or on the socket numbered `fd`, say where, and answer until stdin ends; for ever if it `stays`."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if not stays:
        loop.add_reader(sys.stdin.fileno(), _watch_stdin, ended)
    script = Script(options)
    listening = socket.create_server((host, port), backlog=_BACKLOG) if fd is None else socket.socket(fileno=fd)
    server = await loop.create_server(lambda: Connection(script, loop), sock=listening, backlog=_BACKLOG)
    try:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await ended.wait()
    finally:
        if not stays:
            loop.remove_reader(sys.stdin.fileno())
        server.close()


def _watch_stdin(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        ended.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m phase1.lab.mock.fast", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--stays", action="store_true", help="go on when stdin ends")
    parser.add_argument("--port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--fd", type=int, default=None, help="the number of a socket that listens already")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds until an answer begins")
    parser.add_argument("--events", type=int, default=200, help="objects in a stream")
    parser.add_argument("--per-write", type=int, default=1, help="events that leave together")
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between two writes of a stream")
    parser.add_argument("--core", type=int, default=None, help="the core to stay on")
    args = parser.parse_args(argv)
    raise_open_files()
    pin(args.core)
    options = Options(args.latency, max(2, args.events), max(1, args.per_write), args.interval)
    run(serve(options, host=args.host, port=args.port, fd=args.fd, stays=args.stays))
    return 0


if __name__ == "__main__":
    sys.exit(main())
