"""What can be seen of an app from outside? Its processes, its status page, and whether anybody else is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import psutil

from phase1.lab.chaos.http import HTTPError, http_client
from phase1.lab.trial import RunningApp

__all__ = ["Liveness", "Vitals", "held_requests", "live", "vitals", "workers"]

_PERIOD: Final = 0.25
_ANSWERING: Final = 2.0
_STATUS: Final = "/debug/llm-system"
_PATH: Final = "/phase1-chaos-is-anybody-there"
"""No app has it: its 404 costs nobody anything, and comes only from a loop that turns."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Of an app's process and its children: sockets that are no connection to an endpoint, and memory in MB."""

    sockets: int = 0
    memory: float = 0.0


@dataclass(slots=True)
class Liveness:
    """How long somebody waited for another route; `slowest` of `looks`, in seconds."""

    looks: int = 0
    slowest: float = 0.0


def vitals(pid: int, *, endpoints: frozenset[int]) -> Vitals:
    """What the system says now. `endpoints`: ports to which connections may be kept alive."""
    each = [_vitals(process, endpoints) for process in _family(pid)]
    return Vitals(sockets=sum(one.sockets for one in each), memory=sum(one.memory for one in each))


def workers(pid: int) -> list[int]:
    """The processes below the supervisor `pid` that serve: those that hold its listening socket."""
    return [process.pid for process in _family(pid)[1:] if _listens(process)]


async def held_requests(app: RunningApp) -> int | None:
    """Requests, waiters and retries that the app says it holds; `None`: it says nothing."""
    try:
        async with (
            asyncio.timeout(_ANSWERING),
            http_client() as client,
            client.get(app.server.url + _STATUS, headers={"accept": "application/json"}) as answer,
        ):
            status = await answer.json()
        metrics = status["metrics"]
        held = (metrics["in_flight"], metrics["waiting"], metrics["legacy_in_flight"])
        return sum(map(int, held)) + int(status["pool"].get("retries_in_flight", 0))
    except (TimeoutError, HTTPError, ValueError, KeyError, TypeError):
        return None


@asynccontextmanager
async def live(app: RunningApp, *, patience: float) -> AsyncIterator[Liveness]:
    """Ask another route of the app all the while, as a load balancer's check does."""
    seen = Liveness()
    task = asyncio.create_task(_look(app.server.url + _PATH, seen, patience))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look(url: str, seen: Liveness, patience: float) -> None:
    async with http_client() as client:
        while True:
            started = time.monotonic()
            with suppress(HTTPError, TimeoutError):
                async with asyncio.timeout(patience):
                    async with client.get(url) as answer:
                        await answer.read()
            seen.looks += 1
            seen.slowest = max(seen.slowest, time.monotonic() - started)
            await asyncio.sleep(_PERIOD)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _vitals(process: psutil.Process, endpoints: frozenset[int]) -> Vitals:
    try:
        sockets = sum(_is_stray(connection, endpoints) for connection in process.net_connections("inet"))
        return Vitals(sockets=sockets, memory=process.memory_info().rss / 2**20)
    except psutil.Error:  # it has just ended, or is somebody else's
        return Vitals()


def _is_stray(connection: psutil._ntuples.pconn, endpoints: frozenset[int]) -> bool:
    if connection.status == psutil.CONN_LISTEN:
        return False
    kept = connection.status == psutil.CONN_ESTABLISHED and connection.raddr.port in endpoints
    return not kept


def _listens(process: psutil.Process) -> bool:
    try:
        return any(connection.status == psutil.CONN_LISTEN for connection in process.net_connections("inet"))
    except psutil.Error:
        return False
