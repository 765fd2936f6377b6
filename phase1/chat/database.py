"""How does a chat endpoint ask its database without blocking the loop, and everything at once that can be?

db = AsyncDatabaseHelper(supabase)
rows = await db.fetch(lambda client: client.table("projects").select("*").eq("id", 7))
read = await db.gather(project=required(find_project, 7), history=optional(recent_chat, 7, 20, default=[]))
await db.write(save_turn, turn)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from phase1.chat.dropped import is_dropped_connection
from phase1.chat.exceptions import DatabaseTimeout
from phase1.chat.sources import source_of
from phase1.chat.threads import Threads
from phase1.chat.timing import QueryTiming, note
from phase1.chat.together import together

__all__ = ["AsyncDatabaseHelper", "Fetched", "Read", "optional", "required"]

_log = logging.getLogger("phase1")


@dataclass(frozen=True, slots=True)
class Read:
    """One of several reads. If it fails, `required` decides: an error, or `default` and a warning."""

    query: object
    args: tuple[object, ...]
    required: bool
    default: object = None


def required(query: object, *args: object) -> Read:
    """A read without which there is no answer."""
    return Read(query, args, required=True)


def optional(query: object, *args: object, default: object = None) -> Read:
    """A read that an answer can do without."""
    return Read(query, args, required=False, default=default)


@dataclass(frozen=True, slots=True)
class Fetched(Mapping[str, object]):
    """What `gather` has read, by name. `warnings` say what had to be done without."""

    values_by_name: dict[str, object]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> object:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


class AsyncDatabaseHelper:
    """Concurrent, bounded, timed access to the app's own database.

    `database`: a client with a query builder (Supabase), an SQLAlchemy engine or session factory, synchronous or
    asynchronous, or nothing: then queries are the app's own functions (`phase1.chat.sources` says what a query may be).
    `threads`: blocking queries at once; default = the connections of SQLAlchemy's default pool. Keep it below the
    database's limit. `timeout`: seconds for one query
    with its wait for a thread and its retry; a thread cannot be stopped, it ends with the driver's own timeout.

    Raises `TypeError` for a session or connection, which threads must not share.
    """

    def __init__(
        self,
        database: object = None,
        *,
        threads: int = 15,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if threads < 1:
            raise ValueError(f"threads={threads}: must be 1 or more")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout}: must be more than 0 seconds")
        self.timeout = timeout
        self._source = source_of(database)
        self._threads = Threads(threads, name="phase1-db")
        self._clock = clock

    async def fetch(
        self, query: object, /, *args: object, name: str | None = None, timeout: float | None = None
    ) -> object:
        """The result of a query that changes nothing. It is asked once more if the connection was dropped.

        `name`: how timings and log lines call it. Raises `DatabaseTimeout`, and what the database raises.
        """
        return await self._run(query, args, name=name, timeout=timeout, write=False)

    async def write(
        self, query: object, /, *args: object, name: str | None = None, timeout: float | None = None
    ) -> object:
        """Run a query for its changes, in one transaction where the database has them. It is never asked twice.

        Raises `DatabaseTimeout` (the changes may have been made), and what the database raises.
        """
        return await self._run(query, args, name=name, timeout=timeout, write=True)

    async def gather(self, **reads: Read) -> Fetched:
        """Run all reads at the same time; the keywords are their names.

        Raises what the first failed required read raised; the others are cancelled then.
        """
        warnings: list[str] = []
        values = await together(**{name: self._read(name, read, warnings) for name, read in reads.items()})
        return Fetched(values, tuple(warnings))

    async def _read(self, name: str, read: Read, warnings: list[str]) -> object:
        try:
            return await self._run(read.query, read.args, name=name, timeout=None, write=False)
        except Exception as exc:
            if read.required:
                raise
            _log.warning("%s could not be read (%s); going on without it", name, type(exc).__qualname__)
            warnings.append(f"{name} could not be read")
            return read.default

    async def _run(
        self, query: object, args: tuple[object, ...], *, name: str | None, timeout: float | None, write: bool
    ) -> object:
        name = name or _name(query)
        seconds = self.timeout if timeout is None else timeout
        started, attempts, error = self._clock(), 0, None
        try:
            async with asyncio.timeout(seconds) as limit:
                while True:
                    attempts += 1
                    try:
                        return await self._source.run(query, args, self._threads, write=write)
                    except Exception as exc:
                        if write or attempts > 1 or not is_dropped_connection(exc):
                            raise
                        _log.warning("%s: the connection was dropped (%s); asking again", name, type(exc).__qualname__)
        except BaseException as exc:
            error = type(exc).__qualname__
            if isinstance(exc, TimeoutError) and limit.expired():
                raise DatabaseTimeout(f"{name}: the database did not answer within {seconds:g} s") from None
            raise
        finally:
            note(QueryTiming(name, self._clock() - started, attempts, error))

    def __repr__(self) -> str:
        return f"<AsyncDatabaseHelper {type(self._source).__name__}, {self._threads!r}>"


def _name(query: object) -> str:
    inner = getattr(query, "func", query)  # functools.partial
    return str(getattr(inner, "__name__", type(query).__name__))
