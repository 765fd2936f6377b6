"""Is what was said remembered, shared, gathered and counted, each for its own user?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.routing import Mount

import phase1
import phase1.offload
from phase1.settings import Settings

from .model import Model, answer, question
from .web import Site
from .web import site as site_of

MakeApp = Callable[..., Starlette]


async def test_session_is_what_the_model_sees(site: Site, model: Model) -> None:
    """The second question comes with the first answer; another user's session of that name is another one."""
    await site.chat(question(n=2), session_id="s1")
    await site.chat("and now?", session_id="s1")
    assert model.bodies[-1]["messages"] == [
        {"role": "user", "content": question(n=2)},
        {"role": "assistant", "content": answer(2)},
        {"role": "user", "content": "and now?"},
    ]
    bob = site.as_user("bob")
    await bob.chat("hello", session_id="s1")
    assert len(model.bodies[-1]["messages"]) == 1


async def test_session_is_bounded(make_app: MakeApp, model: Model) -> None:
    """The last so many messages."""
    async with site_of(make_app(history=2)) as site:
        for number in range(3):
            await site.chat(question(n=1, nr=number), session_id="s")
    assert [message["content"] for message in model.bodies[-1]["messages"]] == [
        question(n=1, nr=1),
        answer(1),
        question(n=1, nr=2),
    ]


async def test_feedback(site: Site, model: Model) -> None:
    """202 and a task; its content is there when it is done."""
    await site.chat(question(n=2), session_id="s1")
    response = await site.post("/chat/feedback", {"session_id": "s1", "model": "m"})
    body = response.json()
    assert (response.status_code, set(body), body["status"]) == (202, {"task_id", "status"}, "processing")
    assert response.headers["location"].endswith(body["task_id"])
    done = await site.until(body["task_id"], "completed")
    assert (done["kind"], done["content"]) == ("feedback", answer(3))
    assert "coach" in model.bodies[-1]["messages"][-1]["content"]
    assert len(model.bodies[-1]["messages"]) == 3


async def test_feedback_on_an_unknown_session(site: Site) -> None:
    """Unknown and somebody else's look the same."""
    await site.chat(question(n=1), session_id="s1")
    bob = site.as_user("bob")
    for response in (
        await site.post("/chat/feedback", {"session_id": "s2"}),
        await bob.post("/chat/feedback", {"session_id": "s1"}),
    ):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_session")


async def test_batch(site: Site, model: Model) -> None:
    """Several questions under one name; each can also be read by itself."""
    items = [{"message": question(n=n)} for n in (1, 2, 3)]
    response = await site.post("/chat/batch", {"items": items})
    assert response.status_code == 202
    batch = response.json()
    done = await site.until(batch["task_id"], "completed")
    assert (done["kind"], done["done"], done["total"]) == ("batch", 3, 3)
    texts = [(await site.status(task))["content"] for task in batch["tasks"]]
    assert texts == [answer(1), answer(2), answer(3)]
    bob = site.as_user("bob")
    assert (await bob.http.get(f"/tasks/{batch['task_id']}")).status_code in {404, 410}
    empty = await site.post("/chat/batch", {"items": []})
    assert (empty.status_code, empty.json()["error"]["param"]) == (422, "items")


async def test_equal_questions_share_one_answer(make_app: MakeApp, model: Model) -> None:
    """While it runs they read it together; afterwards it is there; another user has an answer of their own."""
    async with site_of(make_app(cache_seconds=60)) as site:
        text = question(n=4, at=2, gate="g")
        first = await site.chat(text, events=4)
        second = await site.chat(text, events=4)
        assert first.task == second.task
        model.open("g")
        third = await site.resume(first.task, "0-0")
        fourth = await site.chat(text)
        assert fourth.task == first.task
        assert third.text == fourth.text == answer(4)
        assert model.asked[text] == 1
        bob = site.as_user("bob")
        assert (await bob.chat(text)).task != first.task


async def test_shared_answer_and_cancel(make_app: MakeApp, model: Model) -> None:
    """One of two readers stops reading; the other still gets it."""
    async with site_of(make_app(cache_seconds=60)) as site:
        text = question(n=4, at=2, gate="g")
        first = await site.chat(text, events=4)
        await site.chat(text, events=4)
        assert (await site.http.delete(f"/chat/stream/{first.task}")).json()["status"] == "detached"
        model.open("g")
        assert (await site.until(first.task, "completed"))["content"] == answer(4)


async def test_failed_answer_is_not_shared(make_app: MakeApp, model: Model) -> None:
    """Who comes after a failure asks anew."""
    async with site_of(make_app(cache_seconds=60)) as site:
        text = question(status=500)
        first, second = await site.chat(text), await site.chat(text)
        assert first.task != second.task
        assert model.asked[text] == 2


async def test_usage_is_counted_once(site: Site) -> None:
    """Of the day, of the user."""
    for n in (1, 2):
        told = await site.chat(question(n=n))
        await site.until(told.task, "completed")
    async with asyncio.timeout(5):
        while (used := (await site.http.get("/usage")).json()).get("tasks") != 2:  # noqa: ASYNC110 - it polls
            await asyncio.sleep(0.01)
    assert used["completion_tokens"] == 3
    bob = site.as_user("bob")
    assert "tasks" not in (await bob.http.get("/usage")).json()


async def test_router_mounted_by_hand(model: Model) -> None:
    """`app.mount(path, phase1.offload.router)` in an app that has phase1."""
    app = Starlette(routes=[Mount("/elsewhere", app=phase1.offload.router)])
    settings = Settings.load(
        enable_llm_pool=True, openai_api_key="k", openai_base_url=model.url, llm_model="m", llm_pool_size=1
    )
    manager = phase1.install(app, settings=settings)
    import httpx

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/elsewhere/chat/stream", json={"message": question(n=2)})
        assert response.headers["location"].startswith("/elsewhere/chat/stream/")
        assert "response.completed" in response.text
    offload = manager.door_clients["phase1.offload"]
    await offload.aclose()
    await manager.aclose()
