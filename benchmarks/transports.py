#!/usr/bin/env python
"""What does one exchange cost on each transport, in CPU of the client?

    python benchmarks/transports.py                        the table
    python benchmarks/transports.py --json results.json    and the figures of every round
    python benchmarks/transports.py --rounds 7 --calls 5000 --chunks 3000

A raw upstream runs in a process of its own, each client in another one; where the system can, the client is pinned to
core 0 and the upstream to core 1. The clients take turns, so that a slow minute of the machine hits all of them alike.
What is counted is the client process's CPU time, user and system: microseconds per call or per streamed chunk. "Apart":
chunks come a millisecond apart on each of ten streams at once, so that the client is woken for each. "In a burst": as
fast as the upstream can write them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

IN_FLIGHT = (1, 20, 100)
STREAMS = 10
REQUEST = json.dumps(
    {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Why is the sky blue? " * 10},
        ],
    }
).encode()
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Because. " * 40}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 60, "completion_tokens": 80, "total_tokens": 140},
    }
).encode()
CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'  # noqa: E501
HEADERS = (
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "AsyncOpenAI/Python 3.52.0"),
    ("x-stainless-lang", "python"),
    ("x-stainless-package-version", "3.52.0"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-runtime", "CPython"),
    ("x-stainless-runtime-version", "3.11.7"),
    ("x-stainless-async", "async:asyncio"),
    ("x-stainless-retry-count", "0"),
    ("authorization", "Bearer sk-benchmark"),
)
# As many fields as the API sends.
ANSWER_HEADERS = "".join(
    f"{name}: {value}\r\n"
    for name, value in {
        "date": "Fri, 21 Nov 2026 10:00:00 GMT",
        "openai-organization": "org",
        "openai-processing-ms": "200",
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "1999900",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-reset-tokens": "3ms",
        "x-request-id": "req_1234567890",
        "strict-transport-security": "max-age=31536000",
        "server": "raw",
    }.items()
).encode()

Call = Callable[[str], Awaitable[int]]
"""One exchange with a URL; returns how many chunks the body came in."""


# -- the upstream


class RawUpstream(asyncio.Protocol):
    """Answers every request on a connection; `/stream/N` with N chunks a millisecond apart, `/burst/N` at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self.transport = cast("asyncio.Transport", transport)
        self.seen = b""
        self.tasks: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the request is whole."""
        self.seen += data
        head, mark, body = self.seen.partition(b"\r\n\r\n")
        if not mark or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
            return
        self.seen = b""
        path = head.split(b" ", 2)[1]
        if path.startswith((b"/stream/", b"/burst/")):
            pause = 0.001 if path.startswith(b"/stream/") else 0
            task = asyncio.ensure_future(self.stream(int(path.rpartition(b"/")[2]), pause))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self.transport.write(_head(b"application/json", b"content-length: %d\r\n" % len(ANSWER)) + ANSWER)

    async def stream(self, chunks: int, pause: float) -> None:
        """A stream of events."""
        self.transport.write(_head(b"text/event-stream", b"transfer-encoding: chunked\r\n"))
        for _ in range(chunks):
            self.transport.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
            await asyncio.sleep(pause)
        self.transport.write(b"0\r\n\r\n")


def _head(content_type: bytes, length: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%b%b\r\n" % (content_type, length, ANSWER_HEADERS)


async def serve() -> None:
    """Serve until the process is ended; the port is the first line of the output."""
    server = await asyncio.get_running_loop().create_server(RawUpstream, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- the clients


@asynccontextmanager
async def raw_aiohttp(in_flight: int) -> AsyncIterator[Call]:
    """Aiohttp as its tutorial uses it."""
    import aiohttp  # noqa: PLC0415

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=max(in_flight, STREAMS))) as session:

        async def call(url: str) -> int:
            chunks = 0
            async with session.post(url, data=REQUEST, headers=HEADERS) as response:
                async for _ in response.content.iter_any():
                    chunks += 1
            return chunks

        yield call


@asynccontextmanager
async def raw_httpx(in_flight: int) -> AsyncIterator[Call]:
    """The SDK's httpx as its tutorial uses it."""
    from phase1.engine.transport.family import httpx  # noqa: PLC0415

    limits = httpx.Limits(max_connections=max(in_flight, STREAMS), max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:

        async def call(url: str) -> int:
            chunks = 0
            async with client.stream("POST", url, content=REQUEST, headers=HEADERS) as response:
                async for _ in response.aiter_bytes():
                    chunks += 1
            return chunks

        yield call


@asynccontextmanager
async def transport(name: str, in_flight: int) -> AsyncIterator[Call]:
    """One of ours."""
    from phase1.engine.transport import WireRequest  # noqa: PLC0415
    from phase1.engine.transport.choice import transport_factory  # noqa: PLC0415

    made = transport_factory(name)(in_flight, 5.0)

    async def call(url: str) -> int:
        response = await made.send(WireRequest("POST", url, HEADERS, REQUEST))
        chunks = 0
        async for _ in response.body():
            chunks += 1
        await response.aclose()
        return chunks

    yield call
    await made.aclose()


CLIENTS: dict[str, Callable[[int], contextlib.AbstractAsyncContextManager[Call]]] = {
    "raw httpx": raw_httpx,
    "httpx transport": lambda in_flight: transport("httpx", in_flight),
    "raw aiohttp": raw_aiohttp,
    "aiohttp transport": lambda in_flight: transport("aiohttp", in_flight),
}


async def measure(client: str, base: str, in_flight: int, calls: int, chunks: int) -> dict[str, float]:
    """Microseconds of CPU per call, and per chunk of a stream."""
    async with CLIENTS[client](in_flight) as call:
        left = iter(range(calls))

        async def work() -> None:
            for _ in left:
                await call(f"{base}/v1/chat/completions")

        await asyncio.gather(*(call(f"{base}/v1/chat/completions") for _ in range(in_flight)))
        began, clock = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        spent, elapsed = time.process_time() - began, time.perf_counter() - clock
        result = {"us_per_call": spent / calls * 1e6, "calls_per_s": calls / elapsed}
        for name in ("stream", "burst") if chunks else ():
            began = time.process_time()
            seen = sum(await asyncio.gather(*(call(f"{base}/{name}/{chunks}") for _ in range(STREAMS))))
            result[f"us_per_chunk_{name}"] = (time.process_time() - began) / chunks / STREAMS * 1e6
            result[f"pieces_per_chunk_{name}"] = seen / chunks / STREAMS
        return result


# -- the comparison


def _pin(core: int) -> None:
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def _run(job: Callable[[], Coroutine[Any, Any, object]]) -> object:
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(job())
    return asyncio.run(job())


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """The upstream's base URL while its process runs."""
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None  # noqa: S101
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def compare(rounds: int, calls: int, chunks: int) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Every round's figures, by client and number in flight."""
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    with upstream() as base:
        for _ in range(rounds):
            for in_flight in IN_FLIGHT:
                for client in CLIENTS:
                    job = [client, base, str(in_flight), str(calls), str(chunks if in_flight == 1 else 0)]
                    command = [sys.executable, __file__, "--client", *job]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
                    figures = results.setdefault(client, {}).setdefault(str(in_flight), {})
                    for name, value in json.loads(done.stdout).items():
                        figures.setdefault(name, []).append(value)
    return results


def table(results: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Medians, with the spread between the rounds."""
    columns = [*(f"{n} in flight" for n in IN_FLIGHT), "per chunk, apart", "per chunk, in a burst"]
    lines = [f"| CPU, µs per call | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for client, by_flight in results.items():
        cells = [by_flight[str(n)]["us_per_call"] for n in IN_FLIGHT]
        cells += [by_flight["1"][f"us_per_chunk_{name}"] for name in ("stream", "burst")]
        lines.append(f"| {client} | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    digits = 0 if statistics.median(values) >= 10 else 1  # noqa: PLR2004
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main(argv: list[str] | None = None) -> int:
    """Compare, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.serve:
        _pin(1)
        _run(serve)
    elif asked.client:
        _pin(0)
        client, base, *numbers = asked.client
        print(json.dumps(_run(lambda: measure(client, base, *map(int, numbers)))))
    else:
        results = compare(asked.rounds, asked.calls, asked.chunks)
        print(f"Python {platform.python_version()}, {platform.machine()}, medians of {asked.rounds} rounds (min–max)\n")
        print(table(results))
        if asked.json:
            Path(asked.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
