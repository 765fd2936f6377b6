"""Does anything that must stay secret come out anywhere: a page, the exposition, a log line, a repr?"""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from phase1.engine.transport import Broken
from phase1.engine.transport.mock import MockResponse
from tests.asgi.web import bench_app, browser
from tests.doors.bench import Bench, SyncLegacy, completion, failure

PAGES = [
    "/debug/llm-system",
    "/metrics/llm",
    "/metrics/llm?format=json",
    "/metrics/llm-system",
    "/metrics/llm-system?format=json",
]
SECRETS = {
    "key": "sk-plantedkey1",
    "second key": "sk-plantedkey2",
    "URL query": "planted-url-query",
    "admin token": "planted-admin-token",
    "metrics token": "planted-metrics-token",
    "redis password": "planted-redis-password",
    "prompt": "planted prompt",
    "answer": "planted answer",
    "upstream": "planted words of the upstream",
    "legacy's answer": "planted legacy answer",
    "authorization": "planted-authorization",
    "conversation": "planted-conversation",
    "user": "planted-user",
    "cookie": "planted-cookie",
}
HEADERS = {
    "authorization": f"Bearer {SECRETS['authorization']}",
    "x-conversation-id": SECRETS["conversation"],
    "x-user": SECRETS["user"],
    "cookie": f"session={SECRETS['cookie']}",
}
NODES = [
    {
        "name": "one",
        "base_url": f"http://one.test/v1?api-version={SECRETS['URL query']}",
        "api_key": SECRETS["key"],
    },
    {"name": "two", "base_url": "http://two.test/v1", "api_key": SECRETS["second key"]},
]
SETTINGS = {
    "llm_nodes": json.dumps(NODES),
    "llm_admin_token": SECRETS["admin token"],
    "llm_metrics_token": SECRETS["metrics token"],
    "redis_url": f"redis://:{SECRETS['redis password']}@redis.test/0",
    "llm_pool_debug": True,
    "log_level": "DEBUG",
    "llm_canary_key": "header:X-User",
}


def talkative_failure() -> MockResponse:
    """An upstream that repeats the key and the prompt in its error, as some do."""
    words = f"{SECRETS['upstream']}: {SECRETS['key']} said {SECRETS['prompt']}"
    body = {"error": {"message": words, "type": words, "code": words}}
    return MockResponse(
        500, [("content-type", "application/json"), ("x-request-id", words)], [json.dumps(body).encode()]
    )


def talkative_break() -> Exception:
    """A connection whose library says too much."""
    return Broken(f"{SECRETS['upstream']} {SECRETS['key']}")


ANSWERS = (
    lambda: completion(SECRETS["answer"]),
    talkative_failure,
    talkative_break,
    lambda: failure(401),
    lambda: failure(400),
    lambda: failure(500),
)


async def drive(bench: Bench, http: httpx.AsyncClient) -> list[str]:
    """A bad day; then everything that can be seen of it."""
    for _ in range(8):
        await http.get("/ask", headers=HEADERS)
    llm = bench.manager.llm(SECRETS["user"])
    seen = [repr(llm), repr(bench.manager), repr(bench.manager.settings), str(bench.manager.settings)]
    for path in PAGES:
        response = await http.get(path, headers=HEADERS)
        assert response.status_code == 200
        seen += [response.text, str(response.headers)]
    await http.post("/admin/llm-system/log-status", headers=HEADERS)
    return seen


async def test_no_secret_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither keys and tokens, nor what was said, nor who said it; with everything logged that we can log."""
    app, bench = bench_app(*ANSWERS, legacy=SyncLegacy(SECRETS["legacy's answer"]), **SETTINGS)
    with caplog.at_level(logging.INFO):
        logging.getLogger("phase1").setLevel(logging.DEBUG)
        async with bench.manager, browser(app, raises=False) as http:
            seen = await drive(bench, http)
    seen += [caplog.text, *(repr(record.args) for record in caplog.records), *map(repr, bench.ear.heard)]
    everything = "\n".join(seen)
    assert [name for name, secret in SECRETS.items() if secret in everything] == []
    assert "phase1_attempts_total" in everything
    assert "LLM system:" in everything
    assert "AttemptFinished" in caplog.text


async def test_the_check_above_would_notice() -> None:
    """What may be shown is shown: names, hosts, digests, states."""
    app, bench = bench_app(*ANSWERS, legacy=SyncLegacy(), **SETTINGS)
    async with bench.manager, browser(app, raises=False) as http:
        everything = "\n".join(await drive(bench, http))
    for text in ("one.test", "two.test", "sha256:", "server_error", "LLM_ADMIN_TOKEN", "******"):
        assert text in everything


async def test_refusals_tell_a_stranger_nothing() -> None:
    """A 401 holds neither the token that was given nor the right one."""
    app, _ = bench_app(**SETTINGS)
    async with browser(app, client=("203.0.113.9", 1), host="app.example") as http:
        response = await http.get("/debug/llm-system", headers=HEADERS)
    assert response.status_code == 401
    assert not any(secret in response.text + str(response.headers) for secret in SECRETS.values())
