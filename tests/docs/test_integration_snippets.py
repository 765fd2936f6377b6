"""Does every Python block of INTEGRATION.md run, and does it do what the text beside it promises?"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from phase1.policy.canary import Canary

from . import apps
from .conftest import Run
from .pages import INTEGRATION

if TYPE_CHECKING:
    from llmock.pytest_plugin import LLMock

MOMENT = 0.2
"""Seconds that the stub takes where calls are to overlap."""
USERS = 3
BLOCKS = INTEGRATION.named("python")
OFF_AND_ON = pytest.mark.parametrize("pool", [False, True], ids=["off", "on"])


async def ask(served: apps.Served, path: str = "/ask", **headers: str) -> httpx.Response:
    """One question."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await served.http.post(path, params={"question": "hello"}, headers=named)


async def ask_at_once(served: apps.Served, path: str, **params: str) -> list[int]:
    """The statuses that some users get who ask at the same time."""
    answers = await asyncio.gather(*(served.http.post(path, params=params) for _ in range(USERS)))
    return [answer.status_code for answer in answers]


def test_every_block_has_a_name_and_a_test() -> None:
    """No Python block is there that nobody runs, and no test is for one that is gone."""
    unnamed = [block.text for block in INTEGRATION.blocks if block.language == "python" and block.kind != "python"]
    tested = set(re.findall(r"""(?:run\(|BLOCKS\[)\s*"([a-z-]+)\"""", inspect.getsource(sys.modules[__name__])))
    assert unnamed == []
    assert tested == BLOCKS.keys()


@pytest.mark.parametrize("name", BLOCKS)
def test_block_is_as_ruff_would_write_it(name: str, tmp_path: Path) -> None:
    """Readers copy it: no unused import, no undefined name, formatted."""
    path = tmp_path / "main.py"
    path.write_text(BLOCKS[name], encoding="utf-8")
    for command in (["check", "--select=E,F,I"], ["format", "--check"]):
        isolated = ["--isolated", "--line-length=120", "--no-cache", str(path)]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *isolated], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


async def test_two_lines_off_are_the_app_as_it_was(run: Run, upstream: LLMock) -> None:
    """The very object comes back, and one call after the other is made."""
    upstream.delay(0.05, times=None)
    async with run("two-lines", pool=False) as served:
        assert served.module is not None
        statuses = await ask_at_once(served, "/ask", question="hello")
        assert type(served.module.client) is openai.OpenAI
    assert statuses == [200] * USERS
    assert apps.peak(upstream.requests) == 1


async def test_two_lines_on_suspend_only_their_own_request(run: Run, upstream: LLMock) -> None:
    """The calls overlap, all through the pool, and nothing blocks."""
    upstream.delay(MOMENT, times=None)
    async with run("two-lines", pool=True) as served:
        assert await ask_at_once(served, "/ask", question="hello") == [200] * USERS
        metrics = await served.metrics()
    assert apps.peak(upstream.requests) > 1
    assert (metrics["calls"], metrics["blocking_sites"]) == ({"ok": USERS}, {})


async def test_one_parameter_off_asks_the_wrapper_inline(run: Run, upstream: LLMock) -> None:
    """One after the other, by the legacy object; the counts of week 1 are there."""
    upstream.delay(0.05, times=None)
    async with run("one-parameter", pool=False) as served:
        assert await ask_at_once(served, "/chat", message="hello") == [200] * USERS
        status = await served.status()
    assert apps.peak(upstream.requests) == 1
    assert status["system_status"]["legacy_client_exists"] is True
    assert (status["mode"], status["problem"]) == ("legacy_mode", None)
    assert (status["metrics"]["calls"], status["metrics"]["legacy_calls"]) == ({}, {"ok": USERS})
    assert status["metrics"]["seconds"]["legacy"]["count"] == USERS


async def test_one_parameter_on_asks_the_pool_for_the_wrappers_model(run: Run, upstream: LLMock) -> None:
    """At the same time, and nobody had to say LLM_MODEL."""
    upstream.delay(MOMENT, times=None)
    async with run("one-parameter", pool=True) as served:
        assert await ask_at_once(served, "/chat", message="hello") == [200] * USERS
        metrics = await served.metrics()
    assert apps.peak(upstream.requests) > 1
    assert (metrics["calls"], metrics["legacy_calls"]) == ({"ok": USERS}, {})
    assert {request.model for request in upstream.requests} == {"gpt-4o-mini"}


async def test_one_parameter_falls_back_to_the_wrapper(run: Run, upstream: LLMock) -> None:
    """The pool's endpoint is down: the user has an answer, and it is counted."""
    upstream.fail(503, times=None, model=apps.POOL_MODEL)
    async with run("one-parameter", pool=True, LLM_NODES=apps.node(upstream)) as served:
        assert (await served.http.post("/chat", params={"message": "hello"})).status_code == httpx.codes.OK
        metrics = await served.metrics()
    assert (metrics["calls"], metrics["fallbacks"]) == ({"server_error": 1}, {"server_error": 1})


async def test_without_any_model_legacy_answers(run: Run, upstream: LLMock) -> None:
    """What `Fallback reason configuration` says, and its remedy."""

    def nameless(text: str) -> str:
        return text.replace("self.model = ", "self._name = ").replace("self.model", "self._name")

    async with run("one-parameter", pool=True, edit=nameless) as served:
        await served.http.post("/chat", params={"message": "hello"})
        assert (await served.metrics())["fallbacks"] == {"configuration": 1}
    async with run("one-parameter", pool=True, edit=nameless, LLM_MODEL="gpt-4o-mini") as served:
        await served.http.post("/chat", params={"message": "hello"})
        assert (await served.metrics())["fallbacks"] == {}


def test_logging_shows_the_status_line(upstream: LLMock, env: Callable[..., None], tmp_path: Path) -> None:
    """In a process of its own, where nobody else has configured logging."""
    env(ENABLE_LLM_POOL="true")
    path = tmp_path / "main.py"
    path.write_text(BLOCKS["logging"], encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    assert " INFO phase1 LLM system: pool, canary 100 %, " in done.stderr


async def test_middleware_added_first_is_innermost(run: Run) -> None:
    """The app's own middleware works, and nothing blocks; nor does it when phase1 is added last, outside."""
    line = "app.add_middleware(phase1.Phase1Middleware)"
    async with run("middleware", pool=True) as served:
        assert (await ask(served)).headers["x-version"] == "1"
        metrics = await served.metrics()
    assert (metrics["calls"], metrics["blocking_sites"]) == ({"ok": 1}, {})
    async with run("middleware", pool=True, edit=lambda text: text.replace(line, "") + f"\n{line}\n") as served:
        await ask(served)
        metrics = await served.metrics()
    assert (metrics["calls"], metrics["blocking_sites"]) == ({"ok": 1}, {})


@OFF_AND_ON
async def test_lifespan_keeps_the_apps_own_state(*, pool: bool, run: Run) -> None:
    """What the app's lifespan yields arrives unchanged, and the pool is up around it."""
    legacy = "phase1.lifespan(my_lifespan, legacy=type('Old', (), {'generate_response': lambda self, m: 'old'})())"
    settings = {"LLM_MODEL": "gpt-4o-mini"}
    async with run(
        "lifespan", pool=pool, edit=lambda text: text.replace("phase1.lifespan(my_lifespan)", legacy), **settings
    ) as served:
        state, answer = (await ask(served)).json()
        assert (await served.status())["system_status"]["phase1_initialized"] is True
    assert (state, answer == "old") == ("open", not pool)


async def test_starlette_asks_by_the_request(run: Run) -> None:
    """An app without dependencies has its client."""
    async with run("starlette", pool=True, LLM_MODEL="gpt-4o-mini") as served:
        assert (await ask(served)).status_code == httpx.codes.OK
        assert (await served.metrics())["calls"] == {"ok": 1}


async def test_mounted_apps_share_or_keep_their_own(run: Run) -> None:
    """/shop is the outer app's; /support has its own pool from the first request on, and its own page."""
    async with run("mounted", pool=True, LLM_MODEL="gpt-4o-mini") as served:
        before = (await served.http.get("/support/debug/llm-system")).json()["system_status"]["phase1_initialized"]
        answers = [await ask(served, path) for path in ("/shop/ask", "/support/ask", "/support/ask")]
        outer = await served.metrics()
        support = (await served.http.get("/support/debug/llm-system")).json()
        shop = await served.http.get("/shop/debug/llm-system")
        assert served.module is not None
        await served.module.phase1.install(served.module.support).aclose()
    assert [answer.status_code for answer in answers] == [200] * 3
    assert (before, support["system_status"]["phase1_initialized"]) == (False, True)
    assert (outer["calls"], support["metrics"]["calls"]) == ({"ok": 1}, {"ok": 2})
    assert shop.status_code == httpx.codes.NOT_FOUND


async def test_any_asgi_app_can_be_wrapped(run: Run) -> None:
    """Its doors find the pool by the request's context, and the pages are there; `--lifespan off` is enough."""
    async with run("asgi", pool=True, lifespan=False) as served:
        answer = await served.http.get("/")
        assert (answer.status_code, bool(answer.text)) == (200, True)
        assert (await served.metrics())["calls"] == {"ok": 1}
        await served.app.manager.aclose()


async def test_script_opens_and_closes_its_own_manager(
    upstream: LLMock, env: Callable[..., None], tmp_path: Path
) -> None:
    """An answer through the pool, without any app."""
    env(ENABLE_LLM_POOL="true", LLM_NODES=apps.node(upstream))
    with apps.imported(BLOCKS["script"], tmp_path) as module:
        assert await module.main()
    assert [request.model for request in upstream.requests] == [apps.POOL_MODEL]


@OFF_AND_ON
async def test_langchain_goes_through_the_http_clients(*, pool: bool, run: Run) -> None:
    """Sync and async, without blocking; off, both are ordinary."""
    pytest.importorskip("langchain_openai")
    async with run("http-client", pool=pool) as served:
        answers = [await ask(served, path) for path in ("/sync", "/async")]
        metrics = await served.metrics()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert (metrics["calls"], metrics["blocking_sites"]) == ({"ok": 2} if pool else {}, {})


@OFF_AND_ON
async def test_call_runs_in_a_thread_only_with_the_pool(*, pool: bool, run: Run, upstream: LLMock) -> None:
    """On, calls overlap; off, the function runs inline and they do not."""
    upstream.delay(MOMENT if pool else 0.05, times=None)
    async with run("call", pool=pool) as served:
        assert await ask_at_once(served, "/summary", text="long") == [200] * USERS
        assert (await served.metrics())["blocking_sites"] == {}
    assert (apps.peak(upstream.requests) > 1) is pool


@OFF_AND_ON
async def test_iterate_streams_to_the_end(*, pool: bool, run: Run, upstream: LLMock) -> None:
    """All chunks arrive, in a generator that Starlette reads in a task of its own, and every place is given back."""
    upstream.reply("one two three", times=None)
    async with run("iterate", pool=pool) as served:
        answers = await asyncio.gather(*(ask(served, "/stream") for _ in range(USERS)))
        metrics = await served.metrics()
    assert {answer.text for answer in answers} == {"one two three"}
    assert (metrics["calls"], metrics["in_flight"]) == ({"ok": USERS} if pool else {}, 0)
    assert metrics["blocking_sites"] == {}


@OFF_AND_ON
async def test_relay_hands_on_the_providers_events(*, pool: bool, run: Run, upstream: LLMock) -> None:
    """The browser gets what the SDK would have read, up to the last word."""
    upstream.reply("one two three", times=None)
    async with run("relay", pool=pool) as served:
        answer = await ask(served, "/events")
        metrics = await served.metrics()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    words = [choice["delta"].get("content") or "" for event in events[:-1] for choice in json.loads(event)["choices"]]
    assert "".join(words) == "one two three"
    assert metrics["in_flight"] == 0


async def test_a_plain_generator_streams_too(run: Run, upstream: LLMock) -> None:
    """The other remedy for `NoPortal`: `def` instead of `async def`."""

    def plain(text: str) -> str:
        return text.replace("async def words", "def words").replace(
            "async for chunk in phase1.iterate(chunks)", "for chunk in chunks"
        )

    upstream.reply("one two three")
    async with run("iterate", pool=True, edit=plain) as served:
        assert (await ask(served, "/stream")).text == "one two three"


def side(user: int, percent: float) -> str:
    """Where the user belongs."""
    canary = Canary(percent)
    return "pool" if canary.covers(canary.bucket(str(user))) else "legacy"


async def routes_of_users(served: apps.Served) -> list[Any]:
    """Key, route and reason of twenty users, each asked for once."""
    return [(await ask(served, "/route", x_user_id=str(user))).json() for user in range(20)]


async def test_user_key_is_sticky_and_needs_a_key(run: Run) -> None:
    """At 50 % both sides are there, each user stays on one, and without a key it is legacy."""
    async with run("user-key", pool=True, LLM_CANARY_PERCENT="50") as served:
        first, second = await routes_of_users(served), await routes_of_users(served)
        without = (await ask(served, "/route")).json()
    assert first == second == [[str(user), side(user, 50), "split"] for user in range(20)]
    assert {route for _, route, _ in first} == {"pool", "legacy"}
    assert without == [None, "legacy", "default"]


async def test_llm_for_keys_by_the_apps_own_user(run: Run) -> None:
    """A user whom the dependency knows by a number is on the same side as by `user_key`."""
    async with run("llm-for", pool=True, LLM_CANARY_PERCENT="50") as served:
        routes = await routes_of_users(served)
    assert routes == [[str(user), side(user, 50), "split"] for user in range(20)]


async def test_openfeature_asks_for_the_route(run: Run) -> None:
    """Without a key at 50 %, and with everybody in."""
    async with run("openfeature", pool=True, LLM_CANARY_PERCENT="50") as served:
        assert (await ask(served, "/route")).json() == ["legacy", "DEFAULT"]
    async with run("openfeature", pool=True, LLM_CANARY_PERCENT="100") as served:
        assert (await ask(served, "/route")).json() == ["pool", "DEFAULT"]


async def test_errors_of_a_full_pool_become_an_answer(run: Run, upstream: LLMock) -> None:
    """The code and the seconds that the table names."""
    upstream.delay(MOMENT, times=None)
    tiny = {"LLM_POOL_SIZE": "1", "LLM_CLIENT_CONCURRENCY": "1", "LLM_QUEUE_SIZE": "0"}
    async with run("errors", pool=True, LLM_MODEL="gpt-4o-mini", **tiny) as served:
        answers = await asyncio.gather(ask(served), ask(served))
    assert sorted(answer.status_code for answer in answers) == [200, 503]
    refused = max(answers, key=lambda answer: answer.status_code)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("phase1_queue_full", "1")


@OFF_AND_ON
async def test_asyncio_lock_may_be_held_across_a_call(*, pool: bool, run: Run, upstream: LLMock) -> None:
    """Every turn is in the history, and the loop stays free."""
    upstream.delay(0.02, times=None)
    async with run("lock", pool=pool) as served:
        lengths = [answer.json() for answer in await asyncio.gather(*(ask(served) for _ in range(USERS)))]
    assert sorted(lengths) == [2, 4, 6]


def test_stage_counts_where_the_app_says_so() -> None:
    """Outside of a request it changes nothing."""
    namespace: dict[str, Any] = {}
    exec(BLOCKS["stages"], namespace)  # noqa: S102 - the guide's own lines

    class Session:
        def load(self, user_id: str) -> list[dict[str, str]]:
            return [{"role": "user", "content": user_id}]

    assert namespace["history_of"](Session(), "u") == [{"role": "user", "content": "u"}]


async def test_tasks_of_an_endpoint_use_call(run: Run, upstream: LLMock) -> None:
    """Both calls at the same time and nothing blocks; pooled clients need no `call` for it."""
    upstream.delay(MOMENT, times=None)
    async with run("tasks", pool=True) as served:
        answer = await served.http.post("/both", params={"first": "a", "second": "b"})
        assert (await served.metrics())["blocking_sites"] == {}
    assert (len(answer.json()), apps.peak(upstream.requests)) == (2, 2)

    def in_tasks(text: str) -> str:
        start = "async def blocking(question: str) -> str:\n    return ask(question)\n\n\n@app.post"
        return text.replace("phase1.call(ask, ", "blocking(").replace("@app.post", start)

    async with run("tasks", pool=True, edit=in_tasks) as served:
        answer = await served.http.post("/both", params={"first": "a", "second": "b"})
        assert (await served.metrics())["blocking_sites"] == {}
    assert (len(answer.json()), apps.peak(upstream.requests)) == (2, 2)


async def test_a_client_with_its_own_http_client_is_left_alone(
    run: Run, upstream: LLMock, caplog: pytest.LogCaptureFixture
) -> None:
    """It works as before, the log says so, and phase1's own client with options is the remedy."""
    caplog.set_level(logging.WARNING, logger="phase1")

    def own(text: str) -> str:
        return text.replace("OpenAI())", "OpenAI(http_client=DefaultHttpxClient(timeout=30)))").replace(
            "import OpenAI", "import DefaultHttpxClient, OpenAI"
        )

    def ours(text: str) -> str:
        return text.replace("phase1.adopt(OpenAI())", "OpenAI(http_client=phase1.http_client(timeout=30))")

    async with run("two-lines", pool=True, edit=own) as served:
        assert (await ask(served)).status_code == httpx.codes.OK
        assert (await served.metrics())["calls"] == {}
    async with run("two-lines", pool=True, edit=ours) as served:
        assert (await ask(served)).status_code == httpx.codes.OK
        assert (await served.metrics())["calls"] == {"ok": 1}
    assert any(re.search(r"its own http_client= \(\w+\) is left alone", line) for line in caplog.messages)


async def test_offload_streams_and_resumes(run: Run, upstream: LLMock, env: Callable[..., None]) -> None:
    """The hook says whose chat it is; another user does not find it."""
    env(LLM_MODEL="gpt-4o-mini")
    async with run("offload", pool=True) as served:
        started = await served.http.post("/api/async/chat/stream", json={"message": "hello"}, headers={"x-user": "ann"})
        assert "response.completed" in started.text
        path = started.headers["location"]
        again = await served.http.get(path, headers={"x-user": "ann", "last-event-id": "0-0"})
        assert again.text == started.text
        assert (await served.http.get(path, headers={"x-user": "bob"})).status_code == httpx.codes.NOT_FOUND


@OFF_AND_ON
async def test_balancer_and_pool_answer(run: Run, upstream: LLMock, *, pool: bool) -> None:
    """Whatever the toggle says."""
    upstream.reply("hi", times=None)
    async with run("balancer", pool=pool, LLM_MODEL="gpt-4o-mini") as served:
        assert (await ask(served)).json() == ["hi", "hi"]
        status = (await served.http.get("/status")).json()
    assert [node["name"] for node in status["balancer"]["nodes"]] == ["primary", "secondary"]
    assert status["pool"]["calls"] == {"ok": 1}


# --- chat endpoints ---------------------------------------------------------------------------------------------------


@OFF_AND_ON
async def test_chat_endpoint_has_its_second_way_with_the_pool_on(run: Run, upstream: LLMock, *, pool: bool) -> None:
    """Off, its own code; on, history, times, and a turn that is saved."""
    async with run("chat", pool=pool, LLM_MODEL="gpt-4o-mini") as served:
        assert served.module is not None
        answers = [(await served.http.post("/chat", json={"message": "hi"})).json() for _ in range(2)]
        with contextlib.closing(served.module.connect()) as connection:
            saved = connection.execute("SELECT message FROM logs").fetchall()
    assert [set(answer) for answer in answers] == [
        {"response", "timestamp", "performance_metrics"} if pool else {"response", "timestamp"}
    ] * 2
    assert saved == ([("hi",)] * 2 if pool else [])
    assert [len(one.body["messages"]) for one in upstream.requests] == ([2, 4] if pool else [])


async def test_agent_is_built_once_and_its_numbers_are_shown(run: Run) -> None:
    """As the text says."""
    async with run("agent", pool=False) as served:
        assert (await ask(served)).json() == "You said hello."
        await ask(served)
        page = (await served.http.get("/api/debug/agent-cache")).json()
    assert page["cache_info"] == "hits=1, misses=1, maxsize=1, currsize=1"


@OFF_AND_ON
async def test_langchain_model_answers_users_at_once(run: Run, upstream: LLMock, *, pool: bool) -> None:
    """On the pool, or over its own connections; one model for all."""
    upstream.delay(MOMENT, times=None)
    async with run("langchain", pool=pool) as served:
        assert served.module is not None
        assert await ask_at_once(served, "/ask", question="hello") == [200] * USERS
        assert (await served.metrics())["calls"] == ({"ok": USERS} if pool else {})
        model = served.module.get_model()
        model.http_client.close()
        await model.http_async_client.aclose()
    assert served.module.get_model.cache_info().misses == 1
    assert apps.peak(upstream.requests) == USERS
