"""Does one connection end as it should, whatever is slow, gone or closing?"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from starlette.types import Message

from phase1.offload import frames
from phase1.offload.backend import Backend, MemoryStore
from phase1.offload.config import Config
from phase1.offload.dialects import StreamFacts, renderer
from phase1.offload.frames import End
from phase1.offload.jobs import LocalQueue
from phase1.offload.journal import START, Append, JournalUnavailable
from phase1.offload.service import Offload
from phase1.offload.streaming import JournalStream

from .stores import TIMES, config_of, new_task, until


class Manager:
    """As much of it as is looked at."""

    door_clients: dict[str, object]


class Connection:
    """A client's end."""

    def __init__(self, *, takes: int = 1_000_000) -> None:
        self.takes = takes
        self.body = b""
        self.leave = asyncio.Event()
        self.ended = False

    async def send(self, message: Message) -> None:
        """Takes so many messages, then none."""
        if self.takes == 0:
            await asyncio.Event().wait()
        self.takes -= 1
        self.body += message.get("body", b"")
        self.ended = message["type"].endswith("body") and not message.get("more_body", False)

    async def receive(self) -> Message:
        """It leaves when told to."""
        await self.leave.wait()
        return {"type": "http.disconnect"}


class Scene:
    """A journal with a task that has said something, and one stream of it."""

    def __init__(self, **changes: Any) -> None:  # noqa: ANN401
        self.config: Config = config_of(times=dataclasses.replace(TIMES, **changes))
        self.store = MemoryStore(self.config)
        self.backend = Backend(self.store, LocalQueue(1), self.config, None)
        self.offload = Offload(Manager(), None, self.config, object())  # type: ignore[arg-type]

    async def begin(self) -> None:
        """One frame is there."""
        await self.store.journal.create(new_task())
        await self.store.journal.claim("t1", 1, "me")
        await self.store.journal.append([Append("t1", 1, 1, frames.encode({"t": "hello"}))])

    def stream(self, dialect: Any = "events") -> JournalStream:  # noqa: ANN401
        """From the start."""
        facts = StreamFacts(task="t1", url="/x", model="m", created=1)
        view = renderer(dialect, facts)
        return JournalStream(self.offload, self.backend, "t1", "u", after=START, renderer=view, headers={})


async def test_client_that_takes_nothing_is_let_go() -> None:
    """After `send` seconds the connection is over, and its place is free; the journal has everything."""
    scene, connection = Scene(send=0.05, poll=0.02), Connection(takes=2)
    await scene.begin()
    await asyncio.wait_for(scene.stream()({}, connection.receive, connection.send), 5)
    assert not connection.ended
    assert scene.offload.streams.total() == 0
    assert len(await scene.store.journal.read("t1", START, 10)) == 1


async def test_client_that_leaves() -> None:
    """Nothing goes on for it."""
    scene, connection = Scene(), Connection()
    await scene.begin()
    connection.leave.set()
    await asyncio.wait_for(scene.stream()({}, connection.receive, connection.send), 5)
    assert scene.offload.streams.total() == 0
    assert await scene.store.journal.watchers("t1") == 0


async def test_closing_ends_it_in_good_order() -> None:
    """A last empty chunk, no last event."""
    scene, connection = Scene(), Connection()
    await scene.begin()
    serving = asyncio.create_task(scene.stream()({}, connection.receive, connection.send))
    await until(lambda: b"hello" in connection.body)
    scene.offload.closing.set()
    await asyncio.wait_for(serving, 5)
    assert connection.ended
    assert b"response.failed" not in connection.body


@pytest.mark.parametrize("dialect", ["events", "openai"])
async def test_pings_have_one_newline(dialect: str) -> None:
    """openai-python breaks on two."""
    scene, connection = Scene(ping=0.01, poll=0.01), Connection()
    await scene.begin()
    serving = asyncio.create_task(scene.stream(dialect)({}, connection.receive, connection.send))
    await until(lambda: connection.body.count(b": ping\n") >= 3)
    await scene.store.journal.append([Append("t1", 1, 2, frames.ending(End.COMPLETED), "completed")])
    await asyncio.wait_for(serving, 5)
    assert b": ping\n\n" not in connection.body


async def test_journal_that_is_gone() -> None:
    """FLUSHALL: the reader is told that what was written is lost."""
    scene, connection = Scene(poll=0.02), Connection()
    await scene.begin()
    serving = asyncio.create_task(scene.stream()({}, connection.receive, connection.send))
    await until(lambda: b"hello" in connection.body)
    scene.store.journal._ledgers.clear()  # type: ignore[attr-defined]
    await asyncio.wait_for(serving, 5)
    assert b'"code":"journal_lost"' in connection.body
    assert connection.ended


async def test_journal_that_is_away_for_too_long() -> None:
    """An honest event, after patience."""
    scene, connection = Scene(poll=0.02, read_patience=0.1), Connection()
    await scene.begin()

    async def read(*_: object) -> None:
        raise JournalUnavailable

    scene.store.journal.read = read  # type: ignore[method-assign, assignment]
    await asyncio.wait_for(scene.stream()({}, connection.receive, connection.send), 5)
    assert b'"code":"journal_unavailable"' in connection.body


async def test_reset_in_both_dialects() -> None:
    """Natively the text begins anew; the OpenAI dialect has no word for it and ends."""
    scene = Scene(poll=0.02)
    await scene.begin()
    journal = scene.store.journal
    await journal.renew([("t1", 1)], lease_ms=0)
    await journal.reap("t1")
    await journal.claim("t1", 2, "new")
    await journal.append(
        [Append("t1", 2, 1, '{"t":"again"}'), Append("t1", 2, 2, frames.ending(End.COMPLETED), "completed")]
    )
    native, foreign = Connection(), Connection()
    await scene.stream()({}, native.receive, native.send)
    await scene.stream("openai")({}, foreign.receive, foreign.send)
    assert native.body.index(b"response.reset") < native.body.index(b"again")
    assert b'"code":"worker_lost"' in foreign.body
    assert b"again" not in foreign.body
