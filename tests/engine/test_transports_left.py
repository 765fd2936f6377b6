"""What is left of a transport that was closed in the middle of something, or dropped without being closed?"""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys

import pytest

from phase1.engine.transport import NeverSent, Transport, WireRequest
from phase1.engine.transport.choice import transport_factory

from .upstream import Upstream
from .wire import BOUND, Wire


async def test_look_up_that_is_cut_by_closing_is_never_sent(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed while the name is looked up: an error, not a cancellation, for nobody has cancelled the caller."""
    asked = asyncio.Event()

    async def silent(*args: object, **kwargs: object) -> list[object]:
        asked.set()
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    transport = transport_factory("aiohttp")(1, 5.0)
    task = asyncio.create_task(transport.send(WireRequest("POST", "http://slow.example/v1", (), b"{}")))
    await asyncio.wait_for(asked.wait(), BOUND)
    await transport.aclose()
    with pytest.raises(NeverSent):
        await task


DROPPED = """
import asyncio, gc, os, sys, warnings
from phase1.engine.transport import WireRequest
from phase1.engine.transport.choice import transport_factory
warnings.simplefilter("ignore", ResourceWarning)  # of asyncio's, of the sockets: no transport can close them any more

class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")

async def ask(transport, port):
    response = await transport.send(WireRequest("POST", f"http://127.0.0.1:{port}/", (), b"{}"))
    assert [chunk async for chunk in response.body()] == []

async def main(then):
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    box = [transport_factory(sys.argv[1])(1, 5.0)]
    port = server.sockets[0].getsockname()[1]
    await ask(box[0], port)
    return await then(box, port)
"""
ON_A_LOOP_THAT_IS_GONE = """
async def leave(box, port):
    return box

for _ in range(2):
    dropped = asyncio.run(main(leave))
    del dropped
    gc.collect()
"""
IN_A_FORKED_CHILD = """
async def fork(box, port):
    child = os.fork()
    if not child:
        box.clear()
        gc.collect()
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    await asyncio.wait_for(ask(box[0], port), 5)  # its connection is as good as before
    print("alive")
    await box[0].aclose()

asyncio.run(main(fork))
"""


@pytest.mark.parametrize("library", ["httpx", "aiohttp"])
@pytest.mark.parametrize(("script", "says"), [(ON_A_LOOP_THAT_IS_GONE, ""), (IN_A_FORKED_CHILD, "alive\n")])
def test_transport_that_was_dropped_leaves_without_a_word(library: str, script: str, says: str) -> None:
    """Where nobody could have closed it: its loop is gone, or its sockets are the parent's."""
    command = [sys.executable, "-c", DROPPED + script, library]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == (says, "")


async def _made() -> Transport:
    return transport_factory("aiohttp")(1, 5.0)


def test_transport_of_a_loop_that_is_gone_is_dropped_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """The same in this process, where warnings are errors."""
    dropped = asyncio.run(_made())
    del dropped
    gc.collect()
    assert caplog.text == ""


def test_transport_that_was_forgotten_is_complained_about(caplog: pytest.LogCaptureFixture) -> None:
    """Its connections are open on a loop that still runs: somebody should have closed it."""

    async def forget() -> None:
        async with Wire() as wire:
            transport = transport_factory("aiohttp")(1, 5.0)
            response = await transport.send(WireRequest("POST", wire.url, (), b"{}"))
            assert await response.read() == b"hello"
            del transport, response
            gc.collect()

    with caplog.at_level(logging.ERROR, logger="asyncio"), pytest.warns(ResourceWarning, match="Unclosed"):
        asyncio.run(forget())
    assert "Unclosed connection" in caplog.text
