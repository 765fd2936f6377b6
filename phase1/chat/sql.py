"""How does SQLAlchemy run a query? Each in a session of its own: no session is ever seen by two threads or two tasks.

Statements give rows as dictionaries; one that returns none gives the number of rows it has changed, or `None` where the
driver does not count. For ORM objects give a function of the session, and read inside it what is needed: the session is
closed afterwards.

Transactions: https://docs.sqlalchemy.org/en/20/orm/session_transaction.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

from sqlalchemy import CursorResult, Engine, Executable, Result, UpdateBase
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

if TYPE_CHECKING:
    from phase1.chat.sources import Source
    from phase1.chat.threads import Threads

__all__ = ["AsyncSessions", "Sessions", "sql_source"]

_SHARED = (Session, AsyncSession, Connection, AsyncConnection)


def sql_source(database: object) -> Source | None:
    """The source for an engine or a session factory; `None` for what is not SQLAlchemy's.

    Raises `TypeError` for a session or a connection: concurrent reads cannot share one.
    """
    if isinstance(database, _SHARED):
        kind = type(database).__name__
        raise TypeError(f"a {kind} must not be used by two threads or tasks: give the engine or the sessionmaker")
    if isinstance(database, scoped_session | async_scoped_session):
        return sql_source(database.session_factory)
    match database:
        case Engine():
            return Sessions(sessionmaker(database, expire_on_commit=False))
        case AsyncEngine():
            return AsyncSessions(async_sessionmaker(database, expire_on_commit=False))
        case sessionmaker():
            return Sessions(database)
        case async_sessionmaker():
            return AsyncSessions(database)
        case _:
            return None


class Sessions:
    """Synchronous sessions, each made, used and closed in one thread."""

    def __init__(self, factory: Callable[[], Session]) -> None:
        self._factory = factory

    async def run(self, query: object, args: tuple[object, ...], threads: Threads, *, write: bool) -> object:
        """Run it in a thread."""
        return await threads.run(lambda: self._run(query, args, write=write))

    def _run(self, query: object, args: tuple[object, ...], *, write: bool) -> object:
        with self._factory() as session:
            answer = (
                query(session, *args) if callable(query) else _only([_rows(s, session.execute(s)) for s in _all(query)])
            )
            if write:
                session.commit()
            return answer


class AsyncSessions:
    """Asynchronous sessions, each for one query on the loop."""

    def __init__(self, factory: Callable[[], AsyncSession]) -> None:
        self._factory = factory

    async def run(self, query: object, args: tuple[object, ...], threads: Threads, *, write: bool) -> object:  # noqa: ARG002 - nothing blocks
        """Run it on the loop. A function must be a coroutine function."""
        async with self._factory() as session:
            if callable(query):
                answer = await cast("Awaitable[object]", query(session, *args))
            else:
                answer = _only([_rows(s, await session.execute(s)) for s in _all(query)])
            if write:
                await session.commit()
            return answer


def _all(query: object) -> Sequence[Executable]:
    statements = query if isinstance(query, list | tuple) else (query,)
    for statement in statements:
        if not isinstance(statement, Executable):
            kind = type(statement).__name__
            raise TypeError(
                f"cannot run a {kind}: give a statement, a list of statements, or a function of the session"
            )
    return statements


def _rows(statement: Executable, result: Result[tuple[object, ...]]) -> object:
    found = cast("CursorResult[tuple[object, ...]]", result)
    if found.returns_rows and not _has_keys_only(statement):
        return [dict(row) for row in found.mappings()]
    return found.rowcount if found.rowcount >= 0 else None


def _has_keys_only(statement: Executable) -> bool:
    """An INSERT has SQLAlchemy return the new keys for itself, also when the statement asks for nothing."""
    return isinstance(statement, UpdateBase) and not len(statement.exported_columns)


def _only(answers: list[object]) -> object:
    """One statement has one answer; a list of them has a list."""
    return answers[0] if len(answers) == 1 else answers
