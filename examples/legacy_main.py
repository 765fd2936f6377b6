"""A learning-support chat API as many are in production: one process, one global LLM client.

    uvicorn examples.legacy_main:app

Users talk to a tutor (`/chat`), to a conversation agent that chooses how to help (`/conversation-agent/chat`), have
questions generated about a theme (`/themes/{id}/deep-dive`) and keep projects whose goals become part of the prompt.
Chat logs, themes and projects live in SQLite, or in PostgreSQL when `DATABASE_URL` says so.

The bottleneck is left in on purpose: `llm_client.generate_response(messages)` blocks inside `async def`, so while one
user waits for the model, nobody else is served.

Environment: OPENAI_API_KEY, OPENAI_BASE_URL (read by the SDK), OPENAI_TIMEOUT, OPENAI_MAX_RETRIES, LLM_MODEL,
DATABASE_URL, AUTH_SECRET, RATE_LIMIT, MAX_CHAT_MESSAGE_LENGTH, CHAT_HISTORY_LIMIT_DEFAULT, CHAT_HISTORY_LIMIT_MAX,
ENABLE_CONVERSATION_AGENT.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import math
import os
import re
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, cast

import openai
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection

import phase1  # phase1 (1/8 import)

logger = logging.getLogger("learning_app")

DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///./legacy_main.sqlite3")
AUTH_SECRET = os.environ.get("AUTH_SECRET", "")  # empty: demo tokens
LLM_MODEL = os.environ.get("LLM_MODEL", "gpt-4o-mini")
OPENAI_TIMEOUT = float(os.environ.get("OPENAI_TIMEOUT", "60"))  # seconds for one answer
OPENAI_MAX_RETRIES = int(os.environ.get("OPENAI_MAX_RETRIES", "2"))
RATE_LIMIT = int(os.environ.get("RATE_LIMIT", "60"))  # LLM requests per user and minute, 0: no limit
RATE_WINDOW = 60.0
MAX_CHAT_MESSAGE_LENGTH = int(os.environ.get("MAX_CHAT_MESSAGE_LENGTH", "4000"))
CHAT_HISTORY_LIMIT_DEFAULT = int(os.environ.get("CHAT_HISTORY_LIMIT_DEFAULT", "20"))
CHAT_HISTORY_LIMIT_MAX = int(os.environ.get("CHAT_HISTORY_LIMIT_MAX", "50"))
ENABLE_CONVERSATION_AGENT = os.environ.get("ENABLE_CONVERSATION_AGENT", "true").lower() == "true"

Messages = list[dict[str, str]]
RowId = Annotated[int, Field(ge=1, le=2**31 - 1)]

SYSTEM_PROMPT = "You are a patient tutor. Help the learner to think for themselves; answer in the learner's language."
SUPPORT_PROMPTS = {
    "encouragement": "The learner is discouraged. Acknowledge the feeling first, then suggest one small next step.",
    "explanation": "Explain the idea with one concrete example, then check the understanding with a question.",
    "planning": "Help to break the goal into steps that can be finished within a day.",
    "exploration": "Answer with questions that widen the learner's view before you offer facts.",
}


# --- who is asking ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=10_000)
def user_of_token(token: str) -> int | None:
    """The user id of a valid token: `<user id>.<hmac>` with AUTH_SECRET, `demo-<user id>` without."""
    if not AUTH_SECRET:
        demo = re.fullmatch(r"demo-([0-9]{1,9})", token)
        return int(demo[1]) if demo else None
    user_id, _, signature = token.partition(".")
    expected = hmac.new(AUTH_SECRET.encode(), user_id.encode(), "sha256").hexdigest()
    valid = hmac.compare_digest(signature.encode(), expected.encode())
    return int(user_id) if valid and re.fullmatch(r"[0-9]{1,9}", user_id) else None


def user_of_request(request: HTTPConnection) -> str | None:
    """The user id for log lines; never refuses."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    user_id = user_of_token(token) if scheme.lower() == "bearer" else None
    return None if user_id is None else str(user_id)


app = FastAPI(title="Learning support", version="3.2.0")
phase1_llm_manager = phase1.install(app, legacy=lambda: llm_client, user_key=user_of_request)  # phase1 (2/8 global)

# What the whole process shares.
llm_client: Any = None  # one client for all requests, built at startup


@app.middleware("http")
async def access_log(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """One line per request: what, who, how long."""
    started = time.perf_counter()
    response = await call_next(request)
    seconds, user_id = time.perf_counter() - started, user_of_request(request)
    logger.info("%s %s %d user=%s %.3fs", request.method, request.url.path, response.status_code, user_id, seconds)
    return response


async def get_current_user_cached(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> int:
    """The id of the user whose bearer token this is, or 401."""
    user_id = user_of_token(credentials.credentials) if credentials else None
    if user_id is None:
        raise HTTPException(401, "Invalid or missing token", headers={"WWW-Authenticate": "Bearer"})
    return user_id


CurrentUser = Annotated[int, Depends(get_current_user_cached)]


class RateLimiter:
    """A sliding window per user."""

    def __init__(self, limit: int, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.window = window
        self.clock = clock
        self._calls: dict[int, deque[float]] = {}

    def wait_for(self, user_id: int) -> float:
        """Count one call and return 0, or return the seconds until the next one is allowed."""
        now = self.clock()
        calls = self._calls.setdefault(user_id, deque())
        while calls and calls[0] + self.window <= now:
            calls.popleft()
        if len(calls) >= self.limit > 0:
            return calls[0] + self.window - now
        calls.append(now)
        return 0.0


rate_limiter = RateLimiter(RATE_LIMIT, RATE_WINDOW)


async def chat_rate_limiter(current_user: CurrentUser) -> None:
    """429 with Retry-After for users who ask too often."""
    seconds = rate_limiter.wait_for(current_user)
    if seconds > 0:
        raise HTTPException(429, "Too many requests, slow down", headers={"Retry-After": str(math.ceil(seconds))})


# --- the database -----------------------------------------------------------------------------------------------------


class DatabaseError(RuntimeError):
    """The database did not do what it was asked."""


SCHEMA = """
CREATE TABLE IF NOT EXISTS themes (id INTEGER PRIMARY KEY, title TEXT NOT NULL, description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS projects (id {identity} PRIMARY KEY, user_id INTEGER NOT NULL, name TEXT NOT NULL,
    goal TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chat_logs (id {identity} PRIMARY KEY, user_id INTEGER NOT NULL, kind TEXT NOT NULL,
    project_id INTEGER, message TEXT NOT NULL, response TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS chat_logs_of_user ON chat_logs (user_id, id);
INSERT INTO themes (id, title, description) VALUES
    (1, 'Climate and cities', 'How cities change with the climate, and what they can do about it.'),
    (2, 'Learning to learn', 'How memory, practice and rest work together.'),
    (3, 'Public money', 'Where taxes come from, where they go, and who decides.') ON CONFLICT (id) DO NOTHING;
"""


class Database:
    """SQLite or PostgreSQL, synchronous, with reused connections. Queries use `?` for parameters."""

    def __init__(self, url: str) -> None:
        self.kind = "postgresql" if url.startswith(("postgresql://", "postgres://")) else "sqlite"
        self._url = url
        self._idle: list[Any] = []

    def query(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Run one statement in its own transaction and return its rows."""
        with self._transaction() as connection:
            cursor = connection.execute(sql if self.kind == "sqlite" else sql.replace("?", "%s"), parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []

    def create_schema(self) -> None:
        """Create what is missing; several workers may start at once."""
        with self._transaction() as connection:
            if self.kind == "sqlite":
                connection.executescript(SCHEMA.format(identity="INTEGER"))
                return
            connection.execute("SELECT pg_advisory_xact_lock(3200)")  # IF NOT EXISTS alone loses races between workers
            connection.execute(SCHEMA.format(identity="BIGINT GENERATED ALWAYS AS IDENTITY"))

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        connect, error = self._driver()
        connection = None
        try:
            with contextlib.suppress(IndexError):  # asking first whether there is one loses a race between threads
                connection = self._idle.pop()
            connection = connection or connect()
            yield connection
            connection.commit()
        except BaseException as exc:
            if connection is not None:
                connection.close()  # what was begun is rolled back, and nobody inherits a broken connection
            if isinstance(exc, error):
                raise DatabaseError(str(exc)) from exc
            raise
        self._idle.append(connection)

    def _driver(self) -> tuple[Callable[[], Any], type[Exception]]:
        if self.kind == "sqlite":
            return self._connect_sqlite, sqlite3.Error
        import psycopg  # noqa: PLC0415 - needed only with DATABASE_URL=postgresql://...

        return lambda: psycopg.connect(self._url, connect_timeout=10), psycopg.Error

    def _connect_sqlite(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=5, check_same_thread=False)
        with contextlib.suppress(sqlite3.OperationalError):  # another worker is just switching the file over
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


database = Database(DATABASE_URL)


def recent_chat(user_id: int, limit: int) -> list[dict[str, Any]]:
    """The user's last turns, oldest first, never more than CHAT_HISTORY_LIMIT_MAX."""
    sql = (
        "SELECT id, kind, project_id, message, response, created_at FROM chat_logs"
        " WHERE user_id = ? ORDER BY id DESC LIMIT ?"
    )
    return database.query(sql, user_id, min(limit, CHAT_HISTORY_LIMIT_MAX))[::-1]


def save_chat(user_id: int, kind: str, message: str, response: str, project_id: int | None = None) -> None:
    """Write one turn into the chat log."""
    sql = "INSERT INTO chat_logs (user_id, kind, project_id, message, response, created_at) VALUES (?, ?, ?, ?, ?, ?)"
    database.query(sql, user_id, kind, project_id, message, response, timestamp())


def project_context(user_id: int, project_id: int | None) -> str:
    """What the prompt says about the user's project; 404 if it is not the user's."""
    if project_id is None:
        return ""
    rows = database.query("SELECT name, goal FROM projects WHERE id = ? AND user_id = ?", project_id, user_id)
    if not rows:
        raise HTTPException(404, "Project not found")
    return f"\nThe learner works on the project {rows[0]['name']!r}. Its goal: {rows[0]['goal']}"


# --- the model --------------------------------------------------------------------------------------------------------


class LearningPlanner:
    """The process's one connection to the LLM. Its only method blocks until the whole answer is there."""

    def __init__(self) -> None:
        self.model = LLM_MODEL
        self._client = openai.OpenAI(timeout=OPENAI_TIMEOUT, max_retries=OPENAI_MAX_RETRIES)

    def generate_response(self, messages: Messages) -> str:
        """Ask the model."""
        completion = self._client.chat.completions.create(model=self.model, messages=cast("Any", messages))
        return completion.choices[0].message.content or ""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def learning_planner() -> LearningPlanner:
    """Build the LLM client."""
    return LearningPlanner()


@dataclass(frozen=True, slots=True)
class Decision:
    """How to help in this turn."""

    support_type: str
    selected_acts: list[str]
    state: dict[str, Any]


class ConversationOrchestrator:
    """Chooses the kind of support by rules."""

    _rules = (
        ("encouragement", ("tired", "stuck", "hard", "give up", "疲れ", "難しい")),
        ("planning", ("plan", "schedule", "deadline", "goal", "計画", "目標")),
        ("explanation", ("what", "how", "why", "explain", "なぜ", "とは")),
    )

    def decide(self, message: str, state: dict[str, Any]) -> Decision:
        """Choose by the message, and by what was done in the turn before."""
        text = message.lower()
        matches = [kind for kind, words in self._rules if any(word in text for word in words)]
        support_type = matches[0] if matches else "exploration"
        acts = ["acknowledge"] if support_type == state.get("support_type") else ["acknowledge", "change_perspective"]
        turn = int(state.get("turn", 0)) + 1
        return Decision(support_type, [*acts, support_type], {"turn": turn, "support_type": support_type})


conversation_orchestrator = ConversationOrchestrator()


def check_length(message: str) -> None:
    """400 for a message that no prompt should carry."""
    if len(message) > MAX_CHAT_MESSAGE_LENGTH:
        detail = f"Message too long: {len(message)} characters, at most {MAX_CHAT_MESSAGE_LENGTH} are allowed"
        raise HTTPException(400, detail)


def timestamp() -> str:
    """Now, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def estimate_tokens(messages: Messages, response: str) -> dict[str, int]:
    """Roughly what the turn cost: four characters are about one token."""
    prompt, completion = sum(len(message["content"]) for message in messages) // 4, len(response) // 4
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


# --- what goes in and out ---------------------------------------------------------------------------------------------


class ChatMessage(BaseModel):
    """A question to the tutor."""

    message: str = Field(min_length=1)
    project_id: RowId | None = None
    history_limit: int = Field(CHAT_HISTORY_LIMIT_DEFAULT, ge=0)


class ChatResponse(BaseModel):
    """The tutor's answer."""

    response: str
    timestamp: str
    token_usage: dict[str, int]
    context_metadata: dict[str, Any]
    support_type: str | None = None
    selected_acts: list[str] = []


class Turn(BaseModel):
    """One message of a conversation that the client keeps."""

    role: Literal["user", "assistant"]
    content: str


class ConversationAgentRequest(BaseModel):
    """A message to the conversation agent."""

    message: str = Field(min_length=1)
    conversation_id: str | None = Field(None, max_length=64)
    history: list[Turn] = []
    state: dict[str, Any] = {}


class ConversationAgentResponse(BaseModel):
    """The agent's answer, and why it answered like this."""

    response: str
    timestamp: str
    conversation_id: str
    history_count: int
    support_type: str | None = None
    selected_acts: list[str] = []
    state_snapshot: dict[str, Any] = {}
    debug_info: dict[str, Any] = {}
    warning: str | None = None


class DeepDiveRequest(BaseModel):
    """What to ask about a theme."""

    focus: str = ""
    questions: int = Field(3, ge=1, le=10)


class DeepDiveResponse(BaseModel):
    """Questions that open a theme up."""

    theme_id: int
    title: str
    questions: list[str]
    timestamp: str


class NewProject(BaseModel):
    """A project to keep."""

    name: str = Field(min_length=1, max_length=200)
    goal: str = Field("", max_length=2000)


class Project(NewProject):
    """A project of the user."""

    id: int
    created_at: str


# --- life and errors --------------------------------------------------------------------------------------------------


@app.on_event("startup")
async def startup_event() -> None:
    """Open the database and build the one LLM client."""
    global llm_client  # noqa: PLW0603 - the pattern this app is an example of
    database.create_schema()
    llm_client = learning_planner()
    phase1_llm_manager.log_status()  # phase1 (3/8 startup)
    logger.info("started: model=%s database=%s", LLM_MODEL, database.kind)


@app.on_event("shutdown")
async def shutdown_event() -> None:
    """Let go of the connections."""
    await chat_store.aclose()  # phase1 (8/8 optimized)
    llm_client.close()
    database.close()


@app.exception_handler(openai.OpenAIError)
async def llm_failed(_request: Request, exc: openai.OpenAIError) -> JSONResponse:
    """Tell the caller what kind of trouble the LLM has, without its internals."""
    logger.error("LLM error: %s", type(exc).__name__)
    match exc:
        case openai.APITimeoutError():
            return JSONResponse({"detail": "The LLM did not answer in time"}, 504)
        case openai.RateLimitError():
            headers = {"Retry-After": exc.response.headers.get("retry-after", "5")}
            return JSONResponse({"detail": "The LLM is over its limit, try again later"}, 503, headers)
        case openai.AuthenticationError() | openai.PermissionDeniedError() | openai.NotFoundError():
            return JSONResponse({"detail": "The LLM is misconfigured"}, 500)
        case openai.APIStatusError(status_code=400 | 409 | 413 | 422):
            return JSONResponse({"detail": "The LLM refused this request"}, 400)
        case _:
            return JSONResponse({"detail": "The LLM failed"}, 502)


@app.exception_handler(DatabaseError)
async def database_failed(_request: Request, exc: DatabaseError) -> JSONResponse:
    """500, with the reason in the log only."""
    logger.error("database error: %s", exc)
    return JSONResponse({"detail": "Database error"}, 500)


chat_store = phase1.chat.ChatStore(  # phase1 (8/8 optimized)
    context=lambda question: project_context(question.user_id, question.project_id),
    history=lambda question: recent_chat(question.user_id, question.history_limit),
    save=lambda turn: save_chat(turn.user_id, turn.kind, turn.message, turn.response, turn.project_id),
    history_required=True,
)


def chat_prompt(parts: phase1.chat.PromptParts) -> Messages:  # phase1 (8/8 optimized)
    """The messages that /chat sends."""
    support = SUPPORT_PROMPTS[parts.decision.support_type] if parts.decision else ""
    messages: Messages = [{"role": "system", "content": f"{SYSTEM_PROMPT} {support}{parts.context}"}]
    for turn in parts.history:
        messages.append({"role": "user", "content": turn["message"]})
        messages.append({"role": "assistant", "content": turn["response"]})
    return [*messages, {"role": "user", "content": parts.message}]


def agent_prompt(parts: phase1.chat.PromptParts) -> Messages:  # phase1 (8/8 optimized)
    """The messages that /conversation-agent/chat sends."""
    support = SUPPORT_PROMPTS[parts.decision.support_type] if parts.decision else ""
    messages: Messages = [{"role": "system", "content": f"{SYSTEM_PROMPT} {support}".strip()}]
    messages += [{"role": turn.role, "content": turn.content} for turn in parts.history]
    return [*messages, {"role": "user", "content": parts.message}]


async def optimized_chat(  # phase1 (8/8 optimized)
    chat_data: ChatMessage, current_user: int, llm: phase1.LLMClient
) -> Response:
    """/chat with the project and the history read at the same time, and nothing that blocks."""
    answer = await phase1.chat.optimized_chat_with_ai(
        chat_data=chat_data,
        current_user=current_user,
        supabase=chat_store,
        llm_client=llm,
        conversation_orchestrator=conversation_orchestrator,
        ENABLE_CONVERSATION_AGENT=ENABLE_CONVERSATION_AGENT,
        MAX_CHAT_MESSAGE_LENGTH=MAX_CHAT_MESSAGE_LENGTH,
        prompt=chat_prompt,
    )
    return answer.as_legacy(ChatResponse)


async def optimized_agent(  # phase1 (8/8 optimized)
    request: ConversationAgentRequest, current_user: int, llm: phase1.LLMClient
) -> Response:
    """/conversation-agent/chat likewise."""
    answer = await phase1.chat.optimized_chat_with_conversation_agent(
        request=request,
        current_user=current_user,
        supabase=chat_store,
        llm_client=llm,
        conversation_orchestrator=conversation_orchestrator,
        ENABLE_CONVERSATION_AGENT=ENABLE_CONVERSATION_AGENT,
        MAX_CHAT_MESSAGE_LENGTH=MAX_CHAT_MESSAGE_LENGTH,
        prompt=agent_prompt,
    )
    return answer.as_legacy(ConversationAgentResponse)


# --- the API ----------------------------------------------------------------------------------------------------------


@app.post("/chat", response_model=ChatResponse, dependencies=[Depends(chat_rate_limiter)])
@phase1.chat.optimized(optimized_chat, switch="use_optimized_chat")  # phase1 (8/8 optimized)
async def chat_with_ai(
    chat_data: ChatMessage,
    current_user: CurrentUser,
    llm: Annotated[phase1.LLMClient, Depends(phase1.llm_for(get_current_user_cached))],  # phase1 (4/8 chat)
) -> ChatResponse:
    """Answer with the project and the last turns as context."""
    check_length(chat_data.message)
    context = project_context(current_user, chat_data.project_id)
    history = recent_chat(current_user, chat_data.history_limit)
    decision = conversation_orchestrator.decide(chat_data.message, {}) if ENABLE_CONVERSATION_AGENT else None
    support = SUPPORT_PROMPTS[decision.support_type] if decision else ""

    messages: Messages = [{"role": "system", "content": f"{SYSTEM_PROMPT} {support}{context}"}]
    for turn in history:
        messages.append({"role": "user", "content": turn["message"]})
        messages.append({"role": "assistant", "content": turn["response"]})
    messages.append({"role": "user", "content": chat_data.message})

    response = await llm.generate_response_async(messages)  # phase1 (4/8 chat)

    save_chat(current_user, "chat", chat_data.message, response, chat_data.project_id)
    return ChatResponse(
        response=response,
        timestamp=timestamp(),
        token_usage=estimate_tokens(messages, response),
        context_metadata={"project_id": chat_data.project_id, "history_count": len(history)},
        support_type=decision.support_type if decision else None,
        selected_acts=decision.selected_acts if decision else [],
    )


@app.get("/chat/history")
async def chat_history(
    current_user: CurrentUser,
    limit: Annotated[int, Query(ge=1)] = CHAT_HISTORY_LIMIT_DEFAULT,
) -> list[dict[str, Any]]:
    """The user's last turns, oldest first."""
    return recent_chat(current_user, limit)


@app.post("/conversation-agent/chat", dependencies=[Depends(chat_rate_limiter)])
@phase1.chat.optimized(optimized_agent, switch="use_optimized_agent")  # phase1 (8/8 optimized)
async def chat_with_conversation_agent(
    request: ConversationAgentRequest,
    current_user: CurrentUser,
    llm: Annotated[phase1.LLMClient, Depends(phase1.llm_for(get_current_user_cached))],  # phase1 (5/8 agent)
) -> ConversationAgentResponse:
    """Let the agent choose the kind of support; if it cannot, answer as a plain tutor and say so."""
    check_length(request.message)
    history = request.history[-CHAT_HISTORY_LIMIT_MAX:]
    decision, warning = None, None
    try:
        if ENABLE_CONVERSATION_AGENT:
            decision = conversation_orchestrator.decide(request.message, request.state)
    except (TypeError, ValueError) as exc:
        logger.warning("conversation agent failed, plain answer instead: %s", exc)
    if decision is None:
        warning = "The conversation agent is not available; this is a plain answer"

    support = SUPPORT_PROMPTS[decision.support_type] if decision else ""
    messages: Messages = [{"role": "system", "content": f"{SYSTEM_PROMPT} {support}".strip()}]
    messages += [{"role": turn.role, "content": turn.content} for turn in history]
    messages.append({"role": "user", "content": request.message})

    response = await llm.generate_response_async(messages)  # phase1 (5/8 agent)

    save_chat(current_user, "agent", request.message, response)
    return ConversationAgentResponse(
        response=response,
        timestamp=timestamp(),
        conversation_id=request.conversation_id or str(uuid.uuid4()),
        history_count=len(history),
        support_type=decision.support_type if decision else None,
        selected_acts=decision.selected_acts if decision else [],
        state_snapshot=decision.state if decision else {},
        debug_info={"prompt_messages": len(messages), "history_dropped": len(request.history) - len(history)},
        warning=warning,
    )


@app.post("/themes/{theme_id}/deep-dive", dependencies=[Depends(chat_rate_limiter)])
async def deep_dive_into_theme(
    theme_id: Annotated[RowId, Path()],
    request: DeepDiveRequest,
    current_user: CurrentUser,
    llm: Annotated[phase1.LLMClient, Depends(phase1.llm_for(get_current_user_cached))],  # phase1 (6/8 theme)
) -> DeepDiveResponse:
    """Have the model write questions that lead deeper into a theme."""
    check_length(request.focus)
    rows = database.query("SELECT title, description FROM themes WHERE id = ?", theme_id)
    if not rows:
        raise HTTPException(404, "Theme not found")
    title, description = rows[0]["title"], rows[0]["description"]

    task = f"Write {request.questions} open questions, one per line, about the theme {title!r}: {description}"
    focus = f"\nThe learner is most interested in: {request.focus}" if request.focus else ""
    messages: Messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": task + focus}]

    response = await llm.generate_response_async(messages)  # phase1 (6/8 theme)

    save_chat(current_user, "theme", task, response)
    lines = [re.sub(r"^\W*(\d+[.)])?\s*", "", line) for line in response.splitlines()]
    questions = [line for line in lines if line][: request.questions]
    return DeepDiveResponse(theme_id=theme_id, title=title, questions=questions, timestamp=timestamp())


@app.get("/projects")
async def list_projects(current_user: CurrentUser) -> list[Project]:
    """The user's projects."""
    sql = "SELECT id, name, goal, created_at FROM projects WHERE user_id = ? ORDER BY id"
    return [Project(**row) for row in database.query(sql, current_user)]


@app.post("/projects", status_code=201)
async def create_project(project: NewProject, current_user: CurrentUser) -> Project:
    """Keep a project."""
    sql = "INSERT INTO projects (user_id, name, goal, created_at) VALUES (?, ?, ?, ?) RETURNING *"
    return Project(**database.query(sql, current_user, project.name, project.goal, timestamp())[0])


@app.get("/health")
async def health() -> dict[str, Any]:
    """Is everything there? 500 if the database is not."""
    database.query("SELECT 1")
    return {"status": "ok", "database": database.kind, "llm_client": llm_client is not None}


@app.get("/metrics/llm-summary", include_in_schema=False)  # phase1 (7/8 monitoring)
async def llm_summary(_current_user: CurrentUser) -> dict[str, object]:
    """What the LLM system has done so far, for the app's own users."""
    return phase1_llm_manager.get_metrics()
