"""Does it work with the real Supabase and postgrest clients, synchronous and asynchronous?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from postgrest import APIError, AsyncPostgrestClient, SyncPostgrestClient
from supabase import Client, acreate_client, create_client

from phase1.chat import (
    AsyncDatabaseHelper,
    AsyncProjectContextBuilder,
    ChatStore,
    Question,
    Stopwatch,
    SupabaseStore,
    Turn,
    parallel_fetch_context_and_history,
    parallel_save_chat_logs,
    required,
)

from .postgrest import PostgREST

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' parameter is deprecated:DeprecationWarning")  # supabase's own

KEY = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl"
PROJECT = {"id": 7, "user_id": 1, "theme": "Bridges", "question": "Why do they hold?", "created_at": "2024"}
CLIENTS = ("supabase", "supabase async", "postgrest", "postgrest async")


@contextmanager
def client_of(rest: PostgREST) -> Iterator[Client]:
    """Supabase's own, closed at the end."""
    made = create_client(rest.url, KEY)
    yield made
    made.postgrest.session.close()


@pytest.fixture
def supabase(rest: PostgREST) -> Iterator[Client]:
    """The usual one."""
    with client_of(rest) as made:
        yield made


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, rest: PostgREST) -> AsyncIterator[Any]:
    """Each of the four."""
    match request.param:
        case "supabase":
            with client_of(rest) as made:
                yield made
        case "supabase async":
            made_async = await acreate_client(rest.url, KEY)
            yield made_async
            await made_async.postgrest.aclose()
        case "postgrest":
            with SyncPostgrestClient(f"{rest.url}/rest/v1") as postgrest:
                yield postgrest
        case _:
            async with AsyncPostgrestClient(f"{rest.url}/rest/v1") as async_postgrest:
                yield async_postgrest


def turn_of(message: str = "question", response: str = "answer", second: int = 0) -> Turn:
    """A turn at this second."""
    return Turn(
        user_id=1,
        kind="chat",
        message=message,
        response=response,
        project_id=7,
        conversation_id="c",
        asked_at=f"2024-01-01T00:00:{second:02}.000",
        answered_at=f"2024-01-01T00:00:{second:02}.500",
    )


def question(**values: Any) -> Question:  # noqa: ANN401 - its fields
    """The next question in the conversation."""
    return Question(**{"user_id": 1, "message": "next", "history_limit": 4, "conversation_id": "c"} | values)


async def test_builder_and_function_of_the_client_give_rows(client: Any, rest: PostgREST) -> None:  # noqa: ANN401
    """The builder as it is written in the app, without execute()."""
    rest.tables["projects"].append(PROJECT)
    db = AsyncDatabaseHelper(client)
    builder = client.from_("projects").select("*").eq("id", 7)
    assert await db.fetch(builder) == [PROJECT]
    assert await db.fetch(lambda c, number: c.from_("projects").select("theme").eq("id", number), 7) == [
        {"theme": "Bridges"}
    ]


async def test_two_reads_are_at_the_database_at_the_same_time() -> None:
    """A PostgREST that answers only pairs answers."""
    with PostgREST(together=2) as pairs, SyncPostgrestClient(f"{pairs.url}/rest/v1") as own:
        db = AsyncDatabaseHelper(own)
        read = await db.gather(
            a=required(lambda c: c.from_("projects").select("*")), b=required(lambda c: c.from_("logs").select("*"))
        )
    assert dict(read) == {"a": [], "b": []}


async def test_turns_are_saved_and_read_back_in_order(rest: PostgREST, supabase: Client) -> None:
    """Two rows a turn, in one request; the history is the newest four messages, oldest first."""
    store = SupabaseStore(supabase)
    for second in range(3):
        assert await store.keep(turn_of(f"q{second}", f"a{second}", second))
    assert [request.method for request in rest.seen] == ["POST"] * 3
    read = await store.read(question())
    rows: Any = read["history"]
    assert [(row["sender"], row["message"]) for row in rows] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
        ("assistant", "a2"),
    ]


async def test_both_messages_are_saved_or_none(client: Any, rest: PostgREST) -> None:  # noqa: ANN401
    """The database refuses the second row: the first is not there either."""
    if not hasattr(client, "table"):
        client.table = client.from_
    db = AsyncDatabaseHelper(client)
    with pytest.raises(APIError):
        await parallel_save_chat_logs(db, {"message": "question"}, {"message": "forbidden"})
    assert rest.tables["chat_logs"] == []
    assert await parallel_save_chat_logs(db, {"message": "question"}, {"message": "answer"}) == [
        {"message": "question"},
        {"message": "answer"},
    ]


async def test_project_of_somebody_else_is_no_context(rest: PostgREST, supabase: Client) -> None:
    """The user's id is part of the query."""
    rest.tables["projects"].append(PROJECT)
    db = AsyncDatabaseHelper(supabase)
    builder = AsyncProjectContextBuilder(db)
    assert await builder.build(question(project_id=7)) == (
        "The user's project:\ntheme: Bridges\nquestion: Why do they hold?"
    )
    assert await builder.build(question(project_id=7, user_id=2)) is None
    assert await builder.build(question()) is None
    assert len(rest.seen) == 2


async def test_sections_of_a_context_are_read_with_it(rest: PostgREST, supabase: Client) -> None:
    """More tables at the same time; one that fails is left out."""
    rest.tables["projects"].append(PROJECT)
    rest.tables["memos"].append({"project_id": 7, "title": "Arch"})
    builder = AsyncProjectContextBuilder(
        AsyncDatabaseHelper(supabase),
        render=lambda project, sections: f"{project['theme']}: {sections}",
        memos=lambda client, asked: client.table("memos").select("title").eq("project_id", asked.project_id),
        broken=lambda client, asked: 1 / 0,
    )
    assert await builder.build(question(project_id=7)) == "Bridges: {'memos': [{'title': 'Arch'}], 'broken': []}"


async def test_context_and_history_at_the_same_time() -> None:
    """A PostgREST that answers only pairs has both."""
    with PostgREST(together=2) as pairs:
        pairs.tables["projects"].append(PROJECT)
        pairs.tables["chat_logs"].append(
            {"user_id": 1, "conversation_id": "c", "sender": "user", "message": "m", "created_at": "1"}
        )
        with client_of(pairs) as supabase:
            db = AsyncDatabaseHelper(supabase)
            read = await parallel_fetch_context_and_history(db, AsyncProjectContextBuilder(db), question(project_id=7))
    assert "Bridges" in str(read["context"])
    rows: Any = read["history"]
    assert [row["message"] for row in rows] == ["m"]


async def test_history_that_cannot_be_read_is_a_warning(rest: PostgREST, supabase: Client) -> None:
    """The context is there, the history is empty, and it says so."""
    rest.faults.append("refuse")
    db = AsyncDatabaseHelper(supabase)
    read = await parallel_fetch_context_and_history(db, AsyncProjectContextBuilder(db), question())
    assert (read["context"], read["history"], read.warnings) == (None, [], ("history could not be read",))


async def test_no_history_is_not_asked_for(rest: PostgREST, supabase: Client) -> None:
    """A limit of 0 saves the query."""
    db = AsyncDatabaseHelper(supabase)
    read = await parallel_fetch_context_and_history(db, AsyncProjectContextBuilder(db), question(history_limit=0))
    assert (read["history"], rest.seen) == ([], [])


async def test_read_survives_a_dropped_connection(client: Any, rest: PostgREST) -> None:  # noqa: ANN401
    """The server closes instead of answering: the read is asked again, by us where postgrest does not do it itself."""
    rest.faults.append("drop")
    watch = Stopwatch()
    with watch.hearing():
        found = await AsyncDatabaseHelper(client).fetch(lambda c: c.from_("projects").select("*").retry(enabled=False))
    assert (found, [query.attempts for query in watch.queries], len(rest.seen)) == ([], [2], 2)


async def test_save_with_a_unique_column_is_there_once_whatever_happens(rest: PostgREST, supabase: Client) -> None:
    """The insert is done and its answer lost: tried again, the rows are recognised."""
    rest.unique["chat_logs"] = "message"
    rest.faults.append("drop")
    store = SupabaseStore(supabase, unique="message")
    assert await store.keep(turn_of())
    assert [row["message"] for row in rest.tables["chat_logs"]] == ["question", "answer"]
    assert len(rest.seen) == 2


async def test_save_that_is_refused_waits_in_the_file(rest: PostgREST, supabase: Client) -> None:
    """Until it is replayed; the answer is not lost."""
    store = SupabaseStore(supabase)
    store._retries = (0,)
    rest.faults.extend(["refuse", "refuse"])
    assert not await store.keep(turn_of())
    assert (rest.tables["chat_logs"], len(store.dead_letters)) == ([], 1)
    replayed = await store.dead_letters.replay(store.save)
    assert (replayed.saved, replayed.left, len(store.dead_letters)) == (1, 0, 0)
    assert [row["message"] for row in rest.tables["chat_logs"]] == ["question", "answer"]


async def test_fifty_users_at_once(rest: PostgREST, supabase: Client) -> None:
    """One client, many threads: everybody reads what they have written."""
    store: ChatStore = SupabaseStore(supabase)

    async def talk(user: int) -> list[str]:
        turn = Turn(user_id=user, kind="chat", message=f"q{user}", response=f"a{user}", asked_at="1", answered_at="2")
        assert await store.keep(turn)
        read = await store.read(Question(user_id=user, message="next", history_limit=10))
        rows: Any = read["history"]
        return [row["message"] for row in rows]

    assert await asyncio.gather(*(talk(user) for user in range(50))) == [[f"q{n}", f"a{n}"] for n in range(50)]
