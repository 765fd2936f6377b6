"""What do both endpoints have in common? One turn on its way: check, read, ask, save, with a stopwatch running."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar, cast
from uuid import uuid4

from starlette.exceptions import HTTPException

from phase1.chat.answers import Answer
from phase1.chat.database import Fetched
from phase1.chat.exceptions import HistoryLimitError
from phase1.chat.history import HistoryLimits
from phase1.chat.progress import Stage, reach
from phase1.chat.prompt import Decision, PromptParts
from phase1.chat.store import ChatStore
from phase1.chat.supabase import HasTables, SupabaseStore
from phase1.chat.timing import Stopwatch
from phase1.chat.turn import Question, Turn, UserId, timestamp
from phase1.doors.unit import current_unit
from phase1.settings import Settings

__all__ = ["NOT_SAVED", "Flow", "Limits"]

_log = logging.getLogger("phase1")

A = TypeVar("A", bound=Answer)
_message_of = attrgetter("message")

NOT_SAVED = "this turn is not in the history yet"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. `history=None`: what the settings of its app say."""

    message_length: int
    history: HistoryLimits | None = None

    def in_force(self) -> HistoryLimits:
        """`CHAT_HISTORY_LIMIT_DEFAULT` and `_MAX` of this request's app, or of the process, unless they are given."""
        if self.history is not None:
            return self.history
        unit = current_unit.get()
        return HistoryLimits.of(unit.manager.settings if unit is not None else _settings_of_the_process())


def _settings_of_the_process() -> Settings:
    from phase1.doors.background import default_manager  # noqa: PLC0415 - only outside of apps

    return default_manager().settings


class Flow:
    """One turn. Raises `HTTPException`: 400 for a message that is too long, 422 for a limit, 503 without a database."""

    def __init__(
        self,
        kind: str,
        data: object,
        *,
        user_id: UserId,
        database: object,
        limits: Limits,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.watch = Stopwatch(clock)
        self.asked_at = timestamp()
        self.limits = limits.in_force()
        self.question = _question(data, user_id, self.limits, limits.message_length)
        self._kind = kind
        self._store = _store(database)
        self._read = Fetched({})

    def begin_conversation(self) -> None:
        """Give the conversation an id, if the caller names none: the first turn is saved under it too."""
        conversation_id = self.question.conversation_id or str(uuid4())
        self.question = replace(self.question, conversation_id=conversation_id)

    async def read(self, kept_by_caller: Sequence[object] | None = None) -> None:
        """Read context and history; of a history that the caller keeps the last entries. Raises what reading raises."""
        with self.watch.hearing():
            self._read = await self._store.read(self.question, history=kept_by_caller is None)
        if kept_by_caller is not None:
            latest = {"history": self.limits.latest(kept_by_caller)}
            self._read = Fetched({**self._read, **latest}, self._read.warnings)
        self.watch.lap("db_fetch_time")

    @property
    def history(self) -> list[Any]:
        """The entries, oldest first."""
        return list(cast("Sequence[Any]", self._read.get("history") or []))

    def dropped(self, kept_by_caller: Sequence[object] | None) -> int:
        """How many entries of the caller's history were too many."""
        return max(0, len(kept_by_caller or ()) - len(self.history))

    @property
    def context(self) -> str:
        """What is known of the project."""
        return cast("str | None", self._read.get("context")) or ""

    def parts(self, decision: Decision | None) -> PromptParts:
        """What the prompt is made of."""
        return PromptParts(self.question.message, self.history, self.context, decision)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around the call of the model: its errors are the caller's, who is not to be asked twice for them."""
        reach(Stage.ASKING)
        yield
        reach(Stage.ANSWERED)

    async def finish(self, answer: A, details: dict[str, Any]) -> A:
        """Save the turn, or see that it is not lost, and complete `answer` by its warnings and its times."""
        turn = self._turn(answer, details)
        self.watch.lap("llm_response_time")
        reach(Stage.KEPT)
        with self.watch.hearing():
            saved = await self._store.keep(turn)
        self.watch.lap("db_save_time")
        _log.info("%s turn: %s", self._kind, self.watch)
        warnings = [*self._read.warnings, answer.warning, None if saved else NOT_SAVED]
        answer.warning = "; ".join(warning for warning in warnings if warning) or None
        answer.performance_metrics = self.watch.metrics()
        return answer

    def _turn(self, answer: Answer, details: dict[str, Any]) -> Turn:
        return Turn(
            user_id=self.question.user_id,
            kind=self._kind,
            message=self.question.message,
            response=answer.response,
            asked_at=self.asked_at,
            answered_at=answer.timestamp,
            project_id=self.question.project_id,
            conversation_id=self.question.conversation_id,
            details=details,
        )


def _store(database: object) -> ChatStore:
    """The app's store, or the one over its Supabase client: one for each client, so that its threads are bounded."""
    if isinstance(database, ChatStore):
        return database
    if database is None:
        raise HTTPException(503, "The database is not available")
    if not callable(getattr(database, "table", None)):
        raise TypeError(f"supabase={type(database).__name__}: must be a ChatStore, or a client with table(name)")
    return _store_over(database)


@lru_cache(maxsize=8)  # an app has one client, perhaps one more for a service role
def _store_over(client: Hashable) -> ChatStore:
    return SupabaseStore(cast("HasTables", client))


def _question(data: object, user_id: UserId, limits: HistoryLimits, longest: int) -> Question:
    message = str(_message_of(data))
    if len(message) > longest:
        raise HTTPException(400, f"Message too long: {len(message)} characters, at most {longest} are allowed")
    try:
        limit = limits.limit(getattr(data, "history_limit", None))
    except HistoryLimitError as exc:
        raise HTTPException(422, str(exc)) from exc
    return Question(
        user_id=user_id,
        message=message,
        history_limit=limit,
        project_id=getattr(data, "project_id", None),
        conversation_id=getattr(data, "conversation_id", None),
    )
