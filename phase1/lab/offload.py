"""What does offload look like? A chat that survives a lost connection, a killed worker, and a reader who stops it.

With Redis (`REDIS_URL`, or a redis-server on this machine) two web and two Celery worker processes are started, one of
each to be killed; without it one web process does all by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx

from phase1.lab.apps import Upstream, require_libraries
from phase1.lab.processes import LabError, Server

__all__ = ["Shown", "offload_demo"]

_QUESTION: Final = (
    "Repeat after me: a pool of endpoints under the client that the app already has, a journal that is written before"
    " anybody is told, and a stream that goes on where it was, whatever becomes of connections, workers and servers."
)
_HOME: Final = "/api/async"
_ENDS: Final = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
_PATIENCE: Final = 60.0
_CHUNK_DELAY: Final = "150"
"""Milliseconds between two pieces of the mock's answer: time enough to kill somebody in the middle."""

Say = Callable[[str], None]


@dataclass(slots=True)
class _Chat:
    """One answer, over as many connections as it takes."""

    task: str = ""
    text: str = ""
    cursor: str = "0-0"
    end: str = ""
    resets: int = 0
    error: str = ""
    first: float | None = None
    ids: list[str] = field(default_factory=list)

    def take(self, event: dict[str, Any], cursor: str) -> None:
        """One event."""
        kind = event["type"]
        if cursor != "0-0":
            self.ids.append(cursor)
        self.cursor = cursor or self.cursor
        if kind == "response.output_text.delta":
            self.text += event["delta"]
        elif kind == "response.reset":
            self.text, self.resets = "", self.resets + 1
        elif kind in _ENDS:
            self.end, self.error = kind.partition(".")[2], str(event.get("error", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was seen. `broken`: the promises that were not kept."""

    url: str
    backend: str
    broken: tuple[str, ...]


@asynccontextmanager
async def offload_demo(environment: Mapping[str, str], say: Say, *, port: int = 0) -> AsyncIterator[Shown]:
    """Show it; with the block everything ends. Raises `LabError` and `MissingExtraError`."""
    real = Upstream.real(environment)
    require_libraries(mock=real is None)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="phase1-offload-", ignore_cleanup_errors=True)))
        redis = stack.enter_context(_redis(folder, environment))
        upstream = real
        if upstream is None:
            mock = stack.enter_context(_slow_mock(folder, environment))
            await mock.healthy()
            upstream = Upstream.mocked(mock)
        variables = _variables(environment, upstream, redis)
        say(f"offload: {'two Celery workers, Redis at ' + _public(redis) if redis else 'no Redis, all in one process'}")
        first = [stack.enter_context(_worker(folder, variables, name)) for name in ("one",)] if redis else []
        web = stack.enter_context(_web(folder, variables, "web", port))
        other = stack.enter_context(_web(folder, variables, "other web", 0)) if redis else web
        for server in {web, other}:
            await server.healthy(path=f"{_HOME}/health")
        another = partial(_another, stack, folder, variables)
        broken = await _Show(web, other, say, exact=upstream.mock).run(first, another)
        yield Shown(url=f"{web.url}{_HOME}/chat", backend="celery" if redis else "memory", broken=tuple(broken))


def _another(stack: ExitStack, folder: Path, variables: Mapping[str, str]) -> None:
    stack.enter_context(_worker(folder, variables, "two"))


class _Show:
    """The acts, each with what it promises. `exact`: the same question has the same answer."""

    def __init__(self, web: Server, other: Server, say: Say, *, exact: bool) -> None:
        self._web = web
        self._other = other
        self._say = say
        self._exact = exact
        self._whole = ""
        self._broken: list[str] = []

    async def run(self, workers: list[_Worker], another: Callable[[], None]) -> list[str]:
        """All of it; what was not kept."""
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
            await _start(client, self._web, _Chat(), "hello")  # by its end all processes are warm
            await self._stream(client)
            await self._lost_connection(client)
            await self._stop_button(client)
            if workers:
                await self._killed_worker(client, workers[0], another)
        return self._broken

    def _promise(self, words: str, *, kept: bool) -> None:
        self._say(f"  {'kept  ' if kept else 'BROKEN'}  {words}")
        if not kept:
            self._broken.append(words)

    def _is_whole(self, chat: _Chat) -> bool:
        same = chat.text == self._whole if self._exact else bool(chat.text)
        return chat.end == "completed" and same and len(set(chat.ids)) == len(chat.ids)

    async def _stream(self, client: httpx.AsyncClient) -> None:
        chat = _Chat()
        await _start(client, self._web, chat, _QUESTION)
        self._whole = chat.text
        first = f"the first token after {(chat.first or 0) * 1000:.0f} ms"
        self._promise(f"a stream: {first}, then to the end", kept=chat.end == "completed")

    async def _lost_connection(self, client: httpx.AsyncClient) -> None:
        chat = _Chat()
        await _start(client, self._web, chat, _QUESTION, events=6)
        await _resume(client, self._other, chat)
        where = "at the other web process" if self._other is not self._web else "on a new connection"
        self._promise(f"a lost connection: it goes on {where}, no token lost, none twice", kept=self._is_whole(chat))

    async def _stop_button(self, client: httpx.AsyncClient) -> None:
        chat = _Chat()
        await _start(client, self._web, chat, _QUESTION, events=6)
        await client.delete(f"{self._web.url}{_HOME}/chat/stream/{chat.task}")
        await _resume(client, self._web, chat)
        self._promise("the stop button: the answer ends at once", kept=chat.end == "cancelled")

    async def _killed_worker(self, client: httpx.AsyncClient, worker: _Worker, another: Callable[[], None]) -> None:
        chat = _Chat()
        await _start(client, self._web, chat, _QUESTION, events=6)
        worker.kill()
        self._say("          a worker was killed in the middle of an answer; its lease runs out after 10 s")
        another()
        await _resume(client, self._other, chat)
        kept = self._is_whole(chat) and chat.resets == 1
        self._promise("a killed worker: another one begins anew, says so, and the answer is whole", kept=kept)


async def _start(client: httpx.AsyncClient, web: Server, chat: _Chat, text: str, *, events: int | None = None) -> None:
    started = time.perf_counter()
    async with client.stream("POST", f"{web.url}{_HOME}/chat/stream", json={"message": text}) as response:
        if response.status_code != httpx.codes.OK:
            raise LabError(f"the chat was refused: {(await response.aread()).decode()}")
        chat.task = response.headers["x-task-id"]
        await _read(response, chat, events=events, started=started)


async def _resume(client: httpx.AsyncClient, web: Server, chat: _Chat) -> None:
    until = time.monotonic() + _PATIENCE
    while not chat.end:
        if time.monotonic() > until:
            raise LabError("the answer did not end")
        url = f"{web.url}{_HOME}/chat/stream/{chat.task}"
        async with client.stream("GET", url, headers={"last-event-id": chat.cursor}) as response:
            await _read(response, chat)


async def _read(response: httpx.Response, chat: _Chat, *, events: int | None = None, started: float = 0) -> None:
    cursor, count = "", 0
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            cursor = line[4:]
        elif line.startswith("data: "):
            chat.take(json.loads(line[6:]), cursor)
            if chat.first is None and chat.text:
                chat.first = time.perf_counter() - started
            count += 1
            if count == events:
                return


def _variables(environment: Mapping[str, str], upstream: Upstream, redis: str | None) -> dict[str, str]:
    ours = ("LLM_", "ENABLE_", "FORCE_", "DISABLE_", "EMERGENCY_", "OPENAI_", "REDIS_")
    inherited = {name: value for name, value in environment.items() if not name.upper().startswith(ours)}
    told = {
        **upstream.variables,
        "ENABLE_LLM_POOL": "true",
        "LLM_OFFLOAD_SECRET": secrets.token_hex(16),
        "LLM_OFFLOAD_BACKEND": "celery" if redis else "memory",
        "NO_PROXY": "127.0.0.1",
        "C_FORCE_ROOT": "true",
    }
    return {**inherited, **told, **({"REDIS_URL": redis} if redis else {})}


def _slow_mock(folder: Path, environment: Mapping[str, str]) -> Server:
    told = {
        "LLMOCK_RESPONSE_STYLE": "echo",
        "LLMOCK_LATENCY_MS": "200",
        "LLMOCK_STREAM_CHUNK_DELAY_MS": _CHUNK_DELAY,
        "NO_PROXY": "127.0.0.1",
    }
    return Server("mock upstream", "llmock.main:app", folder=folder, environment={**environment, **told})


def _web(folder: Path, variables: Mapping[str, str], name: str, port: int) -> Server:
    return Server(name, "phase1.lab.offload_app:app", folder=folder, environment=variables, port=port)


class _Worker:
    """A Celery worker in a group of its own."""

    def __init__(self, folder: Path, variables: Mapping[str, str], name: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", "phase1.offload.worker", "worker", "--without-gossip"]
        options = ["-Q", "llm,feedback,analytics,default", "-P", "threads", "-c", "16", "-n", f"{name}@%h"]
        with (folder / f"worker-{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *options, "--without-mingle"],
                cwd=folder,
                env=dict(variables),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a crash does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def _worker(folder: Path, variables: Mapping[str, str], name: str) -> Iterator[_Worker]:
    worker = _Worker(folder, variables, name)
    try:
        yield worker
    finally:
        worker.kill()


@contextmanager
def _redis(folder: Path, environment: Mapping[str, str]) -> Iterator[str | None]:
    """The one that is there, or a private one; `None`: neither, or no library for it."""
    if not (find_spec("celery") and find_spec("redis")):
        yield None
        return
    given = environment.get("REDIS_URL", "").strip()
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if given or binary is None:
        yield given or None
        return
    port = _free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _public(url: str) -> str:
    return url.rpartition("@")[2].removeprefix("redis://")
