"""Where did a turn's time go? Laps that follow one another, so that they add up to the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

__all__ = ["PerformanceMetrics", "QueryTiming", "Stopwatch", "note"]

Lap = Literal["db_fetch_time", "llm_response_time", "db_save_time"]

_DIGITS = 6


class PerformanceMetrics(TypedDict):
    """Seconds, as seed 002 names them. The first three add up to `total_time`.

    `llm_response_time` includes what surrounds the call: choosing the kind of support, and building the prompt.
    """

    db_fetch_time: float
    llm_response_time: float
    db_save_time: float
    total_time: float


@dataclass(frozen=True, slots=True)
class QueryTiming:
    """One query: its name, its seconds with waiting for a thread and the retry, how often it was asked, its error."""

    name: str
    seconds: float
    attempts: int
    error: str | None = None


_queries: ContextVar[list[QueryTiming] | None] = ContextVar("phase1_chat_queries", default=None)


def note(query: QueryTiming) -> None:
    """Add a query to whichever turn it belongs to."""
    queries = _queries.get()
    if queries is not None:
        queries.append(query)


class Stopwatch:
    """The laps of one turn. Starts when it is made."""

    __slots__ = ("_clock", "_laps", "_last", "_started", "queries")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started = self._last = clock()
        self._laps: dict[Lap, float] = {}
        self.queries: list[QueryTiming] = []

    def lap(self, name: Lap) -> None:
        """The time since the lap before belongs to `name`."""
        now = self._clock()
        self._laps[name] = self._laps.get(name, 0.0) + now - self._last
        self._last = now

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Inside, this turn's queries are noted, in tasks that it starts too."""
        token = _queries.set(self.queries)
        try:
            yield
        finally:
            _queries.reset(token)

    def metrics(self) -> PerformanceMetrics:
        """What goes into the response."""
        return PerformanceMetrics(
            db_fetch_time=self._seconds("db_fetch_time"),
            llm_response_time=self._seconds("llm_response_time"),
            db_save_time=self._seconds("db_save_time"),
            total_time=round(self._clock() - self._started, _DIGITS),
        )

    def _seconds(self, name: Lap) -> float:
        return round(self._laps.get(name, 0.0), _DIGITS)

    def __str__(self) -> str:
        """For the log: laps and queries, in seconds."""
        laps = ", ".join(f"{name} {seconds:.3f}" for name, seconds in self._laps.items())
        queries = ", ".join(f"{query.name} {query.seconds:.3f}" for query in self.queries)
        return f"{laps}, total {self._clock() - self._started:.3f}; queries: {queries or 'none'}"
