"""What is read and written when the app has Supabase and nothing else is said?

Three tables: `projects` (`id`, `user_id`, and what is to stand in the prompt), and `chat_logs` with one row per message
(`user_id`, `project_id`, `conversation_id`, `sender` = `user` or `assistant`, `message`, `context_data`, `created_at`).
Both rows of a turn go in one request, which PostgREST runs in one transaction: both are there, or none
(https://docs.postgrest.org/en/stable/references/transactions.html).

Nothing here imports Supabase: any client with `table(name)` will do, synchronous or asynchronous.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from phase1.chat.database import AsyncDatabaseHelper, Fetched, optional, required
from phase1.chat.store import DEAD_LETTER_FILE, ChatStore
from phase1.chat.together import together
from phase1.chat.turn import Question, Turn

__all__ = [
    "AsyncProjectContextBuilder",
    "HasTables",
    "SupabaseStore",
    "history_query",
    "parallel_fetch_context_and_history",
    "parallel_save_chat_logs",
    "project_query",
    "rows_of",
]

Row = dict[str, Any]

_NOT_FOR_PROMPTS = frozenset({"id", "user_id", "created_at", "updated_at"})


class HasTables(Protocol):
    """A client with a query builder."""

    def table(self, table_name: str, /) -> Any:  # noqa: ANN401 - the builders of several libraries
        """A new builder for the table."""


def project_query(client: HasTables, question: Question) -> object:
    """The user's project."""
    found = client.table("projects").select("*").eq("id", question.project_id)
    return found.eq("user_id", question.user_id).limit(1)


def history_query(client: HasTables, question: Question) -> object:
    """The last messages of the conversation, or of the user; newest first, since the limit counts from there."""
    found = client.table("chat_logs").select("sender, message, created_at").eq("user_id", question.user_id)
    if question.conversation_id is not None:
        found = found.eq("conversation_id", question.conversation_id)
    return found.order("created_at", desc=True).limit(question.history_limit)


def rows_of(turn: Turn) -> tuple[Row, Row]:
    """The two rows of a turn."""
    common = {
        "user_id": turn.user_id,
        "project_id": turn.project_id,
        "conversation_id": turn.conversation_id,
        "context_data": _as_json({"turn_id": turn.id, "kind": turn.kind, **turn.details}),
    }
    return (
        {**common, "sender": "user", "message": turn.message, "created_at": turn.asked_at},
        {**common, "sender": "assistant", "message": turn.response, "created_at": turn.answered_at},
    )


class AsyncProjectContextBuilder:
    """Reads what the prompt says about a user's project; everything that it is made of at the same time.

    `project(client, question)`: a query for the project's row. `sections`: more queries by name, whose rows are listed
    under that name; they can be done without. `render(project, sections)` writes the text.
    """

    def __init__(
        self,
        db_helper: AsyncDatabaseHelper,
        *,
        project: Callable[..., object] = project_query,
        render: Callable[[Row, Mapping[str, object]], str] | None = None,
        **sections: Callable[..., object],
    ) -> None:
        self._db = db_helper
        self._project = project
        self._render = render or _as_text
        self._sections = sections

    async def build(self, question: Question) -> str | None:
        """The text; `None` without a project, or when the user has none of this id. Raises what the database raises."""
        if question.project_id is None:
            return None
        sections = {name: optional(query, question, default=[]) for name, query in self._sections.items()}
        read = await self._db.gather(project=required(self._project, question), **sections)
        rows = cast("Sequence[Row]", read["project"])
        return self._render(rows[0], {name: read[name] for name in sections}) if rows else None


def _as_text(project: Row, sections: Mapping[str, object]) -> str:
    facts = [f"{name}: {value}" for name, value in project.items() if value and name not in _NOT_FOR_PROMPTS]
    lists = [f"{name}: {_as_json(rows)}" for name, rows in sections.items() if rows]
    return "\n".join(["The user's project:", *facts, *lists])


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


async def parallel_fetch_context_and_history(
    db_helper: AsyncDatabaseHelper,
    context_builder: AsyncProjectContextBuilder,
    question: Question,
    *,
    history: Callable[..., object] = history_query,
) -> Fetched:
    """`context` (a text, or `None`) and `history` (rows, oldest first), read at the same time.

    The history can be done without: then it is empty and `warnings` say so. Raises what reading the context raises.
    """
    wanted = {"history": optional(history, question, default=[])} if question.history_limit > 0 else {}
    read = await together(context=context_builder.build(question), rest=db_helper.gather(**wanted))
    rest = cast("Fetched", read["rest"])
    newest_first = cast("Sequence[Row]", rest.get("history", []))
    return Fetched({"context": read["context"], "history": list(newest_first)[::-1]}, rest.warnings)


async def parallel_save_chat_logs(
    db_helper: AsyncDatabaseHelper,
    user_message_data: Mapping[str, object],
    ai_message_data: Mapping[str, object],
    *,
    table: str = "chat_logs",
    unique: str | None = None,
) -> object:
    """Save a question and its answer: one request, both or none. Gives the rows as they are now.

    `unique`: a column with a unique index that both rows have; rows that are there already are left alone, so that it
    may be called twice. Raises what the database raises.
    """
    rows = [dict(user_message_data), dict(ai_message_data)]

    def insert(client: HasTables) -> object:
        if unique is None:
            return client.table(table).insert(rows)
        return client.table(table).upsert(rows, on_conflict=unique, ignore_duplicates=True)

    return await db_helper.write(insert, name="save")


class SupabaseStore(ChatStore):
    """What a turn reads and writes in the tables above. Other columns: other queries, other `rows`.

    `unique`: as of `parallel_save_chat_logs`; `options` are those of `ChatStore`.
    """

    def __init__(
        self,
        client: HasTables | AsyncDatabaseHelper,
        *,
        context_builder: AsyncProjectContextBuilder | None = None,
        history: Callable[..., object] = history_query,
        rows: Callable[[Turn], tuple[Row, Row]] = rows_of,
        unique: str | None = None,
        dead_letters: str | Path = DEAD_LETTER_FILE,
        save_timeout: float = 5.0,
    ) -> None:
        helper = client if isinstance(client, AsyncDatabaseHelper) else AsyncDatabaseHelper(client)
        super().__init__(helper, save=rows, dead_letters=dead_letters, save_timeout=save_timeout)
        self._builder = context_builder or AsyncProjectContextBuilder(helper)
        self._history = history
        self._rows = rows
        self._unique = unique

    async def read(self, question: Question, *, history: bool = True) -> Fetched:
        """The project's context and the last messages. Raises what reading the context raises."""
        question = question if history else replace(question, history_limit=0)
        return await parallel_fetch_context_and_history(self.helper, self._builder, question, history=self._history)

    async def save(self, turn: Turn) -> None:
        """Both messages of the turn, in one request."""
        await parallel_save_chat_logs(self.helper, *self._rows(turn), unique=self._unique)
