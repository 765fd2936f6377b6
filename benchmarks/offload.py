"""What does the way through Celery cost a stream, and how many streams does one worker process carry?

    python -m benchmarks.offload                      both, about two minutes; needs redis-server
    python -m benchmarks.offload --streams 300 --seconds 30
    python -m benchmarks.offload --only first-token

First token: one request at a time, in turn directly (the endpoint streams from the pool) and through offload (Redis,
Celery, a worker, SSE); an upstream that takes 50 ms. The target: at most 10 ms more at the median.

Streams: all at once through one worker process, 30 tokens a second each. The target: 200, of which none falls behind,
that is, the last token of each is there at most a second after the upstream has sent it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from phase1.lab.machine import describe, raise_open_files

__all__ = ["main"]

ROOT = Path(__file__).resolve().parent.parent
ADDED_LIMIT = 10.0
"""Milliseconds at the median."""
BEHIND_LIMIT = 1.0
"""Seconds."""
_LATENCY = 0.05
_RATE = 30
_HOME = "/api/async"


class Upstream:
    """Sends tokens by the clock: `{"n": 600, "latency": 0.05, "gap": 0.033}` is the question."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                await self._answer(writer, json.loads(body["messages"][-1]["content"]))
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, wish: dict[str, float]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        loop = asyncio.get_running_loop()
        begin = loop.time() + wish["latency"]
        for number in range(int(wish["n"])):
            await asyncio.sleep(max(0, begin + number * wish["gap"] - loop.time()))
            # The wall clock when it was sent: what is read later knows how late it is.
            self._event(writer, {"content": f"{time.time():.4f} "}, None)
        self._event(writer, {}, "stop")
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()

    def _event(self, writer: asyncio.StreamWriter, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def _upstream() -> None:
    server = await asyncio.start_server(Upstream().serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(command: Sequence[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - ours, and redis-server
            command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(log: Path, words: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while words not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            sys.exit(f"it did not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


@contextmanager
def _stage(streams: int) -> Iterator[tuple[str, int]]:
    """Upstream, Redis, one web and one worker process; gives the address and the worker's id."""
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if redis is None:
        sys.exit("redis-server is needed: scripts/services.sh")
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        base = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        up = stack.enter_context(
            _process([sys.executable, "-m", "benchmarks.offload", "--upstream"], base, home / "up")
        )
        _wait_for(home / "up", "\n", up)
        port, web_port = _free_port(), _free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", str(home)]
        kept = stack.enter_context(_process([redis, *options], base, home / "redis"))
        _wait_for(home / "redis", "Ready to accept connections", kept)
        environment = base | {
            "ENABLE_LLM_POOL": "true",
            "OPENAI_API_KEY": "sk-x",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{(home / 'up').read_text().strip()}/v1",
            "LLM_MODEL": "m",
            "LLM_CLIENT_CONCURRENCY": "200",
            "LLM_OFFLOAD_BACKEND": "celery",
            "LLM_OFFLOAD_SECRET": "0123456789abcdef",
            "LLM_OFFLOAD_CONCURRENCY": str(streams + 10),
            "LLM_OFFLOAD_REQUESTS_PER_MINUTE": "1000000",
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "C_FORCE_ROOT": "true",
        }
        phase1 = [sys.executable, "-m", "phase1.cli"]
        worker = stack.enter_context(_process([*phase1, "worker", "--queues", "llm"], environment, home / "worker"))
        command = [sys.executable, "-m", "uvicorn", "benchmarks.apps.offload:app", "--port", str(web_port)]
        web = stack.enter_context(_process([*command, "--no-access-log"], environment, home / "web"))
        _wait_for(home / "worker", "ready.", worker)
        _wait_for(home / "web", "running on", web)
        yield f"http://127.0.0.1:{web_port}", worker.pid


async def _first_token(client: httpx.AsyncClient, path: str, number: int) -> float:
    """Milliseconds until the first token is read, whole way."""
    question = json.dumps({"n": 3, "latency": _LATENCY, "gap": 0.001, "nr": number})
    started = time.perf_counter()
    async with client.stream("POST", path, json={"message": question}, headers={"x-user": f"u{number}"}) as response:
        response.raise_for_status()
        taken = 0.0
        async for line in response.aiter_lines():
            if not taken and '"delta":' in line:
                taken = time.perf_counter() - started
    return taken * 1000


async def first_token(url: str, rounds: int) -> dict[str, float]:
    """Both ways in turn."""
    direct, offloaded = [], []
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        for number in range(-20, rounds):  # the first ones warm up
            one = await _first_token(client, "/direct", number)
            other = await _first_token(client, f"{_HOME}/chat/stream", number)
            if number >= 0:
                direct.append(one)
                offloaded.append(other)
    added = [other - one for one, other in zip(direct, offloaded, strict=True)]
    return {
        "direct_p50": statistics.median(direct),
        "offload_p50": statistics.median(offloaded),
        "added_p50": statistics.median(offloaded) - statistics.median(direct),
        "added_p95": statistics.quantiles(added, n=20)[-1],
    }


async def _follow(url: str, number: int, tokens: int) -> tuple[int, float]:
    """Read one stream raw: how many tokens came, and how late the last one was (seconds)."""
    host, port = url.removeprefix("http://").split(":")
    await asyncio.sleep(number * 0.01)
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
    message = json.dumps({"n": tokens, "latency": _LATENCY, "gap": 1 / _RATE, "nr": number})
    body = json.dumps({"message": message}).encode()
    head = f"POST {_HOME}/chat/stream HTTP/1.1\r\nhost: x\r\nx-user: u{number}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    count, sent, late = 0, 0.0, 0.0
    async for line in reader:
        if line.startswith(b"data: ") and b'"delta"' in line:
            stamps = json.loads(line[6:])["delta"].split()
            count += len(stamps)
            sent = float(stamps[-1])
            late = time.time() - sent
        elif line.startswith(b"event: response.completed"):
            break
    writer.close()
    return count, late


async def streams(url: str, number: int, seconds: int, worker: int) -> dict[str, float]:
    """All at once."""
    tokens = seconds * _RATE
    before, started = _cpu(worker), time.monotonic()
    followed = await asyncio.gather(*(_follow(url, one, tokens) for one in range(number)))
    took = time.monotonic() - started
    return {
        "streams": number,
        "tokens_each": tokens,
        "lost": sum(tokens - count for count, _ in followed),
        "late_p50": statistics.median(late for _, late in followed),
        "late_max": max(late for _, late in followed),
        "took": took,
        "worker_cpu": (_cpu(worker) - before) / took,
    }


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.offload", description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=220)
    parser.add_argument("--seconds", type=int, default=20, help="length of each stream")
    parser.add_argument("--rounds", type=int, default=200, help="requests of each kind for the first token")
    parser.add_argument("--only", choices=["first-token", "streams"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.upstream:
        raise_open_files()
        asyncio.run(_upstream())
        return 0
    raise_open_files()
    found: dict[str, object] = {"machine": describe(), "load": os.getloadavg()[0]}
    missed = []
    with _stage(options.streams) as (url, worker):
        if options.only != "streams":
            token = asyncio.run(first_token(url, options.rounds))
            found["first_token"] = token
            print(
                f"first token: direct {token['direct_p50']:.1f} ms, through Celery {token['offload_p50']:.1f} ms,"
                f" added {token['added_p50']:.1f} ms at the median, {token['added_p95']:.1f} ms at p95"
            )
            missed += ["first token"] if token["added_p50"] > ADDED_LIMIT else []
        if options.only != "first-token":
            many = asyncio.run(streams(url, options.streams, options.seconds, worker))
            found["streams"] = many
            print(
                f"streams: {many['streams']} at {_RATE} tokens/s for {options.seconds} s, {many['lost']:.0f} tokens"
                f" lost, the last one late by {many['late_p50'] * 1000:.0f} ms at the median and"
                f" {many['late_max'] * 1000:.0f} ms at most; worker {many['worker_cpu'] * 100:.0f} % of a core"
            )
            missed += ["streams"] if many["lost"] or many["late_max"] > BEHIND_LIMIT else []
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name in missed:
        print(f"target missed: {name}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
