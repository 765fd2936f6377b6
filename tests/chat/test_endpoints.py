"""Do the optimised endpoints answer as the legacy ones would, and tell where the time went?"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from phase1.chat import (
    AsyncDatabaseHelper,
    ChatStore,
    HistoryLimits,
    OptimizedAgentResponse,
    OptimizedChatResponse,
    PromptParts,
    Question,
    Turn,
    optimized_chat_with_ai,
    optimized_chat_with_conversation_agent,
)

BOUND = 10.0


class Clock:
    """Moves when somebody works."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Body:
    """A request's body."""

    message: str = "What is a bridge?"
    project_id: int | None = None
    conversation_id: str | None = None
    history_limit: int | None = None


@dataclass
class AgentBody(Body):
    state: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, str]] | None = None


@dataclass
class Chosen:
    support_type: str = "planning"
    selected_acts: list[str] = field(default_factory=lambda: ["acknowledge", "planning"])
    state: dict[str, Any] = field(default_factory=lambda: {"turn": 1})


class Chooses:
    """An orchestrator that chooses the kind of support."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def decide(self, message: str, state: dict[str, Any]) -> Chosen:
        self.asked.append((message, state))
        return Chosen()


class TakesTurns:
    """An orchestrator that asks the model itself."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.arguments: dict[str, Any] = {}

    def process_turn(self, **arguments: object) -> object:
        self.arguments = arguments
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class World:
    """A clock, a model, a store, and what they were asked."""

    clock: Clock = field(default_factory=Clock)
    prompts: list[list[dict[str, str]]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)

    @property
    def store(self) -> ChatStore:
        return ChatStore(
            AsyncDatabaseHelper(clock=self.clock),
            history=self._history,
            context=self._context,
            save=self._save,
            retries=(),
        )

    def _history(self, question: Question) -> list[dict[str, str]]:
        self._work("history", 0.25)
        self.questions.append(question)
        return self.rows[-question.history_limit :]

    def _context(self, question: Question) -> str | None:
        self._work("context", 0)
        return f"Project {question.project_id}" if question.project_id else None

    def _save(self, turn: Turn) -> None:
        self._work("save", 0.125)
        self.turns.append(turn)

    def _work(self, name: str, seconds: float) -> None:
        self.clock.now += seconds
        if name in self.fails:
            raise LookupError(name)

    def generate_response(self, messages: list[dict[str, str]]) -> str:
        """The app's own client: it blocks."""
        self.clock.now += 1.5
        self.prompts.append(messages)
        return "It carries you over."

    async def chat(self, body: Body | None = None, **options: object) -> OptimizedChatResponse:
        arguments: dict[str, Any] = {
            "supabase": self.store,
            "llm_client": self,
            "limits": HistoryLimits(),
            "clock": self.clock,
        }
        return await optimized_chat_with_ai(chat_data=body or Body(), current_user=1, **(arguments | options))

    async def agent(self, body: Body | None = None, **options: object) -> OptimizedAgentResponse:
        arguments: dict[str, Any] = {
            "supabase": self.store,
            "llm_client": self,
            "limits": HistoryLimits(),
            "clock": self.clock,
        }
        return await optimized_chat_with_conversation_agent(
            request=body or AgentBody(), current_user=1, **(arguments | options)
        )


@pytest.fixture
def world() -> World:
    """New."""
    return World()


# --- answers ----------------------------------------------------------------------------------------------------------


async def test_answer_has_what_the_legacy_one_has(world: World) -> None:
    """Text, time, estimate of tokens, context, and how it was chosen to help."""
    world.rows = [{"sender": "user", "message": "Hello"}, {"sender": "assistant", "message": "Hello!"}]
    answer = await world.chat(Body(project_id=7), conversation_orchestrator=Chooses())
    assert answer.response == "It carries you over."
    assert answer.context_metadata == {"project_id": 7, "history_count": 2}
    assert (answer.support_type, answer.selected_acts) == ("planning", ["acknowledge", "planning"])
    assert answer.token_usage == {"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20}
    assert answer.warning is None
    assert world.prompts == [
        [
            {"role": "system", "content": "Project 7\nKind of support: planning"},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "What is a bridge?"},
        ]
    ]


async def test_turn_is_saved(world: World) -> None:
    """Question and answer in one."""
    await world.chat(Body(project_id=7, conversation_id="c"))
    (turn,) = world.turns
    assert (turn.user_id, turn.kind, turn.project_id, turn.conversation_id) == (1, "chat", 7, "c")
    assert (turn.message, turn.response) == ("What is a bridge?", "It carries you over.")
    assert turn.asked_at <= turn.answered_at


async def test_own_prompt(world: World) -> None:
    """The app's own way to ask."""
    await world.chat(prompt=lambda parts: [{"role": "user", "content": parts.message.upper()}])
    assert world.prompts == [[{"role": "user", "content": "WHAT IS A BRIDGE?"}]]


def test_plain_prompt_reads_rows_of_every_kind() -> None:
    """One message a row, a turn a row, mappings and objects."""
    from phase1.chat import plain_prompt

    rows = [{"role": "assistant", "content": "a"}, {"message": "q", "response": "r"}, Body(message="object")]
    assert [(m["role"], m["content"]) for m in plain_prompt(PromptParts("next", rows))] == [
        ("assistant", "a"),
        ("user", "q"),
        ("assistant", "r"),
        ("user", "object"),
        ("user", "next"),
    ]


@pytest.mark.parametrize("asked", ["chat", "agent"])
async def test_model_is_asked_off_the_loop(asked: str, world: World) -> None:
    """A client that blocks has a thread, whatever it is."""
    threads: list[str] = []

    def answer(messages: object) -> str:
        threads.append(threading.current_thread().name)
        return "yes"

    await getattr(world, asked)(llm_client=answer)
    assert threads == ["phase1-ask"]


async def test_clients_of_every_kind(world: World) -> None:
    """Asynchronous, blocking, and with LangChain's messages."""

    class Asynchronous:
        async def generate_response_async(self, messages: object) -> str:
            return "async"

    class Message:
        content = "message"

    assert (await world.chat(llm_client=Asynchronous())).response == "async"
    assert (await world.chat(llm_client=lambda messages: Message())).response == "message"
    with pytest.raises(TypeError, match="must answer with a text, not NoneType"):
        await world.chat(llm_client=lambda messages: None)
    with pytest.raises(TypeError, match="llm_client=str: must have generate_response_async"):
        await world.chat(llm_client="gpt")


# --- the agent --------------------------------------------------------------------------------------------------------


async def test_agent_uses_the_history_that_the_caller_keeps(world: World) -> None:
    """Its end, and nothing is read for it."""
    kept = [{"role": "user", "content": f"turn {n}"} for n in range(5)]
    answer = await world.agent(AgentBody(history=kept), limits=HistoryLimits(1, 3), conversation_orchestrator=Chooses())
    assert world.questions == []
    assert [message["content"] for message in world.prompts[0][1:]] == [
        "turn 2",
        "turn 3",
        "turn 4",
        "What is a bridge?",
    ]
    assert (answer.history_count, answer.debug_info) == (3, {"prompt_messages": 5, "history_dropped": 2})


async def test_agent_reads_the_history_when_the_caller_keeps_none(world: World) -> None:
    """Of the conversation."""
    world.rows = [{"message": "q", "response": "r"}]
    answer = await world.agent(AgentBody(conversation_id="c"), conversation_orchestrator=Chooses())
    assert [question.conversation_id for question in world.questions] == ["c"]
    assert (answer.conversation_id, answer.history_count) == ("c", 1)


async def test_new_conversation_is_saved_under_the_id_that_is_answered(world: World) -> None:
    """So that the next turn finds this one."""
    answer = await world.agent(conversation_orchestrator=Chooses())
    assert answer.conversation_id
    assert world.turns[0].conversation_id == answer.conversation_id
    assert world.turns[0].details == {"support_type": "planning", "state": {"turn": 1}}


async def test_orchestrator_that_takes_the_turn(world: World) -> None:
    """It asks the model; what it says is in the answer."""
    turn = {
        "response": "by the agent",
        "support_type": "x",
        "project_plan": {"step": 1},
        "metrics": {"n": 2},
        "more": 3,
    }
    orchestrator = TakesTurns(turn)
    answer = await world.agent(AgentBody(conversation_id="c"), conversation_orchestrator=orchestrator)
    assert (answer.response, answer.support_type, answer.project_plan) == ("by the agent", "x", {"step": 1})
    assert (answer.metrics, answer.warning, world.prompts) == ({"n": 2}, None, [])
    assert orchestrator.arguments == {
        "user_message": "What is a bridge?",
        "conversation_history": [],
        "project_context": None,
        "user_id": 1,
        "conversation_id": "c",
    }


@pytest.mark.parametrize("asked", ["chat", "agent"])
@pytest.mark.parametrize(
    "answer", [RuntimeError("secret"), {"text": "no response"}, None], ids=["raises", "key", "None"]
)
async def test_orchestrator_that_fails_is_a_plain_answer(
    asked: str, answer: object, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """With a warning that says so."""
    plain = await getattr(world, asked)(conversation_orchestrator=TakesTurns(answer))
    assert plain.response == "It carries you over."
    assert plain.warning == "The conversation agent is not available; this is a plain answer"
    assert "the conversation agent failed" in caplog.text
    assert "secret" not in caplog.text


async def test_http_exception_of_the_orchestrator_is_an_answer(world: World) -> None:
    """The app's own refusal, not a failure."""
    with pytest.raises(HTTPException) as refused:
        await world.agent(conversation_orchestrator=TakesTurns(HTTPException(402)))
    assert (refused.value.status_code, world.prompts) == (402, [])


@pytest.mark.parametrize("flag", ["CONVERSATION_AGENT_AVAILABLE", "ENABLE_CONVERSATION_AGENT"])
async def test_agent_that_is_off_is_a_plain_answer(flag: str, world: World) -> None:
    """Either flag of the seed."""
    orchestrator = Chooses()
    answer = await world.agent(conversation_orchestrator=orchestrator, **{flag: False})
    assert (orchestrator.asked, answer.support_type) == ([], None)
    assert answer.warning == "The conversation agent is not available; this is a plain answer"


async def test_chat_without_the_agent_is_an_ordinary_answer(world: World) -> None:
    """For `/chat` it is no failure."""
    answer = await world.chat(conversation_orchestrator=Chooses(), ENABLE_CONVERSATION_AGENT=False)
    assert (answer.support_type, answer.warning) == (None, None)


async def test_agent_is_told_the_state(world: World) -> None:
    """As the caller keeps it."""
    orchestrator = Chooses()
    answer = await world.agent(AgentBody(state={"turn": 3}), conversation_orchestrator=orchestrator)
    assert orchestrator.asked == [("What is a bridge?", {"turn": 3})]
    assert answer.state_snapshot == {"turn": 1}


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["chat", "agent"])
async def test_times_add_up(asked: str, world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Reading, asking and saving are the whole; the log has them, and the queries one by one."""
    caplog.set_level(logging.INFO, "phase1")
    before = world.clock.now
    answer = await getattr(world, asked)()
    assert answer.performance_metrics == {
        "db_fetch_time": 0.25,
        "llm_response_time": 1.5,
        "db_save_time": 0.125,
        "total_time": 1.875,
    }
    assert world.clock.now - before == 1.875
    assert f"{asked} turn: db_fetch_time 0.250, llm_response_time 1.500, db_save_time 0.125, total 1.875" in caplog.text
    assert {"context", "history", "save"} <= set(caplog.messages[-1].split())


async def test_queries_of_a_turn_wait_for_each_other_when_they_must_not(world: World) -> None:
    """Context and history are asked at the same time: two queries that wait for one another are answered."""
    together = threading.Barrier(2)
    store = ChatStore(
        history=lambda question: [str(together.wait(BOUND))] * 0,
        context=lambda question: str(together.wait(BOUND)),
        save=lambda turn: None,
    )
    assert (await world.chat(supabase=store)).response


# --- bad input and failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["chat", "agent"])
async def test_message_that_is_too_long_is_refused_before_anything_is_asked(asked: str, world: World) -> None:
    """400, with both numbers."""
    with pytest.raises(HTTPException) as refused:
        await getattr(world, asked)(AgentBody(message="x" * 11), MAX_CHAT_MESSAGE_LENGTH=10)
    assert (refused.value.status_code, refused.value.detail) == (
        400,
        "Message too long: 11 characters, at most 10 are allowed",
    )
    assert (world.questions, world.prompts, world.turns) == ([], [], [])


async def test_negative_history_limit_is_refused(world: World) -> None:
    """422, with what is allowed."""
    with pytest.raises(HTTPException) as refused:
        await world.chat(Body(history_limit=-1))
    assert refused.value.status_code == 422
    assert "history_limit=-1: must be a whole number, 0 (no history) or more" in refused.value.detail


@pytest.mark.parametrize(("asked", "read"), [(None, 20), (3, 3), (1000, 50)])
async def test_history_limit(asked: int | None, read: int, world: World) -> None:
    """The default, what is asked for, the maximum."""
    await world.chat(Body(history_limit=asked))
    assert [question.history_limit for question in world.questions] == [read]


async def test_no_history_is_not_read(world: World) -> None:
    """0 is none."""
    await world.chat(Body(history_limit=0))
    assert world.questions == []


async def test_history_limits_come_from_the_settings(world: World, env: Any) -> None:  # noqa: ANN401
    """Outside of an app they are the process's."""
    from phase1.doors.background import default_manager

    env(CHAT_HISTORY_LIMIT_DEFAULT="7")
    limit = default_manager().settings.chat_history_limit_default
    await world.chat(limits=None)
    assert [question.history_limit for question in world.questions] == [limit]


async def test_failed_history_is_a_warning(world: World) -> None:
    """There is an answer, which does not know it."""
    world.fails = {"history"}
    answer = await world.chat()
    assert (answer.response, answer.warning) == ("It carries you over.", "history could not be read")


async def test_failed_context_is_an_error_before_the_model_is_asked(world: World) -> None:
    """The database's own."""
    world.fails = {"context"}
    with pytest.raises(LookupError):
        await world.chat()
    assert (world.prompts, world.turns) == ([], [])


@pytest.mark.parametrize("asked", ["chat", "agent"])
async def test_failed_save_does_not_lose_the_answer(asked: str, world: World) -> None:
    """The answer says that the turn is not in the history yet; the file has it."""
    world.fails = {"save"}
    answer = await getattr(world, asked)(conversation_orchestrator=Chooses())
    assert (answer.response, answer.warning) == ("It carries you over.", "this turn is not in the history yet")
    (line,) = world.store.dead_letters.path.read_text().splitlines()
    assert json.loads(line)["response"] == "It carries you over."


async def test_error_of_the_model_is_the_callers(world: World) -> None:
    """And nothing is saved."""

    def fails(messages: object) -> str:
        raise ConnectionError("upstream")

    with pytest.raises(ConnectionError):
        await world.chat(llm_client=fails)
    assert world.turns == []


@pytest.mark.parametrize(
    ("database", "error", "message"),
    [
        (None, HTTPException, "The database is not available"),
        (object(), TypeError, r"supabase=object: must be a ChatStore, or a client with table\(name\)"),
    ],
)
async def test_no_database(database: object, error: type[Exception], message: str, world: World) -> None:
    """503 while it is not there, and a clear error for what is none."""
    with pytest.raises(error, match=message):
        await world.chat(supabase=database)


async def test_body_without_a_message_is_an_error(world: World) -> None:
    """Rather than an empty question."""
    with pytest.raises(AttributeError, match="message"):
        await world.chat(object())  # type: ignore[arg-type]
