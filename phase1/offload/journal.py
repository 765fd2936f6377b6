"""What is a journal? The one truth about a task: its state, and every frame under an id that is given once.

An id is `<epoch>-<seq>`. Each attempt at a task has an epoch of its own, and counts its frames from 1; 0 is what is
said between attempts (a reset, or the end that somebody else than the owner wrote). A writer of an older epoch is
fenced, a frame that arrives twice is a duplicate, and a task is closed once: by the last frame.

`memory.MemoryJournal` and `redis_journal.RedisJournal` answer alike; the same tests hold them to it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, Self

from phase1.exceptions import Phase1Error

__all__ = [
    "START",
    "Append",
    "Claim",
    "Code",
    "Created",
    "Cursor",
    "Entry",
    "Journal",
    "JournalUnavailable",
    "Meta",
    "NewTask",
    "Reply",
    "Watch",
]

_CURSOR: Final = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)


class JournalUnavailable(Phase1Error):
    """The journal cannot be reached now. Whether a write has happened is not known: write the same again."""


class Code(IntEnum):
    """What an operation came to. Positive: it was done; 0: it had been done before; negative: no."""

    OK = 1
    CLOSED_HERE = 2
    REDISPATCH = 3
    ATTACH = 4
    DETACHED = 5
    ALREADY = 0
    CLOSED = -1
    FENCED = -2
    GAP = -3
    GONE = -4
    UNCLAIMED = -5
    TOO_LARGE = -6
    CANCELLED = -7
    ATTEMPTS = -8
    STALE = -9
    TAKEN = -10
    LATE = -11
    REUSED = -12
    LEADER = -13


class Cursor(NamedTuple):
    """A place in a journal; what a reader has seen so far. Greater is later."""

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """`1-37`; `None` for anything else."""
        found = _CURSOR.fullmatch(text)
        return cls(int(found[1]), int(found[2])) if found else None

    def is_next(self, later: Cursor) -> bool:
        """Whether nothing can stand between the two. Across epochs only the journal knows."""
        return later == (self.epoch, self.seq + 1) or (self == (0, 0) and later == (1, 1))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


START: Final = Cursor(0, 0)


class Entry(NamedTuple):
    """One frame in its place. `data` is the frame's compact JSON (`frames`)."""

    cursor: Cursor
    data: str

    @property
    def terminal(self) -> bool:
        """Whether nothing comes after it."""
        return self.data.startswith('{"end"')


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What is to be done. Times in milliseconds.

    `idempotency`: key and digest of the body. `flight`: the key under which equal questions share one answer, and
    `leader` the task that is known to hold it and to be of no use. `restarts`: whether readers can be told that the
    text begins anew after the loss of a worker.
    """

    task: str
    user: str
    kind: str
    request: str
    grace_ms: int
    deadline_ms: int
    restarts: bool = True
    idempotency: tuple[str, str] | None = None
    flight: str | None = None
    flight_ms: int = 0
    leader: str = ""


class Created(NamedTuple):
    """`OK` or `ALREADY`: it is there. `ATTACH`, `LEADER`: another `task` stands for it. `REUSED`: the key is taken."""

    code: Code
    task: str


class Claim(NamedTuple):
    """`epoch` and what is left of the deadline, when `code` is `OK` or `ALREADY`."""

    code: Code
    epoch: int = 0
    remaining_ms: int = 0


class Reply(NamedTuple):
    """`last`: the last known seq with `GAP`, the number of the new dispatch with `REDISPATCH`."""

    code: Code
    last: int = 0
    cancelled: bool = False


class Append(NamedTuple):
    """One frame to be written. `end` is the outcome when it is the last one."""

    task: str
    epoch: int
    seq: int
    data: str
    end: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What is known about a task without its frames. Times are milliseconds since 1970 by the journal's clock."""

    user: str
    kind: str
    state: str
    """`queued`, `run` or `done`."""
    end: str
    """How it ended: `completed`, `failed` …; empty until then."""
    epoch: int
    seq: int
    dispatch: int
    claimed: int
    created: int
    started: int
    restarts: bool
    now: int


class Watch(Protocol):
    """Hears that something may have been appended."""

    async def __aenter__(self) -> Self:
        """Listen: from now on nothing is missed."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop listening."""

    async def next(self, timeout: float) -> Sequence[Entry] | None:
        """What was heard, in order. Empty: something, look. `None`: nothing for `timeout` seconds."""


class Journal(Protocol):
    """All of it may raise `JournalUnavailable`."""

    async def create(self, new: NewTask) -> Created:
        """Enter a task, before anybody hears of it."""

    async def attach(self, task: str) -> bool:
        """One more reads it and may cancel it; whether it is there."""

    async def claim(self, task: str, dispatch: int, owner: str) -> Claim:
        """May `owner` run it? Of all copies of a message, one may."""

    async def append(self, appends: Sequence[Append]) -> list[Reply]:
        """Write frames, those of one task in order, and say so to whoever listens."""

    async def renew(self, held: Sequence[tuple[str, int]], *, lease_ms: int | None = None) -> list[Reply]:
        """Still at work on these tasks and epochs. `lease_ms=0`: no longer."""

    async def cancel(self, task: str, user: str) -> Reply:
        """Ask its owner to stop, or close it when nobody has it."""

    async def reap(self, task: str) -> Reply:
        """Whose lease is over: `REDISPATCH`, `CLOSED_HERE`, or `ALREADY` when there is nothing to do."""

    async def overdue(self, limit: int) -> list[str]:
        """Tasks whose lease is over."""

    async def backlog(self) -> int:
        """How many tasks wait or run."""

    async def read(self, task: str, after: Cursor, limit: int) -> list[Entry]:
        """The entries after a place, at most `limit`."""

    async def meta(self, task: str) -> Meta | None:
        """What is known about it; `None`: nothing."""

    async def request(self, task: str) -> str | None:
        """What was asked; `None` when it is over."""

    def watch(self, task: str) -> Watch:
        """A listener, to be entered."""

    async def watchers(self, task: str) -> int:
        """How many listen, over all processes."""

    def cancellations(self) -> AsyncIterator[str]:
        """Tasks that somebody wants to be stopped, as they are heard of."""
