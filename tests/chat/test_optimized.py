"""When does the second way answer, and when does the endpoint's own code, as if nothing were there?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

import phase1
from phase1.chat import DatabaseTimeout, OptimizedChatResponse, optimized
from phase1.chat.progress import Stage, reach
from phase1.settings import Settings


class Question(BaseModel):
    """The body."""

    message: str


class Answer(BaseModel):
    """The app's own response model."""

    response: str


class Legacy:
    """The app's client."""

    def generate_response(self, messages: object) -> str:
        return "legacy"


def user_of(x_user: str = "u") -> str:
    """The app's own dependency."""
    return x_user


LLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_of))]
ON = {"enable_llm_pool": True, "openai_api_key": "sk-x", "openai_base_url": "http://127.0.0.1:9/v1"}


async def better(question: Question, llm: phase1.LLMClient) -> dict[str, str]:
    """The second way."""
    return {"response": f"better {question.message}"}


def app_of(second: Callable[..., Any] = better, *, install: bool = True, **settings: object) -> FastAPI:
    """An app with an endpoint of each kind."""
    app = FastAPI()

    @app.post("/ask")
    @optimized(second, switch="use_optimized_chat")
    async def ask(question: Question, llm: LLM) -> Answer:
        """The endpoint's own words."""
        return Answer(response=f"own {question.message}")

    @app.post("/blocking")
    @optimized(second, switch="use_optimized_agent")
    def blocking(question: Question, llm: LLM) -> Answer:
        return Answer(response=f"own {question.message}")

    if install:
        phase1.install(app, legacy=Legacy(), settings=Settings.load(**settings))
    return app


async def post(app: FastAPI, path: str = "/ask") -> httpx.Response:
    """One request."""
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as browser,
    ):
        return await browser.post(path, json={"message": "hi"})


@pytest.mark.parametrize(("path", "other"), [("/ask", "/blocking"), ("/blocking", "/ask")])
async def test_switches_are_each_ones_own(path: str, other: str) -> None:
    """USE_OPTIMIZED_CHAT and USE_OPTIMIZED_AGENT; the endpoint may be `async def` or `def`."""
    off = {"use_optimized_chat": path != "/ask", "use_optimized_agent": path != "/blocking"}
    app = app_of(**ON, **off)
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as browser,
    ):
        answers = [(await browser.post(one, json={"message": "hi"})).json()["response"] for one in (path, other)]
    assert answers == ["own hi", "better hi"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"enable_llm_pool": False},
        {**ON, "use_optimized_chat": False},
        {**ON, "emergency_mode": True},
        {**ON, "llm_canary_percent": 0},
    ],
    ids=["default", "pool off", "switch off", "emergency", "outside the canary"],
)
async def test_endpoint_answers_itself(settings: dict[str, Any]) -> None:
    """By default, with either switch off, in an emergency, and for users outside of the canary."""
    assert (await post(app_of(**settings))).json() == {"response": "own hi"}


@pytest.mark.parametrize("settings", [{}, {"force_legacy_llm": True}, {"disable_pool": True}], ids=str)
async def test_second_way_answers(settings: dict[str, Any]) -> None:
    """With the pool on; also while its model calls are sent to legacy: the database's work is still to be done."""
    assert (await post(app_of(**ON, **settings))).json() == {"response": "better hi"}


async def test_app_without_phase1_answers_itself() -> None:
    """No installed pool, no second way."""
    app = FastAPI()

    @app.post("/ask")
    @optimized(better, switch="use_optimized_chat")
    async def ask(question: Question) -> Answer:
        return Answer(response="own")

    assert (await post(app)).json() == {"response": "own"}


def test_api_description_is_the_endpoints_own() -> None:
    """The decorator is not seen from outside: parameters, models and text are the same."""
    app, plain = app_of(install=False), FastAPI()

    @plain.post("/ask")
    async def ask(question: Question, llm: LLM) -> Answer:
        """The endpoint's own words."""
        return Answer(response="")

    assert app.openapi()["paths"]["/ask"] == plain.openapi()["paths"]["/ask"]


@pytest.mark.parametrize("stage", [Stage.READING, Stage.ANSWERED])
async def test_failure_that_nobody_has_seen_is_answered_by_the_endpoint(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the model was asked, or with the answer in hand and nothing saved."""

    async def fails(question: Question, llm: phase1.LLMClient) -> None:
        reach(stage)
        raise LookupError("secret")

    assert (await post(app_of(fails, **ON))).json() == {"response": "own hi"}
    assert "fails failed (LookupError); the endpoint's own code answers" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("stage", [Stage.ASKING, Stage.KEPT])
async def test_failure_that_must_not_be_repeated_is_the_callers(stage: Stage) -> None:
    """The model's own error has had its fallbacks, and a saved turn must not be saved twice."""

    async def fails(question: Question, llm: phase1.LLMClient) -> None:
        reach(stage)
        raise LookupError

    with pytest.raises(LookupError):
        await post(app_of(fails, **ON))


async def test_database_that_hangs_is_a_503() -> None:
    """The endpoint's own query would block the event loop on it."""

    async def hangs(question: Question, llm: phase1.LLMClient) -> None:
        raise DatabaseTimeout("history: the database did not answer within 10 s")

    answer = await post(app_of(hangs, **ON))
    assert (answer.status_code, answer.json()) == (503, {"detail": "The database did not answer in time"})


async def test_http_exception_is_an_answer() -> None:
    """The app's 404 is not to be asked for twice."""

    async def refuses(question: Question, llm: phase1.LLMClient) -> None:
        raise HTTPException(404, "Project not found")

    answer = await post(app_of(refuses, **ON))
    assert (answer.status_code, answer.json()) == (404, {"detail": "Project not found"})


async def test_second_way_with_other_parameters_leaves_the_endpoint_alone() -> None:
    """Somebody has taken a parameter away from the endpoint: it answers as it is."""

    async def needs_more(question: Question, llm: phase1.LLMClient, database: object) -> None: ...

    assert (await post(app_of(needs_more, **ON))).json() == {"response": "own hi"}


def test_unknown_switch_is_refused() -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match="switch='USE_OPTIMIZED': must be use_optimized_chat or use_optimized_agent"):
        optimized(better, switch="USE_OPTIMIZED")  # type: ignore[arg-type]


async def test_legacy_model_and_the_times_are_the_response() -> None:
    """What the app's own model has, and `performance_metrics`; nothing else of the answer."""
    times = {"db_fetch_time": 0.1, "llm_response_time": 1.0, "db_save_time": 0.1, "total_time": 1.2}

    async def answers(question: Question, llm: phase1.LLMClient) -> object:
        answer = OptimizedChatResponse(response="r", timestamp="now", support_type="x", performance_metrics=times)
        return answer.as_legacy(Answer)

    assert (await post(app_of(answers, **ON))).json() == {"response": "r", "performance_metrics": times}
