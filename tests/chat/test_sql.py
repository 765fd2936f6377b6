"""Does SQLAlchemy run as it must: a session for each query, all or nothing, on both databases, sync and async?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, Integer, String, create_engine, exc, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from phase1.chat import AsyncDatabaseHelper, ChatStore, Question, Turn, optional, required
from tests.example.conftest import NewDatabase

BOUND = 10.0


class Base(DeclarativeBase):
    """The app's models."""


class ChatLog(Base):
    __tablename__ = "chat_logs"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    user_id: Mapped[int] = mapped_column(Integer)
    message: Mapped[str] = mapped_column(String, unique=True)


logs = ChatLog.__table__


@dataclass
class World:
    """A helper over one of the four, and a plain engine to look at the tables with."""

    db: AsyncDatabaseHelper
    engine: Engine
    asynchronous: bool

    def messages(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(ChatLog.message).order_by(ChatLog.id)))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database with the tables."""
    new: NewDatabase = request.getfixturevalue("new_sqlite" if request.param == "sqlite" else "new_postgres")
    return new().replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Synchronous."""
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@asynccontextmanager
async def async_factory(url: str) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Asynchronous sessions on the same database."""
    engine = create_async_engine(url.replace("sqlite://", "sqlite+aiosqlite://"))
    yield async_sessionmaker(engine)
    await engine.dispose()


@pytest.fixture(params=["sync", "async"])
async def world(request: pytest.FixtureRequest, engine: Engine, url: str) -> AsyncIterator[World]:
    """Each database, each way."""
    if request.param == "sync":
        yield World(AsyncDatabaseHelper(engine), engine, asynchronous=False)
        return
    async with async_factory(url) as factory:
        yield World(AsyncDatabaseHelper(factory), engine, asynchronous=True)


async def test_statements_give_rows_as_dictionaries(world: World) -> None:
    """A write of a statement keeps it; a read gives what a builder would give."""
    assert await world.db.write(insert(logs).values(user_id=1, message="hello")) in {1, None}
    assert await world.db.write(update(logs).values(user_id=1)) == 1
    assert await world.db.fetch(select(logs.c.user_id, logs.c.message)) == [{"user_id": 1, "message": "hello"}]
    assert await world.db.fetch(text("SELECT count(*) AS n FROM chat_logs")) == [{"n": 1}]


async def test_statements_of_one_write_are_all_kept_or_none(world: World) -> None:
    """The second one breaks a rule: the first is not there either."""
    good, bad = insert(logs).values(user_id=1, message="a"), insert(logs).values(user_id=1, message=None)
    with pytest.raises(exc.IntegrityError):
        await world.db.write([good, bad])
    assert world.messages() == []
    await world.db.write([good, insert(logs).values(user_id=1, message="b")])
    assert world.messages() == ["a", "b"]


async def test_function_gets_a_session_and_its_write_is_kept_or_nothing(world: World) -> None:
    """ORM objects in a function; an error inside takes everything back."""

    def add(session: Session, *messages: str, fail: bool = False) -> int:
        session.add_all([ChatLog(user_id=1, message=message) for message in messages])
        session.flush()
        if messages[-1] == "fail":
            raise LookupError
        return len(messages)

    async def add_async(session: AsyncSession, *messages: str) -> int:
        return await session.run_sync(add, *messages)

    write = add_async if world.asynchronous else add
    with pytest.raises(LookupError):
        await world.db.write(write, "a", "fail")
    assert await world.db.write(write, "b", "c") == 2
    assert world.messages() == ["b", "c"]


async def test_fetch_changes_nothing(world: World) -> None:
    """What a read function adds by mistake is rolled back."""

    def add(session: Session) -> None:
        session.add(ChatLog(user_id=1, message="x"))
        session.flush()

    async def add_async(session: AsyncSession) -> None:
        await session.run_sync(add)

    await world.db.fetch(add_async if world.asynchronous else add)
    assert world.messages() == []


async def test_concurrent_reads_never_share_a_session(world: World) -> None:
    """Five reads that wait for one another have five sessions and, where they block, five threads."""
    together, sessions = threading.Barrier(5), set()
    all_there = asyncio.Barrier(5)

    def read(session: Session) -> int:
        together.wait(BOUND)
        sessions.add((id(session), threading.get_ident()))
        session.execute(select(logs))
        together.wait(BOUND)
        return threading.get_ident()

    async def read_async(session: AsyncSession) -> int:
        await all_there.wait()
        sessions.add((id(session), 0))
        await session.execute(select(logs))
        await all_there.wait()
        return 0

    query = read_async if world.asynchronous else read
    read_all = await world.db.gather(**{name: required(query) for name in "abcde"})
    assert len(sessions) == 5
    assert len(set(read_all.values())) == (1 if world.asynchronous else 5)


async def test_store_over_sqlalchemy(world: World) -> None:
    """History and save as functions of a session; a save that fails once is not half there afterwards."""

    def history(session: Session, question: Question) -> list[str]:
        found = select(ChatLog.message).where(ChatLog.user_id == question.user_id).order_by(ChatLog.id)
        return list(session.scalars(found))

    failures = ["once"]

    def save(session: Session, turn: Turn) -> None:
        session.add(ChatLog(user_id=int(turn.user_id), message=turn.message))
        session.flush()
        if failures:
            raise ConnectionResetError(failures.pop())
        session.add(ChatLog(user_id=int(turn.user_id), message=turn.response))

    async def history_async(session: AsyncSession, question: Question) -> list[str]:
        return await session.run_sync(history, question)

    async def save_async(session: AsyncSession, turn: Turn) -> None:
        await session.run_sync(save, turn)

    functions: dict[str, Any] = {"history": history, "save": save}
    if world.asynchronous:
        functions = {"history": history_async, "save": save_async}
    store = ChatStore(world.db, retries=(0,), **functions)
    turn = Turn(user_id=1, kind="chat", message="question", response="answer", asked_at="1", answered_at="2")
    assert await store.keep(turn)
    read = await store.read(Question(user_id=1, message="next", history_limit=5))
    assert read["history"] == ["question", "answer"]


@pytest.mark.parametrize("kind", ["engine", "sessionmaker", "scoped_session"])
async def test_every_kind_of_factory(kind: str, engine: Engine) -> None:
    """What apps have; a scoped session's own registry is left alone."""
    made: dict[str, Any] = {
        "engine": engine,
        "sessionmaker": sessionmaker(engine),
        "scoped_session": scoped_session(sessionmaker(engine)),
    }
    assert await AsyncDatabaseHelper(made[kind]).fetch(text("SELECT 1 AS one")) == [{"one": 1}]
    if kind == "scoped_session":
        assert not made[kind].registry.has()


async def test_every_kind_of_asynchronous_factory(engine: Engine, url: str) -> None:
    """The same on the loop."""
    async with async_factory(url) as factory:
        scoped = async_scoped_session(factory, scopefunc=asyncio.current_task)
        for database in (factory.kw["bind"], factory, scoped):
            assert await AsyncDatabaseHelper(database).fetch(text("SELECT 1 AS one")) == [{"one": 1}]


async def test_session_or_connection_is_refused(engine: Engine, url: str) -> None:
    """They are what concurrent reads must not share."""
    with Session(engine) as session, engine.connect() as connection:
        for shared, kind in ((session, "Session"), (connection, "Connection")):
            with pytest.raises(TypeError, match=f"a {kind} must not be used by two threads or tasks: give the engine"):
                AsyncDatabaseHelper(shared)
    async with async_factory(url) as factory, factory() as async_session:
        with pytest.raises(TypeError, match="AsyncSession must not be used"):
            AsyncDatabaseHelper(async_session)


async def test_something_else_is_no_statement(world: World) -> None:
    """A string is refused, as SQLAlchemy refuses it."""
    with pytest.raises(TypeError, match="cannot run a str: give a statement"):
        await world.db.fetch("SELECT 1")


# --- a database that dies ---------------------------------------------------------------------------------------------


def end_all_others(url: str) -> None:
    """What a restart of PostgreSQL does to the connections in everybody's pools."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def postgres(new_postgres: NewDatabase) -> str:
    """PostgreSQL only: SQLite has no connection that could be lost."""
    return new_postgres().replace("postgresql://", "postgresql+psycopg://")


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_read_survives_a_restart(way: str, postgres: str) -> None:
    """The pooled connection is dead: the read is asked again on a new one, and nobody notices."""
    engine = create_engine(postgres)
    async with async_factory(postgres) as factory:
        db = AsyncDatabaseHelper(engine if way == "sync" else factory)
        await db.fetch(text("SELECT 1"))
        await asyncio.to_thread(end_all_others, postgres)
        assert await db.fetch(text("SELECT 2 AS two")) == [{"two": 2}]
    engine.dispose()


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_database_that_dies_between_read_and_write_loses_nothing(way: str, postgres: str) -> None:
    """History is read, the model answers, the connection dies, the turn is there: once, and whole."""
    engine = create_engine(postgres)
    Base.metadata.create_all(engine)

    def save(session: Session, turn: Turn) -> None:
        session.add_all([ChatLog(user_id=1, message=turn.message), ChatLog(user_id=1, message=turn.response)])

    async def save_async(session: AsyncSession, turn: Turn) -> None:
        await session.run_sync(save, turn)

    async with async_factory(postgres) as factory:
        db = AsyncDatabaseHelper(engine if way == "sync" else factory)
        store = ChatStore(db, save=save if way == "sync" else save_async, retries=(0, 0))
        await db.gather(one=required(text("SELECT 1")), two=optional(text("SELECT 2")))
        await asyncio.to_thread(end_all_others, postgres)
        turn = Turn(user_id=1, kind="chat", message="question", response="answer", asked_at="1", answered_at="2")
        assert await store.keep(turn)
        rows: Any = await db.fetch(select(logs.c.message).order_by(logs.c.id))
    assert [row["message"] for row in rows] == ["question", "answer"]
    assert len(store.dead_letters) == 0
    engine.dispose()


async def test_refused_connection_is_the_drivers_error(tmp_path: Any) -> None:  # noqa: ANN401
    """A database that is not there: asked twice, then its own error."""
    engine = create_engine(f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    with pytest.raises(exc.OperationalError):
        await AsyncDatabaseHelper(engine).fetch(text("SELECT 1"))
    engine.dispose()
