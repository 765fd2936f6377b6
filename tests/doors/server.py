"""An app on a real server: uvicorn in a thread of its own, on a loop of one's choice."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import uvicorn

__all__ = ["Served", "serving"]

BOUND = 10.0


class _Server(uvicorn.Server):
    """Tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.up.set()


class Served:
    """Where it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@contextmanager
def serving(app: Any, loop: Literal["asyncio", "uvloop"] = "asyncio", **options: Any) -> Iterator[Served]:  # noqa: ANN401
    """Serve `app` until the end of the block."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        settings = {"lifespan": "on", "log_level": "warning", "ws": "websockets-sansio", **options}
        server = _Server(uvicorn.Config(app, loop=loop, **settings))
        thread = threading.Thread(target=server.run, args=([listening],), name="served", daemon=True)
        thread.start()
        assert server.up.wait(BOUND)
        assert server.started, "it did not start"
        try:
            yield Served(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(BOUND)
            assert not thread.is_alive(), "it does not end"
