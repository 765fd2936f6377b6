"""Does the helper run what the app has: at the same time, bounded, timed, retried once, and never half?"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial
from typing import Any

import pytest

from phase1.chat import AsyncDatabaseHelper, DatabaseTimeout, Stopwatch, optional, required
from phase1.chat.threads import Threads

BOUND = 10.0


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Flaky:
    """Fails so often with this error, and then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "found"


class Builder:
    """A query builder as Supabase's are."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def execute(self) -> object:
        return type("Response", (), {"data": self.rows, "count": None})()


class AsyncBuilder(Builder):
    async def execute(self) -> object:
        return super().execute()


class Client:
    def table(self, name: str) -> Builder:
        return Builder([len(name)])


async def fetch_async(value: int) -> int:
    """On the loop."""
    await asyncio.sleep(0)
    return value


# --- what a query may be ----------------------------------------------------------------------------------------------


async def test_blocking_function_runs_in_a_thread_with_its_arguments() -> None:
    """The loop's thread is not the one that blocks."""
    db = AsyncDatabaseHelper()
    assert await db.fetch(lambda a, b: (threading.current_thread() is not threading.main_thread(), a + b), 1, 2) == (
        True,
        3,
    )


@pytest.mark.parametrize(
    ("query", "args", "expected"),
    [
        (fetch_async, (7,), 7),
        (partial(fetch_async, 8), (), 8),
        (lambda: fetch_async(9), (), 9),
        (Builder([1, 2]), (), [1, 2]),
        (AsyncBuilder([3]), (), [3]),
        (lambda: Builder([4]), (), [4]),
        (lambda: AsyncBuilder([5]), (), [5]),
    ],
    ids=["async", "partial", "lambda of async", "builder", "async builder", "to builder", "to async builder"],
)
async def test_query_forms(query: object, args: tuple[int, ...], expected: object) -> None:
    """Functions, coroutine functions and builders of both kinds give their rows."""
    assert await AsyncDatabaseHelper().fetch(query, *args) == expected


async def test_client_comes_first() -> None:
    """With a client, a function gets it before its own arguments."""
    db = AsyncDatabaseHelper(Client())
    assert await db.fetch(lambda client, name: client.table(name), "chat_logs") == [9]


async def test_answer_of_execute_is_left_alone() -> None:
    """A function that executes its builder itself gets what it returned."""
    response: Any = await AsyncDatabaseHelper(Client()).fetch(lambda client: client.table("x").execute())
    assert response.data == [1]


async def test_something_else_is_no_query() -> None:
    """A string would be SQL for a database that nobody has named."""
    with pytest.raises(TypeError, match=r"cannot run a str: give a function, or a builder"):
        await AsyncDatabaseHelper().fetch("SELECT 1")


def test_connection_is_refused() -> None:
    """One connection for several threads is the mistake that this is there to prevent."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(TypeError, match=r"sqlite3.Connection is one connection, which threads must not share"):
        AsyncDatabaseHelper(connection)
    connection.close()


@pytest.mark.parametrize(
    ("options", "message"), [({"threads": 0}, "threads=0: must be 1"), ({"timeout": 0}, "timeout=0: must be more")]
)
def test_senseless_limits_are_refused(options: dict[str, Any], message: str) -> None:
    """Nothing would ever run."""
    with pytest.raises(ValueError, match=message):
        AsyncDatabaseHelper(**options)


# --- at the same time, and bounded ------------------------------------------------------------------------------------


async def test_reads_run_at_the_same_time() -> None:
    """Three queries that wait for one another are all answered: one after the other they would wait for ever."""
    together = threading.Barrier(3)
    db = AsyncDatabaseHelper()
    read = await db.gather(**{name: required(together.wait, BOUND) for name in ("a", "b", "c")})
    assert sorted(read.values()) == [0, 1, 2]


async def test_no_more_threads_than_allowed() -> None:
    """Of eight queries two run, and the others wait; nobody is forgotten."""
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def query() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(BOUND)
        with lock:
            running -= 1

    db = AsyncDatabaseHelper(threads=2)
    await asyncio.gather(*(db.fetch(query) for _ in range(8)))
    assert (most, running) == (2, 0)


async def test_caller_who_gives_up_leaves_the_place_to_its_thread() -> None:
    """A cancelled caller is gone at once; the place is free when the thread has ended, not before."""
    go, begun = threading.Event(), threading.Event()
    threads = Threads(1, name="test")

    def work() -> None:
        begun.set()
        go.wait(BOUND)

    first = asyncio.create_task(threads.run(work))
    await asyncio.to_thread(begun.wait, BOUND)
    first.cancel()
    await asyncio.wait({first})
    assert (first.cancelled(), threads.in_flight, repr(threads)) == (True, 1, "<Threads test: 1 of 1 busy>")
    second = asyncio.create_task(threads.run(lambda: "second"))
    await asyncio.sleep(0)
    assert not second.done()
    go.set()
    assert await second == "second"
    assert threads.in_flight == 0


async def test_waiter_that_is_cancelled_takes_no_place() -> None:
    """Who leaves the queue leaves nothing behind."""
    go = threading.Event()
    threads = Threads(1, name="test")
    first = asyncio.create_task(threads.run(lambda: go.wait(BOUND)))
    await asyncio.sleep(0)
    waiter = asyncio.create_task(threads.run(lambda: None))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    go.set()
    assert await first
    assert threads.in_flight == 0


# --- clocks -----------------------------------------------------------------------------------------------------------


async def test_hanging_database_is_a_clear_error() -> None:
    """The caller gets it after the timeout, with the query's name and the seconds."""
    go = threading.Event()
    db = AsyncDatabaseHelper(timeout=0.05)
    with pytest.raises(DatabaseTimeout, match=r"^history: the database did not answer within 0.05 s$"):
        await db.fetch(go.wait, BOUND, name="history")
    go.set()


async def test_hanging_asynchronous_database_is_a_clear_error() -> None:
    """On the loop the query is cancelled, too."""
    never: asyncio.Event = asyncio.Event()
    with pytest.raises(DatabaseTimeout):
        await AsyncDatabaseHelper().fetch(never.wait, timeout=0.05)


async def test_timeout_of_the_driver_is_the_drivers() -> None:
    """Only our own clock makes a DatabaseTimeout."""
    with pytest.raises(TimeoutError) as raised:
        await AsyncDatabaseHelper().fetch(Flaky(TimeoutError("driver"), 1))
    assert not isinstance(raised.value, DatabaseTimeout)


async def test_each_query_is_timed() -> None:
    """Name, seconds, tries and error of every query of a turn, also of those in tasks of it."""
    clock = Clock()

    def slow(seconds: float) -> None:
        clock.now += seconds

    db = AsyncDatabaseHelper(clock=clock)
    watch = Stopwatch(clock)
    with watch.hearing():
        await db.fetch(slow, 0.25, name="first")
        await db.gather(second=optional(Flaky(ValueError("no"), 1)))
    await db.fetch(slow, 1.0, name="of somebody else")
    assert [(q.name, q.seconds, q.attempts, q.error) for q in watch.queries] == [
        ("first", 0.25, 1, None),
        ("second", 0.0, 1, "ValueError"),
    ]


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_read_is_asked_again_when_the_connection_was_dropped() -> None:
    """Once."""
    query = Flaky(ConnectionResetError("gone"), 1)
    assert await AsyncDatabaseHelper().fetch(query) == "found"
    assert query.calls == 2


@pytest.mark.parametrize(
    ("ask", "error", "calls"),
    [
        ("fetch", ConnectionResetError("gone"), 2),
        ("write", ConnectionResetError("gone"), 1),
        ("fetch", KeyError("x"), 1),
    ],
    ids=["dropped twice", "a write", "another error"],
)
async def test_what_is_not_asked_again(ask: str, error: Exception, calls: int) -> None:
    """A second loss is an error, a write might have been done, and other errors would come again."""
    query = Flaky(error, 2)
    with pytest.raises(type(error)):
        await getattr(AsyncDatabaseHelper(), ask)(query)
    assert query.calls == calls


async def test_failed_optional_read_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The answer goes on with the default, and the log says what is missing, without what the database said."""
    db = AsyncDatabaseHelper()
    read = await db.gather(
        history=optional(Flaky(RuntimeError("secret"), 9), default=[]), project=required(lambda: "project")
    )
    assert dict(read) == {"history": [], "project": "project"}
    assert read.warnings == ("history could not be read",)
    assert "history could not be read (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text


async def test_failed_required_read_is_its_own_error() -> None:
    """Not a group of errors: the app's handlers know it. The other reads are cancelled."""
    left: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.append("cancelled")
            raise

    cause = OSError("disk")
    error = LookupError("no such project")
    error.__cause__ = cause
    with pytest.raises(LookupError) as raised:
        await AsyncDatabaseHelper().gather(slow=required(slow), project=required(Flaky(error, 1)))
    assert raised.value is error
    assert error.__cause__ is cause
    assert left == ["cancelled"]


async def test_cancelled_gather_is_cancelled() -> None:
    """The caller's own cancellation is no error of a read."""
    begun = asyncio.Event()

    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(AsyncDatabaseHelper().gather(slow=optional(slow)))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


def test_repr_tells_the_state() -> None:
    """Whose functions, how busy."""
    assert repr(AsyncDatabaseHelper()) == "<AsyncDatabaseHelper AppFunctions, <Threads phase1-db: 0 of 15 busy>>"


# --- dropped connections ----------------------------------------------------------------------------------------------


def _httpx_error() -> Exception:
    import httpx

    return httpx.RemoteProtocolError("Server disconnected without sending a response.")


def _httpx_timeout() -> Exception:
    import httpx

    return httpx.ReadTimeout("slow")


def _state(state: str) -> Exception:
    error = RuntimeError("from the server")
    error.sqlstate = state  # type: ignore[attr-defined]
    return error


def _wrapped() -> Exception:
    error = RuntimeError("the app's own")
    error.__cause__ = ConnectionRefusedError()
    return error


DROPPED = {
    "httpx: disconnected": (_httpx_error, True),
    "httpx: timeout": (_httpx_timeout, False),
    "shut down": (partial(_state, "57P01"), True),
    "connection failure": (partial(_state, "08006"), True),
    "unique violation": (partial(_state, "23505"), False),
    "below another": (_wrapped, True),
    "sqlite: locked": (partial(sqlite3.OperationalError, "database is locked"), False),
    "broken pipe": (BrokenPipeError, True),
    "timeout": (TimeoutError, False),
}


@pytest.mark.parametrize("name", DROPPED)
def test_what_is_a_dropped_connection(name: str) -> None:
    """Drivers are known by their classes and states, also below the app's own errors."""
    from phase1.chat.dropped import is_dropped_connection

    make, dropped = DROPPED[name]
    assert is_dropped_connection(make()) is dropped
