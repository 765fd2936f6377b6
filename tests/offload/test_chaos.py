"""Is no token lost and none doubled, whatever dies, sleeps, forgets or is delivered twice?"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack

import httpx
import pytest

from .model import Model, answer, question
from .processes import Process, environment, web, worker
from .redis_server import RedisServer, needed_program, started
from .web import Site, Told, read

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


class Stage:
    """A Redis, two web processes, and workers as they are asked for."""

    def __init__(self, redis: RedisServer, env: dict[str, str], webs: list[tuple[Process, str]]) -> None:
        self.redis = redis
        self.env = env
        self.webs = webs


@pytest.fixture(scope="module")
def stage(shared_model: Model) -> Iterator[Stage]:
    """Kept for all tests here: what is broken is mended."""
    with ExitStack() as stack:
        redis = stack.enter_context(started(needed_program()))
        env = environment(shared_model, redis)
        yield Stage(redis, env, [stack.enter_context(web(env)) for _ in range(2)])


@pytest.fixture
async def site(stage: Stage, model: Model) -> AsyncIterator[Site]:
    """A client of the first web process."""
    client = Site(stage.webs[0][1])
    yield client
    await client.aclose()


@pytest.fixture
def workers(stage: Stage) -> Iterator[Callable[[], Process]]:
    """More workers, ended with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(worker(stage.env))


Workers = Callable[[], Process]


async def finished(site: Site, told: Told) -> Told:
    """Read on until there is a last event, however often the connection ends."""
    async with asyncio.timeout(60):
        while not told.events or told.events[-1].type not in {
            "response.completed",
            "response.failed",
            "response.cancelled",
            "response.incomplete",
        }:
            try:
                await site.resume(told.task, told.cursor, told)
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
    return told


async def test_worker_dies_before_the_first_token(site: Site, workers: Workers, model: Model) -> None:
    """Another one takes over; nobody sees more than a delay."""
    first = workers()
    text = question(n=5, at=0, gate="g")
    async with site.stream({"message": text}) as response:
        reading = asyncio.create_task(read(response))
        await model.reached("g")
        await asyncio.to_thread(first.kill9)
        await asyncio.to_thread(workers)
        model.open("g")
        told = await finished(site, await reading)
    assert told.types == ["created", "queued", "in_progress", "output_text.delta", "completed"]
    assert told.text == answer(5)
    assert model.asked[text] == 2


async def test_worker_dies_in_the_middle(site: Site, workers: Workers, model: Model) -> None:
    """The text begins anew, and says so; the OpenAI dialect, which cannot say it, ends with `worker_lost`."""
    first = workers()
    native, foreign = question(n=8, at=4, gate="a"), question(n=8, at=4, gate="b")
    told = await site.chat(native, events=4)
    async with site.stream({"message": foreign, "dialect": "openai"}) as response:
        other = await read(response, events=2)
        await model.reached("b")
        await asyncio.to_thread(first.kill9)
        model.open("a")
        model.open("b")
        await asyncio.to_thread(workers)
        await finished(site, told)
    headers, query = {"last-event-id": other.cursor}, {"dialect": "openai"}
    async with site.http.stream("GET", f"/chat/stream/{other.task}", headers=headers, params=query) as response:
        await read(response, other)
    assert told.types.count("reset") == 1
    assert told.text == answer(8)
    assert other.events[-1].data["error"]["code"] == "worker_lost"
    assert model.asked[native] == 2
    assert model.asked[foreign] == 1


async def test_zombie_is_fenced(site: Site, workers: Workers, model: Model) -> None:
    """A worker that slept through its lease wakes up, and writes nothing more."""
    zombie = workers()
    text = question(n=8, at=4, gate="g")
    told = await site.chat(text, events=4)
    await model.reached("g")
    zombie.signal(signal.SIGSTOP)
    await asyncio.to_thread(workers)
    async with asyncio.timeout(30):
        while model.asked[text] < 2:  # noqa: ASYNC110 - the new one asks
            await asyncio.sleep(0.05)
    zombie.signal(signal.SIGCONT)
    model.open("g")
    await finished(site, told)
    again = await site.resume(told.task, "0-0")
    assert told.text == again.text == answer(8)
    assert [event.id for event in again.events].count("2-0") == 1
    assert not [event for event in again.events if event.id.startswith("1-") and event.data["sequence_number"] > 9]


async def test_message_is_lost(site: Site, stage: Stage, workers: Workers) -> None:
    """Popped from the broker by somebody who died at once: the reaper sends it again."""
    async with site.stream({"message": question(n=3)}) as response:
        reading = asyncio.create_task(read(response))
        task = response.headers["x-task-id"]
        with stage.redis.client() as client:
            assert sum(client.delete(key) for key in client.scan_iter("p1c:llm*")) == 1
            client.zadd("p1:active", {task: 0})
        await asyncio.to_thread(workers)
        told = await finished(site, await reading)
    assert told.text == answer(3)
    assert "reset" not in told.types


async def test_worker_is_told_to_end(site: Site, workers: Workers, model: Model) -> None:
    """SIGTERM: what runs is finished, or somebody else does it; nothing twice."""
    first = workers()
    text = question(n=6, at=3, gate="g")
    told = await site.chat(text, events=4)
    await model.reached("g")
    first.term()
    await asyncio.to_thread(workers)
    model.open("g")
    await finished(site, told)
    assert told.text == answer(6)


async def test_redis_is_killed_and_comes_back(site: Site, stage: Stage, workers: Workers, model: Model) -> None:
    """With what its file holds; frames that it has lost are written again."""
    workers()
    text = question(n=300, gap=0.01)
    told = await site.chat(text, events=8)
    stage.redis.kill9()
    await asyncio.sleep(0.5)
    stage.redis.start()
    await finished(site, told)
    assert told.text == answer(300)
    assert model.asked[text] == 1
    assert (await site.chat(question(n=2))).text == answer(2)


async def test_redis_is_silent_for_a_while(site: Site, stage: Stage, workers: Workers, model: Model) -> None:
    """Four seconds of nothing: health says so, and the stream goes on afterwards."""
    workers()
    text = question(n=200, gap=0.01)
    told = await site.chat(text, events=8)
    stage.redis.pause()
    try:
        health = await site.http.get("/health")
        assert (health.status_code, health.json()["reason"]) == (503, "redis_unavailable")
        await asyncio.sleep(3)
    finally:
        stage.redis.resume()
    await finished(site, told)
    assert told.text == answer(200)


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_connections_are_cut(site: Site, stage: Stage, workers: Workers, model: Model, kind: str) -> None:
    """Notifications or commands: what was missed is read from the journal."""
    workers()
    async with site.stream({"message": question(n=200, gap=0.005, kind=kind)}) as response:
        told = await read(response, events=8)
        stage.redis.client_kill(kind)
    await finished(site, told)
    assert told.text == answer(200)
    assert model.asked[question(n=200, gap=0.005, kind=kind)] == 1


async def test_redis_loses_everything(site: Site, stage: Stage, workers: Workers, model: Model) -> None:
    """FLUSHALL: the reader is told, the worker hangs up on the model, and the next chat works."""
    workers()
    async with site.stream({"message": question(n=9, at=4, gate="never")}) as response:
        reading = asyncio.create_task(read(response))
        await model.reached("never")
        stage.redis.flush()
        told = await asyncio.wait_for(reading, 10)
    assert told.events[-1].data["error"]["code"] == "journal_lost"
    assert await asyncio.to_thread(model.hung_up.wait, 10)
    looked = await site.http.get(f"/chat/stream/{told.task}")
    assert looked.status_code == 410
    assert (await site.chat(question(n=2))).text == answer(2)


async def test_no_key_is_kept_for_ever(site: Site, stage: Stage, workers: Workers) -> None:
    """Everything of ours has an end, but the list of what is alive; and nothing is alive."""
    workers()
    await site.chat(question(n=2), session_id="s")
    await site.stream({"message": question(n=1)}).__aenter__()
    with stage.redis.client() as client:
        kept = [key for key in client.scan_iter("p1:*") if client.ttl(key) < 0]
    assert set(kept) <= {"p1:active"}


async def _persistent(urls: list[str], text: str, rng: random.Random) -> Told:
    """A client that resumes wherever somebody answers."""
    async with AsyncExitStack() as stack:
        sites = [Site(url) for url in urls]
        for one in sites:
            stack.push_async_callback(one.aclose)
        told = None
        async with asyncio.timeout(90):
            while told is None:
                with contextlib.suppress(httpx.HTTPError):
                    async with rng.choice(sites).stream({"message": text}) as response:
                        if response.status_code == 200:
                            told = Told(headers=dict(response.headers))
                            await read(response, told, events=rng.randint(1, 6))
            while told.types[-1:] not in (["completed"], ["failed"]):
                with contextlib.suppress(httpx.HTTPError, AssertionError):
                    await rng.choice(sites).resume(told.task, told.cursor, told, events=rng.randint(1, 9))
    return told


async def test_one_of_each_is_killed_under_load(stage: Stage, workers: Workers, model: Model) -> None:
    """Two web and two worker processes, forty chats that resume at random, one of each killed: every text is whole."""
    doomed = workers()
    workers()
    env = stage.env
    with web(env) as (doomed_web, url):
        urls = [stage.webs[0][1], url]
        chats = [
            asyncio.create_task(_persistent(urls, question(n=150, gap=0.01, nr=number), random.Random(number)))
            for number in range(12)
        ]
        async with asyncio.timeout(30):
            while len(model.bodies) < 6:  # noqa: ASYNC110 - in the middle of it
                await asyncio.sleep(0.02)
        await asyncio.to_thread(doomed.kill9)
        await asyncio.to_thread(doomed_web.kill9)
        told = await asyncio.gather(*chats)
    assert [one.text for one in told] == [answer(150)] * 12
    for one in told:
        ids = [event.id for event in one.events if event.id not in {"", "0-0"}]
        assert len(ids) == len(set(ids))


async def test_web_is_told_to_end(stage: Stage, workers: Workers, model: Model) -> None:
    """SIGTERM with open streams: they end in good order and soon, and go on at another process."""
    workers()
    text = question(n=6, at=3, gate="g")
    with web(stage.env) as (process, url):
        site, elsewhere = Site(url), Site(stage.webs[0][1])
        async with site.stream({"message": text}) as response:
            reading = asyncio.create_task(read(response))
            await model.reached("g")
            process.term()
            told = await asyncio.wait_for(reading, 20)
        assert await asyncio.to_thread(process.popen.wait, 20) == -signal.SIGTERM or process.popen.returncode == 0
        model.open("g")
        await finished(elsewhere, told)
        await site.aclose()
        await elsewhere.aclose()
    assert told.text == answer(6)
    assert "reset" not in told.types
