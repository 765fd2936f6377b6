"""What happens to an app whose settings cannot be honoured?"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from asgi_lifespan import LifespanManager
from starlette.applications import Starlette
from starlette.routing import Route

import phase1
from phase1.asgi.install import installed
from phase1.asgi.middleware import Phase1Middleware
from phase1.exceptions import ConfigurationError
from tests.asgi.cases import BAD_INPUT
from tests.asgi.web import ask, browser, run_lifespan
from tests.doors.bench import SyncLegacy, settings

Env = Callable[..., None]

CASES = pytest.mark.parametrize(("variables", "problem"), BAD_INPUT.values(), ids=BAD_INPUT)
WAYS = pytest.mark.parametrize("way", ["install", "middleware", "lifespan"])


def make_app(way: str) -> Starlette:
    """An app with phase1 in it, by one of the three ways."""
    legacy = SyncLegacy()
    lifespan = phase1.lifespan(legacy=legacy) if way == "lifespan" else None
    app = Starlette(routes=[Route("/ask", ask)], lifespan=lifespan)
    if way == "install":
        phase1.install(app, legacy)
    if way == "middleware":
        app.add_middleware(Phase1Middleware, legacy=legacy)
    return app


@CASES
@WAYS
async def test_app_comes_up_on_legacy_and_says_why(
    way: str, variables: dict[str, str], problem: str, env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    """One error line that names variable, value and what is allowed; the debug page says the same; legacy answers."""
    env(ENABLE_LLM_POOL="true", **variables)
    app = make_app(way)
    async with LifespanManager(app), browser(app) as http:
        answer = (await http.get("/ask")).json()
        status = (await http.get("/debug/llm-system")).json()
    assert (answer["text"], answer["route"], answer["reason"]) == ("from legacy", "legacy", "error")
    assert (status["problem"], status["mode"]) == (problem, "legacy_mode")
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == [f"{problem}; the app runs on the legacy client"]


@CASES
@WAYS
async def test_strict_start_stops_the_app(way: str, variables: dict[str, str], problem: str, env: Env) -> None:
    """`LLM_STRICT_START=true`: `install` raises; elsewhere the server hears `startup.failed` with that line."""
    env(ENABLE_LLM_POOL="true", LLM_STRICT_START="true", **variables)
    if way == "install":
        with pytest.raises(ConfigurationError) as caught:
            make_app(way)
        assert str(caught.value) == problem
        return
    said, raised = await run_lifespan(make_app(way))
    assert [message["type"] for message in said] == ["lifespan.startup.failed"]
    assert problem in said[0]["message"].strip().splitlines()[-1]
    assert isinstance(raised, ConfigurationError)


async def test_strict_app_without_a_lifespan_refuses_each_request(env: Env) -> None:
    """With `--lifespan off` there is no start that could fail."""
    env(ENABLE_LLM_POOL="true", LLM_STRICT_START="true", LLM_POOL_SIZE="0")
    app = make_app("middleware")
    async with browser(app) as http:
        for path in ("/ask", "/missing"):
            with pytest.raises(ConfigurationError, match="LLM_POOL_SIZE=0"):
                await http.get(path)


async def test_strict_start_leaves_good_settings_alone(env: Env) -> None:
    """It is about pools that cannot start."""
    env(ENABLE_LLM_POOL="true", LLM_STRICT_START="true", OPENAI_API_KEY="sk-0123456789")
    for way in ("install", "middleware", "lifespan"):
        app = make_app(way)
        async with LifespanManager(app), browser(app) as http:
            assert (await http.get("/debug/llm-system")).json()["problem"] is None


async def test_bad_value_is_said_while_the_pool_is_off_too(env: Env, caplog: pytest.LogCaptureFixture) -> None:
    """The app runs exactly as before: inline, reason `disabled`; the mistake is found before the toggle is turned."""
    env(LLM_POOL_SIZE="0")
    app = make_app("install")
    async with browser(app) as http:
        answer = (await http.get("/ask")).json()
    assert (answer["text"], answer["reason"]) == ("from legacy", "disabled")
    assert "LLM_POOL_SIZE=0" in caplog.text


async def test_what_only_the_pool_needs_is_not_asked_for_while_it_is_off(
    env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    """No key and no readable nodes file: nobody needs them yet."""
    env(LLM_NODES_FILE="nowhere/nodes.toml", LLM_STRICT_START="true")
    app = make_app("install")
    async with browser(app) as http:
        assert (await http.get("/debug/llm-system")).json()["problem"] is None
    assert caplog.records == []


async def test_settings_given_as_an_argument_decide_alone(env: Env) -> None:
    """What the environment says about the toggle is not looked at, also when something else cannot be had."""
    env(ENABLE_LLM_POOL="true", LLM_STRICT_START="true", OPENAI_API_KEY="sk-0123456789")
    given = settings(enable_llm_pool=False, llm_strict_start=False, llm_canary_key="json:missing")
    app = Starlette(routes=[Route("/ask", ask)])
    phase1.install(app, SyncLegacy(), given)
    async with browser(app) as http:
        assert (await http.get("/ask")).json()["reason"] == "disabled"
    manager = installed(app)
    assert manager is not None
    assert manager.problem is not None


async def test_kill_switch_is_still_shown_when_the_pool_cannot_start() -> None:
    """Something that cannot be had does not hide what the operator has switched."""
    manager = phase1.LLMManager(settings(emergency_mode=True))
    manager.give_up(ConfigurationError("something is missing"))
    assert manager.status()["switches"]["emergency"] is True
    assert manager.select("user").reason == "kill_switch"


@pytest.mark.parametrize("way", ["install", "middleware"])
async def test_error_line_holds_no_secret(way: str, env: Env, caplog: pytest.LogCaptureFixture) -> None:
    """A value that might be a key is not repeated."""
    env(ENABLE_LLM_POOL="true", OPENAI_API_KEY="sk with spaces planted", LLM_ADMIN_TOKEN="short-planted")
    app = make_app(way)
    async with LifespanManager(app), browser(app) as http:
        page = (await http.get("/debug/llm-system")).text
    assert "OPENAI_API_KEY" in caplog.text
    assert "LLM_ADMIN_TOKEN" in page
    assert "planted" not in caplog.text + page
