"""Which LLM is asked? One on a real socket that does what the question says, counts how often, and sees who hangs up.

{"n": 20}                             twenty tokens: `w0 w1 …`
{"n": 20, "at": 5, "gate": "a"}       before the sixth it waits until `model.open("a")`
{"n": 20, "gap": 0.01}                10 ms between two tokens
{"status": 500}                       that answer instead
{"n": 3, "finish": "length"}          another reason to stop
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["BOUND", "Model", "answer", "question", "running"]

BOUND = 20.0


def answer(n: int) -> str:
    """What the model says."""
    return "".join(f"w{i} " for i in range(n))


def question(**wish: object) -> str:
    """What to ask so that it does as wished."""
    return json.dumps(wish)


class _Gate:
    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()


class Model:
    """The provider; its loop runs in a thread of its own, so that tests may stand still."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        """How often each question was asked."""
        self.bodies: list[dict[str, Any]] = []
        self.hung_up = threading.Event()
        """Somebody has closed a connection in the middle of an answer."""
        self._gates: defaultdict[str, _Gate] = defaultdict(_Gate)

    def open(self, gate: str) -> None:
        """Let whoever waits there go on."""
        self._gates[gate].opened.set()

    async def reached(self, gate: str) -> None:
        """Wait until an answer is there."""
        assert await asyncio.to_thread(self._gates[gate].reached.wait, BOUND), f"nobody came to {gate}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        self.bodies.append(body)
        text = body["messages"][-1]["content"]
        self.asked[text] += 1
        try:
            wish = json.loads(text)
        except ValueError:
            wish = {"n": 3}
        if not isinstance(wish, dict):
            wish = {"n": 3}
        if "status" in wish:
            error = json.dumps({"error": {"message": f"secret of the provider: {text}", "type": "x"}}).encode()
            writer.write(
                b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                % (wish["status"], len(error))
            )
            writer.write(error)
            await writer.drain()
            return True
        await self._stream(reader, writer, wish, body)
        return True

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: dict[str, Any], body: dict[str, Any]
    ) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for i in range(wish["n"]):
            if i == wish.get("at", -1) and not await self._pass(wish["gate"], reader):
                self.hung_up.set()
                raise ConnectionError
            await self._say(writer, {"content": f"w{i} "})
            if gap := wish.get("gap"):
                await asyncio.sleep(gap)
        await self._say(writer, {}, wish.get("finish", "stop"))
        if body.get("stream_options", {}).get("include_usage"):
            usage = {"prompt_tokens": 7, "completion_tokens": wish["n"], "total_tokens": 7 + wish["n"]}
            await self._event(writer, {**_chunk({}, None), "choices": [], "usage": usage})
        _write(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _pass(self, name: str, reader: asyncio.StreamReader) -> bool:
        """Wait at a gate; whether it was opened before the client hung up."""
        gate = self._gates[name]
        gate.reached.set()
        while not gate.opened.is_set():
            if reader.at_eof():
                return False
            await asyncio.sleep(0.005)
        return True

    async def _say(self, writer: asyncio.StreamWriter, delta: dict[str, Any], finish: str | None = None) -> None:
        await self._event(writer, _chunk(delta, finish))

    async def _event(self, writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        _write(writer, b"data: " + json.dumps(event).encode() + b"\n\n")
        await writer.drain()


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


@contextmanager
def running() -> Iterator[Model]:
    """A model that listens."""
    model, loop = Model(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(model.serve, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(BOUND)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield model
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(BOUND)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND)
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
