"""Does a chat come through real Celery workers, and do the four queues do their work?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from phase1.offload.celery_app import TASKS, create_app
from phase1.offload.celery_queue import CeleryQueue
from phase1.offload.jobs import Job

from .model import Model, answer, question
from .processes import environment, web, worker
from .redis_server import RedisServer, needed_program, started
from .stores import config_of
from .web import Site, read

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def stage(shared_model: Model) -> Iterator[tuple[RedisServer, str]]:
    """A Redis, a worker for everything that streams, one for the rest, and a web process."""
    with started(needed_program()) as redis:
        env = environment(shared_model, redis)
        rest = worker(env, queues="default,feedback,analytics", pool="prefork", concurrency=2)
        with worker(env), rest, web(env) as (_, url):
            yield redis, url


@pytest.fixture
async def site(stage: tuple[RedisServer, str], model: Model) -> AsyncIterator[Site]:
    """A client."""
    client = Site(stage[1])
    yield client
    await client.aclose()


async def test_stream_through_celery(site: Site) -> None:
    """The same events as in process."""
    told = await site.chat(question(n=50))
    assert told.types == ["created", "queued", "in_progress", "output_text.delta", "completed"]
    assert told.text == answer(50)


async def test_resume_and_cancel_through_celery(site: Site, model: Model) -> None:
    """A cancel reaches the worker, which hangs up on the model."""
    told = await site.chat(question(n=9, at=3, gate="never"), events=4)
    assert (await site.http.delete(f"/chat/stream/{told.task}")).json()["status"] == "cancelling"
    await site.resume(told.task, told.cursor, told)
    assert told.types[-1] == "cancelled"
    assert await asyncio.to_thread(model.hung_up.wait, 5)


async def test_feedback_and_usage_through_celery(site: Site) -> None:
    """Sessions, the feedback queue and the analytics queue, in prefork workers."""
    await site.chat(question(n=2), session_id="s")
    async with asyncio.timeout(20):  # the reader hears the end a moment before the session is written down
        while (response := await site.post("/chat/feedback", {"session_id": "s"})).status_code == 404:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert response.status_code == 202
    done = await site.until(response.json()["task_id"], "completed")
    assert done["content"] == answer(3)
    async with asyncio.timeout(20):
        while (await site.http.get("/usage")).json().get("tasks_completed", 0) < 2:  # noqa: ASYNC110 - it polls
            await asyncio.sleep(0.05)


async def test_many_at_once_through_celery(site: Site) -> None:
    """240 of 240 first events, eight at a time."""
    gate = asyncio.Semaphore(8)

    async def one(number: int) -> bool:
        async with gate, site.stream({"message": question(n=2, nr=number)}) as response:
            told = await read(response)
            return told.events[0].type == "response.created" and told.text == answer(2)

    assert await asyncio.gather(*(one(number) for number in range(240))) == [True] * 240


class Bomb:
    """Whoever unpickles it makes a directory."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self._path,)


async def test_only_our_messages_start_something(
    site: Site, stage: tuple[RedisServer, str], model: Model, tmp_path: Path
) -> None:
    """A forged signature, and a pickle, are dropped; the worker goes on."""
    app = create_app(config_of(backend="celery", redis_url=stage[0].url))
    told = await site.chat(question(n=1))
    for signature in ("forged", ""):
        app.send_task(TASKS["chat"], args=[told.task, 1, signature], queue="llm")
    app.send_task(TASKS["chat"], args=[Bomb(str(tmp_path / "bang"))], queue="llm", serializer="pickle")
    assert (await site.chat(question(n=2))).text == answer(2)
    assert len(model.bodies) == 2
    assert not (tmp_path / "bang").exists()
    app.close()


async def test_messages_hold_no_prompt(site: Site, stage: tuple[RedisServer, str]) -> None:
    """What goes to the broker is the task's name."""
    with stage[0].client() as client, client.monitor() as monitor:
        await site.chat(question(n=1, secret="hush-hush"))
        line = ""
        while "LPUSH" not in line:
            line = str(monitor.next_command()["command"])
    assert "phase1.offload.chat" in line
    assert "hush" not in line


async def test_copies_of_a_message_are_one_run(site: Site, stage: tuple[RedisServer, str], model: Model) -> None:
    """The broker may deliver as often as it likes."""
    config = config_of(backend="celery", redis_url=stage[0].url)
    queue = CeleryQueue(config)
    told = await site.chat(question(n=5, at=2, gate="g"), events=4)
    for dispatch in (1, 1, 1, 0, 2):
        await queue.submit(Job(told.task, dispatch, "chat"))
    model.open("g")
    await site.resume(told.task, told.cursor, told)
    assert told.text == answer(5)
    assert model.asked[question(n=5, at=2, gate="g")] == 1
