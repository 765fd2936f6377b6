"""How is a query run on what the app has: its own functions, a query builder, SQLAlchemy?

    no database          a function is called with its arguments; a builder is executed
    a client             a function is called with the client first: `lambda supabase: supabase.table(...).select("*")`
    SQLAlchemy           a function is called with a session of its own first, inside a transaction; a statement is
                         executed in one (`phase1.chat.sql`)

Whatever blocks runs in a thread; coroutine functions and asynchronous builders run on the loop. A function that returns
a builder means what the builder would find.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from phase1.chat.threads import Threads

__all__ = ["AppFunctions", "ClientSource", "Source", "call", "source_of"]


class Source(Protocol):
    """Where queries go."""

    async def run(self, query: object, args: tuple[object, ...], threads: Threads, *, write: bool) -> object:
        """The query's result. `write`: its changes are to be kept, all or none."""


def source_of(database: object) -> Source:
    """The source for what the app has. Raises `TypeError` for what must not be shared between threads."""
    if database is None:
        return AppFunctions()
    if (source := _sql_source(database)) is not None:
        return source
    if hasattr(database, "cursor") and hasattr(database, "commit"):
        kind = f"{type(database).__module__}.{type(database).__qualname__}"
        raise TypeError(f"{kind} is one connection, which threads must not share: give functions that open their own")
    return ClientSource(database)


def _sql_source(database: object) -> Source | None:
    if "sqlalchemy" not in sys.modules:  # not imported by anybody: then it is none of its objects
        return None
    from phase1.chat.sql import sql_source  # noqa: PLC0415 - only where SQLAlchemy is

    return sql_source(database)


class AppFunctions:
    """The app's own functions, with their own connections; and builders, which know their client."""

    async def run(self, query: object, args: tuple[object, ...], threads: Threads, *, write: bool) -> object:  # noqa: ARG002 - the functions know what they do
        """Call it, or execute it."""
        if callable(query) and not _is_builder(query):
            return await _result(await call(query, args, threads), threads)
        if not _is_builder(query):
            raise TypeError(f"cannot run a {type(query).__name__}: give a function, or a builder that has .execute()")
        return await _result(query, threads)


class ClientSource(AppFunctions):
    """A client such as Supabase's, which hands out a new builder for each query."""

    def __init__(self, client: object) -> None:
        self.client = client
        getattr(client, "postgrest", None)  # Supabase opens it when first asked, and twice when two threads ask at once

    async def run(self, query: object, args: tuple[object, ...], threads: Threads, *, write: bool) -> object:
        """Call it with the client first, or execute it."""
        with_client = (self.client, *args) if not _is_builder(query) else args
        return await super().run(query, with_client, threads, write=write)


async def call(fn: Callable[..., object], args: tuple[object, ...], threads: Threads) -> object:
    """`fn(*args)`, awaited if it says so; in a thread unless it is a coroutine function."""
    plain = fn.func if isinstance(fn, partial) else fn
    if inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(type(plain).__call__):
        answer = fn(*args)
    else:
        answer = await threads.run(partial(fn, *args))
    return await cast("Awaitable[object]", answer) if inspect.isawaitable(answer) else answer


def _is_builder(query: object) -> bool:
    return callable(getattr(query, "execute", None)) and not isinstance(query, type)


async def _result(answer: object, threads: Threads) -> object:
    """The rows that a builder finds; anything else as it is."""
    if not _is_builder(answer) or hasattr(answer, "data"):
        return answer
    response = await call(answer.execute, (), threads)  # type: ignore[attr-defined]  # seen by _is_builder
    return getattr(response, "data", response)
