"""Does a chat come through whole: streamed, resumed, cancelled, looked at?"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import httpx
import openai
import pytest
from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk
from starlette.applications import Starlette

from phase1.offload.config import Times

from .model import Model, answer, question
from .web import HOME, Site, Told, offload_of, read
from .web import site as site_of

MakeApp = Callable[..., Starlette]


async def test_stream_from_start_to_end(site: Site) -> None:
    """Typed events with running numbers, the whole text, and the usage."""
    told = await site.chat(question(n=20))
    assert told.types == ["created", "queued", "in_progress", "output_text.delta", "completed"]
    assert [event.data["sequence_number"] for event in told.events] == list(range(len(told.events)))
    assert told.text == answer(20)
    assert told.events[-1].data["usage"]["completion_tokens"] == 20


async def test_headers(site: Site) -> None:
    """What proxies and clients need to know."""
    told = await site.chat(question(n=1))
    assert told.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert told.headers["x-accel-buffering"] == "no"
    assert told.headers["cache-control"] == "no-cache, no-transform"
    assert told.headers["location"] == f"{HOME}/chat/stream/{told.task}"
    assert told.events[0].data["response"] | {"created_at": 0} == {
        "id": told.task,
        "url": told.headers["location"],
        "model": "m",
        "status": "queued",
        "created_at": 0,
    }


async def test_the_rest_of_the_path_is_the_apps(site: Site) -> None:
    """Only our own routes are taken."""
    assert (await site.http.get("/else")).text == "the app's own"
    assert (await site.http.get("/chat/stream/x/else")).text == "the app's own"


async def test_first_token_is_not_gathered(site: Site, model: Model) -> None:
    """It is there while the model says nothing else."""
    told = await site.chat(question(n=5, at=1, gate="g"), events=4)
    assert told.text == "w0 "
    model.open("g")
    await site.until(told.task, "completed")


async def test_resume_goes_on_where_it_was(site: Site, model: Model) -> None:
    """A dropped connection stops nothing; the cursor brings the rest, once."""
    told = await site.chat(question(n=30, at=10, gate="g"), events=4)
    model.open("g")
    await site.resume(told.task, told.cursor, told)
    assert told.text == answer(30)
    assert model.asked[question(n=30, at=10, gate="g")] == 1
    numbers = [event.data["sequence_number"] for event in told.events]
    assert numbers == list(range(len(numbers)))


async def test_resume_after_the_end(site: Site) -> None:
    """The whole stream again from the start; nothing (204) from the end."""
    told = await site.chat(question(n=5))
    again = await site.resume(told.task, "0-0")
    assert [(event.id, event.data) for event in again.events] == [(event.id, event.data) for event in told.events]
    response = await site.http.get(f"/chat/stream/{told.task}", headers={"last-event-id": told.cursor})
    assert (response.status_code, response.content) == (204, b"")
    query = await site.http.get(f"/chat/stream/{told.task}", params={"after": told.cursor})
    assert query.status_code == 204


async def test_random_resumes_are_byte_equal(site: Site) -> None:
    """Twenty times the connection breaks somewhere; every event comes once."""
    rng = random.Random(20)
    told = await site.chat(question(n=400, gap=0.002), events=3)
    for _ in range(20):
        await site.resume(told.task, told.cursor, told, events=rng.randint(1, 4))
    await site.resume(told.task, told.cursor, told)
    whole = await site.resume(told.task, "0-0")
    assert told.text == whole.text == answer(400)
    ids = [event.id for event in told.events if event.id != "0-0"]
    assert ids == sorted(set(ids), key=lambda text: tuple(map(int, text.split("-"))))


async def test_many_at_once_all_hear_the_beginning(make_app: MakeApp) -> None:
    """240 of 240 readers who come as late as they can hear the first event."""
    app = make_app(requests_per_minute=100_000, tasks_per_user=1000, streams_per_user=1000)
    async with site_of(app) as site:
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> Told:
            async with gate:
                started = await site.chat(question(n=3, nr=number), events=1)
                return await site.resume(started.task, "0-0")

        told = await asyncio.gather(*(one(number) for number in range(240)))
    assert [t.text for t in told] == [answer(3)] * 240
    assert all(t.events[0].type == "response.created" for t in told)


async def test_cancel_while_streaming(site: Site, model: Model) -> None:
    """The model is hung up on, and the stream ends by saying so."""
    async with site.stream({"message": question(n=5, at=2, gate="never")}) as response:
        told = await read(response, events=4)
        await model.reached("never")
        answered = await site.http.delete(f"/chat/stream/{told.task}")
        assert (answered.status_code, answered.json()) == (202, {"task_id": told.task, "status": "cancelling"})
    await site.resume(told.task, told.cursor, told)
    assert told.types[-1] == "cancelled"
    assert await asyncio.to_thread(model.hung_up.wait, 5)
    assert (await site.status(told.task))["status"] == "cancelled"


async def test_cancel_in_the_queue(make_app: MakeApp, model: Model) -> None:
    """Nobody has begun it: it is over at once, and never asked."""
    async with site_of(make_app(concurrency=1)) as site:
        busy = await site.chat(question(n=2, at=1, gate="g"), events=3)
        told = await site.chat(question(n=1, second=True), events=2)
        assert (await site.status(told.task))["status"] == "queued"
        cancelled = await site.post(f"/chat/stream/{told.task}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        model.open("g")
        await site.until(busy.task, "completed")
        assert model.asked[question(n=1, second=True)] == 0
        assert (await site.http.delete(f"/chat/stream/{told.task}")).json()["status"] == "done"


async def test_status_while_it_runs(site: Site, model: Model) -> None:
    """What a poller sees before and after."""
    told = await site.chat(question(n=2, at=1, gate="g"), events=4)
    running = await site.status(told.task)
    assert {key: running[key] for key in ("status", "kind", "attempt")} == {
        "status": "in_progress",
        "kind": "chat",
        "attempt": 1,
    }
    model.open("g")
    done = await site.until(told.task, "completed")
    assert done["content"] == answer(2)
    assert done["usage"]["total_tokens"] == 9


@pytest.mark.parametrize(
    ("status", "code"), [(500, "upstream_error"), (429, "rate_limited"), (400, "upstream_refused")]
)
async def test_failure_has_a_code_and_no_secret(site: Site, status: int, code: str) -> None:
    """The provider's own text stays with us."""
    told = await site.chat(question(status=status))
    last = told.events[-1]
    assert (last.type, last.data["error"]["code"]) == ("response.failed", code)
    assert "secret of the provider" not in str(last.data)
    assert (await site.status(told.task))["status"] == "failed"


async def test_cut_short_by_the_model(site: Site) -> None:
    """`length` is an end, but not a complete one."""
    told = await site.chat(question(n=3, finish="length"))
    assert told.events[-1].type == "response.incomplete"
    assert told.text == answer(3)


async def test_too_long_for_the_journal(make_app: MakeApp) -> None:
    """An answer has so many bytes; what there is of it is kept, and the end is honest."""
    async with site_of(make_app(max_bytes=2000)) as site:
        told = await site.chat(question(n=2000))
        assert told.events[-1].type == "response.incomplete"
        assert told.events[-1].data["error"]["code"] == "too_large"
        assert answer(2000).startswith(told.text)
        assert len(told.text) < 2000


async def test_own_deadline(make_app: MakeApp, model: Model) -> None:
    """A model that takes for ever ends in one timeout event."""
    times = Times(deadline=0.5, poll=0.1, reap=5)
    async with site_of(make_app(times=times)) as site:
        told = await site.chat(question(n=5, at=2, gate="never"))
        assert told.events[-1].data["error"]["code"] == "timeout"
        assert [event.type for event in told.events].count("response.failed") == 1
        assert await asyncio.to_thread(model.hung_up.wait, 5)


async def test_connection_ends_and_is_resumed(make_app: MakeApp, model: Model) -> None:
    """After its time a connection ends without a last event; the client goes on."""
    times = Times(connection=0.3, poll=0.05, ping=0.1)
    async with site_of(make_app(times=times)) as site:
        told = await site.chat(question(n=5, at=2, gate="g"))
        assert told.types[-1] == "output_text.delta"
        model.open("g")
        await site.resume(told.task, told.cursor, told)
        assert told.text == answer(5)


async def test_unread_chat_is_cancelled_if_wanted(make_app: MakeApp, model: Model) -> None:
    """LLM_OFFLOAD_ON_DISCONNECT=cancel: nobody has read it for a while."""
    times = Times(unread=0.1, poll=0.05)
    async with site_of(make_app(times=times, cancel_unread=True)) as site:
        told = await site.chat(question(n=5, at=2, gate="never"), events=3)
        state = await site.until(told.task, "cancelled")
        assert state["status"] == "cancelled"


async def test_openai_sdk_reads_the_openai_dialect(make_app: MakeApp, model: Model) -> None:
    """The SDK's own client, with ids and pings in between, gets the whole text and the usage."""
    times = Times(ping=0.02, poll=0.02, connection=30)
    async with site_of(make_app(times=times)) as site:
        client = openai.AsyncOpenAI(api_key="k", base_url=site.url + HOME, default_headers={"x-user": "ann"})
        body = {"message": question(n=40, at=20, gate="g"), "dialect": "openai"}
        stream = await client.post(
            "/chat/stream",
            cast_to=ChatCompletionChunk,
            body=body,
            stream=True,
            stream_cls=AsyncStream[ChatCompletionChunk],
        )
        text, usage, finish = "", None, None
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            if "w10 " in text and not text.endswith("w39 "):
                await asyncio.sleep(0.2)  # pings come while the gate is closed
                model.open("g")
            usage = chunk.usage or usage
        await client.close()
    assert text == answer(40)
    assert finish == "stop"
    assert usage is not None
    assert usage.completion_tokens == 40


async def test_openai_sdk_raises_on_a_failure(site: Site) -> None:
    """An error in the stream is the SDK's exception, with our code."""
    client = openai.AsyncOpenAI(api_key="k", base_url=site.url + HOME, default_headers={"x-user": "ann"})
    body = {"message": question(status=500), "dialect": "openai"}
    stream = await client.post(
        "/chat/stream", cast_to=ChatCompletionChunk, body=body, stream=True, stream_cls=AsyncStream[ChatCompletionChunk]
    )
    with pytest.raises(openai.APIError) as caught:
        async for _ in stream:
            pass
    assert caught.value.code == "upstream_error"
    await client.close()


async def test_openai_dialect_resumes(site: Site, model: Model) -> None:
    """The same cursors; the dialect may even change."""
    told = await site.chat(question(n=6, at=3, gate="g"), events=2, dialect="openai")
    model.open("g")
    headers, query = {"last-event-id": told.cursor}, {"dialect": "openai"}
    async with site.http.stream("GET", f"/chat/stream/{told.task}", headers=headers, params=query) as response:
        rest = await read(response)
    chunks = [event.data for event in (*told.events, *rest.events) if event.data != "[DONE]"]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == answer(6)
    assert rest.events[-1].data == "[DONE]"
    assert {c["id"] for c in chunks} == {f"chatcmpl-{told.task}"}


async def test_legacy_client_answers_when_the_pool_is_off(make_app: MakeApp) -> None:
    """The app's own object, whatever it is."""

    class Legacy:
        def generate_response(self, messages: list[dict[str, str]], **_: object) -> str:
            return f"legacy: {messages[-1]['content']}"

    app = make_app(settings={"enable_llm_pool": False})
    offload_of(app).manager.legacy._given = Legacy()
    async with site_of(app) as site:
        assert (await site.chat("hello")).text == "legacy: hello"


async def test_nobody_to_ask(make_app: MakeApp) -> None:
    """Pool off and no legacy client: said at the door."""
    async with site_of(make_app(settings={"enable_llm_pool": False})) as site:
        response = await site.post("/chat/stream", {"message": "hello"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "llm_not_configured")


async def test_health(site: Site) -> None:
    """What an orchestrator looks at."""
    health = await site.http.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")


async def test_emergency_refuses(make_app: MakeApp) -> None:
    """EMERGENCY_MODE: no new chats."""
    async with site_of(make_app(settings={"emergency_mode": True})) as site:
        response = await site.post("/chat/stream", {"message": "hello"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "emergency_mode")
        assert response.headers["retry-after"] == "60"
        assert (await site.http.get("/health")).status_code == 503


async def test_shutdown_ends_streams_without_an_end(make_app: MakeApp, model: Model) -> None:
    """Open streams do not hold the server up, and their readers know that they may resume."""
    app = make_app()
    async with site_of(app) as site, site.stream({"message": question(n=5, at=2, gate="g")}) as response:
        told = await read(response, events=4)
        offload_of(app).closing.set()
        await read(response, told) if not response.is_stream_consumed else None
        refused = await site.post("/chat/stream", {"message": "more"})
        assert refused.status_code == 503
        model.open("g")
    assert not any(event.type == "response.failed" for event in told.events)


async def test_methods(site: Site) -> None:
    """The usual answer to a wrong one."""
    wrong: httpx.Response = await site.http.put("/chat/stream")
    assert wrong.status_code == 405
