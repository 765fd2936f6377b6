"""What is refused, in which words, and does it leave no trace?"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest
from starlette.applications import Starlette

import phase1
from phase1.exceptions import ConfigurationError
from phase1.offload.config import Config, Times
from phase1.offload.hooks import Hooks
from phase1.offload.ids import Signer
from phase1.settings import Settings

from .model import Model, answer, question
from .stores import SECRET
from .web import Site, offload_of
from .web import site as site_of

MakeApp = Callable[..., Starlette]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 422, "invalid_request", "message"),
        ({"message": ""}, 422, "invalid_request", "message"),
        ({"message": 7}, 422, "invalid_request", "message"),
        ({"message": "x" * 200_001}, 422, "invalid_request", "message"),
        ({"message": "x", "user": "bob"}, 422, "invalid_request", "user"),
        ({"message": "x", "model": "gpt-secret"}, 422, "unknown_model", "model"),
        ({"message": "x", "model": ""}, 422, "invalid_request", "model"),
        ({"message": "x", "dialect": "xml"}, 422, "invalid_request", "dialect"),
        ({"message": "x", "session_id": "a b"}, 422, "invalid_request", "session_id"),
        ({"message": "x", "session_id": "a" * 129}, 422, "invalid_request", "session_id"),
        (["message"], 422, "invalid_request", "body"),
        ({"message": "x" * 300_000}, 413, "body_too_large", None),
    ],
)
async def test_bad_bodies(  # noqa: PLR0917 - a table
    site: Site, model: Model, body: object, status: int, code: str, param: str | None
) -> None:
    """Named, never quoted, nothing enqueued."""
    response = await site.post("/chat/stream", body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert "xxx" not in response.text
    assert (await site.http.get("/health")).json()["tasks"] == 0
    assert not model.bodies


async def test_unknown_model_is_told_the_others(site: Site) -> None:
    """What is allowed instead."""
    response = await site.post("/chat/stream", {"message": "x", "model": "n"})
    assert response.json()["error"]["message"] == "model 'n' is not offered; allowed: m"


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"\xff", "application/json", 400, "invalid_json"),
        (b"", "application/json", 400, "invalid_json"),
        (b'{"message":"x"}', "text/plain", 415, "unsupported_media_type"),
        (b'{"message":"x"}', "", 415, "unsupported_media_type"),
    ],
)
async def test_malformed(site: Site, content: bytes, kind: str, status: int, code: str) -> None:
    """A form of another site cannot send JSON without asking first."""
    response = await site.http.post("/chat/stream", content=content, headers={"content-type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("cursor", "status", "code"),
    [
        ("x", 400, "bad_cursor"),
        ("1-1; DROP", 400, "bad_cursor"),
        ("99999999999-1", 400, "bad_cursor"),
        ("9-1", 400, "cursor_ahead"),
        ("1-9999", 400, "cursor_ahead"),
    ],
)
async def test_bad_cursors(site: Site, cursor: str, status: int, code: str) -> None:
    """Also one from the future."""
    told = await site.chat(question(n=1))
    response = await site.http.get(f"/chat/stream/{told.task}", headers={"last-event-id": cursor})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("task", ["x", "t" * 34, "t0000000000000000000000000000000000"])
async def test_forged_ids(site: Site, task: str) -> None:
    """They die before anything is looked up."""
    for response in (
        await site.http.get(f"/tasks/{task}"),
        await site.http.get(f"/chat/stream/{task}"),
        await site.http.delete(f"/chat/stream/{task}"),
    ):
        assert response.status_code == 404
        assert response.json()["error"]["code"] in {"unknown_task", "unknown_task_here"}


async def test_foreign_tasks_do_not_exist(site: Site, model: Model) -> None:
    """Status, stream and cancel of somebody else's task: 404, and it goes on."""
    told = await site.chat(question(n=2, at=1, gate="g"), events=3)
    eve = site.as_user("eve")
    for response in (
        await eve.http.get(f"/tasks/{told.task}"),
        await eve.http.get(f"/chat/stream/{told.task}"),
        await eve.http.delete(f"/chat/stream/{told.task}"),
        await eve.post(f"/chat/stream/{told.task}/cancel"),
    ):
        assert response.status_code == 404
    model.open("g")
    assert (await site.until(told.task, "completed"))["content"] == answer(2)


async def test_expired_task(site: Site) -> None:
    """It was ours, and is no longer kept."""
    task = Signer(SECRET).new_id()
    for response in (await site.http.get(f"/tasks/{task}"), await site.http.get(f"/chat/stream/{task}")):
        assert (response.status_code, response.json()["error"]["code"]) == (410, "task_expired")


async def test_unknown_dialect_in_the_query(site: Site) -> None:
    """As in the body."""
    response = await site.http.get("/chat/stream/t", params={"dialect": "xml"})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "unknown_dialect")


async def test_visitors_are_told_apart_by_a_signed_cookie(site: Site) -> None:
    """Nobody is logged in: the browser that started it may see it, another one may not, nor one that forges."""
    first, second = site.as_user(None), site.as_user(None)
    told = await first.chat(question(n=1))
    assert "HttpOnly; SameSite=Lax" in told.headers["set-cookie"]
    assert (await first.status(told.task))["status"] == "completed"
    assert (await second.http.get(f"/tasks/{told.task}")).status_code == 404
    visitor = first.http.cookies["phase1_visitor"].partition(".")[0]
    second.http.cookies.set("phase1_visitor", f"{visitor}.forged00000")
    assert (await second.http.get(f"/tasks/{told.task}")).status_code == 404


async def test_idempotency_key_replayed(site: Site, model: Model) -> None:
    """The same body: the same task, asked once. Another body: 422. Another user: another task."""
    body = {"message": question(n=4)}
    async with site.stream(body, **{"idempotency-key": "k1"}) as first:
        await first.aread()
    async with site.stream(body, **{"idempotency-key": "k1"}) as second:
        await second.aread()
    assert first.headers["x-task-id"] == second.headers["x-task-id"]
    assert first.text == second.text
    assert model.asked[body["message"]] == 1
    other = await site.post("/chat/stream", {"message": "other"}, **{"idempotency-key": "k1"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    bob = site.as_user("bob")
    async with bob.stream(body, **{"idempotency-key": "k1"}) as third:
        await third.aread()
    assert third.headers["x-task-id"] != first.headers["x-task-id"]
    bad = await site.post("/chat/stream", body, **{"idempotency-key": "k" * 256})
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "bad_idempotency_key")


async def test_rate_limit(make_app: MakeApp) -> None:
    """A third of a minute's at once, then one by one; others are not concerned."""
    async with site_of(make_app(requests_per_minute=6)) as site:
        for _ in range(2):
            await site.chat(question(n=1))
        response = await site.post("/chat/stream", {"message": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limited")
        assert 1 <= int(response.headers["retry-after"]) <= 10
        assert response.headers["x-ratelimit-remaining"] == "0"
        bob = site.as_user("bob")
        assert (await bob.chat(question(n=1))).text == answer(1)


async def test_visitors_are_counted_by_address(make_app: MakeApp) -> None:
    """Who throws the cookie away gets no new minute."""
    async with site_of(make_app(requests_per_minute=6), user=None) as site:
        for _ in range(2):
            await site.as_user(None).chat(question(n=1))
        response = await site.post("/chat/stream", {"message": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limited")


async def test_tasks_per_user(make_app: MakeApp, model: Model) -> None:
    """So many live at once; one that is over makes room."""
    async with site_of(make_app(tasks_per_user=2)) as site:
        tasks = [(await site.chat(question(n=2, at=1, gate=f"g{i}"), events=3)).task for i in range(2)]
        response = await site.post("/chat/stream", {"message": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_tasks")
        model.open("g0")
        await site.until(tasks[0], "completed")
        assert (await site.chat(question(n=1))).text == answer(1)
        model.open("g1")


async def test_streams_per_user(make_app: MakeApp, model: Model) -> None:
    """Open connections count too, also resumed ones."""
    async with site_of(make_app(streams_per_user=1)) as site:
        async with site.stream({"message": question(n=2, at=1, gate="g")}) as response:
            task = response.headers["x-task-id"]
            refused = await site.http.get(f"/chat/stream/{task}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
            model.open("g")
        await site.until(task, "completed")


async def test_queue_full(make_app: MakeApp, model: Model) -> None:
    """503 with a time to come back, and the refused task is not counted."""
    async with site_of(make_app(queue_size=1)) as site:
        busy = await site.chat(question(n=2, at=1, gate="g"), events=3)
        response = await site.post("/chat/stream", {"message": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "queue_full")
        assert response.headers["retry-after"] == "5"
        model.open("g")
        await site.until(busy.task, "completed")
        assert (await site.http.get("/health")).json()["tasks"] == 0


async def test_task_that_waits_too_long(make_app: MakeApp, model: Model) -> None:
    """Nobody is free: it ends, and is never asked."""
    times = Times(queue_grace=0.05, reap=0.02, poll=0.05)
    async with site_of(make_app(concurrency=1, times=times)) as site:
        busy = await site.chat(question(n=2, at=1, gate="g"), events=3)
        told = await site.chat(question(n=1, waits=True))
        assert told.events[-1].data["error"]["code"] == "queue_timeout"
        model.open("g")
        await site.until(busy.task, "completed")
        assert model.asked[question(n=1, waits=True)] == 0


async def test_hooks_decide(make_app: MakeApp, model: Model) -> None:
    """The app says who asks, what the model sees and who goes first."""

    async def user(request: object) -> str:
        return "always-the-same"

    async def messages(request: object, body: object, history: object) -> list[dict[str, str]]:
        return [{"role": "system", "content": "be brief"}, {"role": "user", "content": body.message}]  # type: ignore[attr-defined]

    hooks = Hooks(user=user, messages=messages, priority=lambda request: -5)
    async with site_of(make_app(hooks=hooks), user=None) as site:
        told = await site.chat(question(n=1))
        assert "set-cookie" not in told.headers
        assert model.bodies[-1]["messages"][0] == {"role": "system", "content": "be brief"}
        assert (await site.as_user("x").status(told.task))["status"] == "completed"


async def test_priority(make_app: MakeApp, model: Model) -> None:
    """0 goes before 9."""
    hooks = Hooks(user=lambda request: "ann", priority=lambda request: int(request.headers.get("x-priority", "6")))
    async with site_of(make_app(hooks=hooks, concurrency=1)) as site:
        busy = await site.chat(question(n=2, at=1, gate="g"), events=3)
        tasks = []
        for priority in ("9", "0"):
            async with site.stream({"message": question(n=1, p=priority)}, **{"x-priority": priority}) as response:
                tasks.append(response.headers["x-task-id"])
        model.open("g")
        for task in (busy.task, *tasks):
            await site.until(task, "completed")
        asked = [body["messages"][-1]["content"] for body in model.bodies]
        assert asked[1:] == [question(n=1, p="0"), question(n=1, p="9")]


async def test_spare_backend_while_redis_is_away(model: Model) -> None:
    """LLM_OFFLOAD_FALLBACK=memory: chats run in the web process; without it they are refused, and health says so."""
    from .stores import config_of
    from .web import app_of

    away = {"backend": "redis", "redis_url": "redis://:hush@127.0.0.1:1/0", "prefix": "x:"}
    async with site_of(app_of(model, config_of(**away, spare=True))) as site:
        told = await site.chat(question(n=9))
        assert told.text == answer(9)
        assert told.task.startswith("m")
        assert (await site.status(told.task))["status"] == "completed"
        health = await site.http.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
    async with site_of(app_of(model, config_of(**away))) as site:
        response = await site.post("/chat/stream", {"message": "x"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "queue_unavailable")
        assert response.headers["retry-after"] == "2"
        assert "hush" not in response.text
        health = await site.http.get("/health")
        assert (health.status_code, health.json()["reason"]) == (503, "redis_unavailable")
        looked = await site.http.get(f"/tasks/{Signer(SECRET).new_id()}")
        assert (looked.status_code, looked.json()["error"]["code"]) == (503, "journal_unavailable")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"llm_offload_backend": "redis"}, "LLM_OFFLOAD_SECRET is not set"),
        ({"llm_offload_backend": "celery", "llm_offload_secret": "0123456789abcdef"}, "REDIS_URL is not set"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, object], words: str) -> None:
    """Said at start, with the variable's name."""
    with pytest.raises(ConfigurationError, match=words):
        phase1.install(Starlette(), settings=Settings.load(**settings), offload=True)


def test_config_of_settings() -> None:
    """Every setting arrives."""
    settings = Settings.load(
        llm_offload_backend="redis",
        llm_offload_secret="0123456789abcdef",
        redis_url="redis://h/1",
        redis_pool_max_connections=9,
        llm_offload_concurrency=3,
        llm_offload_queue_size=4,
        llm_offload_models="a, b",
        llm_model="a",
        llm_offload_requests_per_minute=5,
        llm_offload_tasks_per_user=6,
        llm_offload_on_disconnect="cancel",
        llm_offload_cache_seconds=7,
        llm_offload_fallback="memory",
        chat_history_limit_default=8,
    )
    assert dataclasses.replace(Config.of(settings), times=Times()) == Config(
        backend="redis",
        secret=SECRET,
        redis_url="redis://h/1",
        redis_connections=9,
        concurrency=3,
        queue_size=4,
        models=("a", "b"),
        default_model="a",
        requests_per_minute=5,
        tasks_per_user=6,
        cancel_unread=True,
        cache_seconds=7,
        spare=True,
        history=8,
    )


def test_models_of_the_nodes_are_offered() -> None:
    """Not told otherwise, callers may ask for what the nodes know."""
    nodes = '[{"name":"a","base_url":"http://h/v1","api_key":"k","models":{"x":"y"}}]'
    assert Config.of(Settings.load(llm_model="m", llm_nodes=nodes)).models == ("m", "x")
    assert Config.of(Settings.load()).models == ()


async def test_twice_is_once(make_app: MakeApp) -> None:
    """`install` again changes nothing."""
    app = make_app()
    offload = offload_of(app)
    phase1.install(app, offload=True)
    assert offload_of(app) is offload
    await asyncio.sleep(0)
