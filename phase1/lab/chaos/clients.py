"""What do bad clients do? They leave before the answer, or send half of a question, or come all at once.

By hand on sockets: no HTTP library leaves so rudely.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from phase1.lab.chaos.crowd import ask_once
from phase1.lab.chaos.http import http_client
from phase1.lab.chaos.scene import Scene

__all__ = ["burst", "half_requests", "resets", "walk_away"]

_MANY: Final = 40
_RUSH: Final = 100
_STRANGERS: Final = 1000
"""The number of the first user who is not one of the crowd."""
_SOON: Final = (0.01, 0.09)
"""Seconds until they leave: less than the endpoints' answer takes."""
_BREAK: Final = 0.4
"""Seconds until they come back."""
_RESET: Final = struct.pack("ii", 1, 0)


async def walk_away(scene: Scene) -> None:
    """Ask, and close the connection before the answer."""
    await _storm(scene, lambda number: _leave(scene, number, share=1.0))


async def resets(scene: Scene) -> None:
    """Ask, and have the connection reset."""
    await _storm(scene, lambda number: _leave(scene, number, share=1.0, reset=True))


async def half_requests(scene: Scene) -> None:
    """Send a part of the question, wait, and leave."""
    await _storm(scene, lambda number: _leave(scene, number, share=0.7, wait=scene.plan.seconds / 2))


async def burst(scene: Scene) -> None:
    """Ask, all in the same instant, and wait as everybody does."""
    patience = scene.plan.deadline
    async with (
        http_client() as client,
        asyncio.TaskGroup() as rush,
    ):
        for number in range(_STRANGERS, _STRANGERS + _RUSH):
            rush.create_task(
                ask_once(client, scene.app.url, scene.ask, number, patience=patience), name=f"stranger {number}"
            )


async def _storm(scene: Scene, visit: Callable[[int], Awaitable[None]]) -> None:
    async def come_and_go(number: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                await visit(number)
            await asyncio.sleep(_BREAK)

    storm = [asyncio.create_task(come_and_go(_STRANGERS + number)) for number in range(_MANY)]
    try:
        await scene.wait()
    finally:
        for client in storm:
            client.cancel()
        await asyncio.gather(*storm, return_exceptions=True)


async def _leave(scene: Scene, number: int, *, share: float, reset: bool = False, wait: float | None = None) -> None:
    request = _request(scene, number)
    _, writer = await asyncio.open_connection(*_place(scene))
    try:
        writer.write(request[: round(share * len(request))])
        await writer.drain()
        await asyncio.sleep(random.uniform(*_SOON) if wait is None else wait)
    finally:
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        writer.close()


def _place(scene: Scene) -> tuple[str, int]:
    parts = urlsplit(scene.app.url)
    return parts.hostname or "", parts.port or 0


def _request(scene: Scene, number: int) -> bytes:
    ask, body = scene.ask, scene.ask.body_of(number)
    fields = {"host": urlsplit(scene.app.url).netloc, "content-length": str(len(body)), **ask.headers_of(number)}
    lines = [f"{ask.method} {ask.route} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body
