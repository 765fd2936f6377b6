"""What may happen to a task, and in which order? The rules of a journal as a plain state machine.

The scripts of `lua/` are the same rules for Redis; tests hold the two together. Time comes in as milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from phase1.offload import frames
from phase1.offload.frames import End
from phase1.offload.journal import Append, Claim, Code, Cursor, Entry, Meta, NewTask, Reply

__all__ = ["CANCELLED", "LATE", "LOST", "QUEUED_TOO_LONG", "RESET", "Ledger"]

RESET: Final = frames.reset()
CANCELLED: Final = frames.ending(End.CANCELLED)
LOST: Final = frames.ending(End.LOST, "worker_lost", "the worker was lost and the answer cannot go on")
QUEUED_TOO_LONG: Final = frames.ending(End.FAILED, "queue_timeout", "no worker was free in time")
LATE: Final = frames.ending(End.TIMEOUT, "timeout", "the answer took too long")


@dataclass(slots=True)
class Ledger:
    """One task."""

    new: NewTask
    created: int
    epoch: int = 0
    seq: int = 0
    size: int = 0
    state: str = "queued"
    end: str = ""
    cancelled: bool = False
    dispatch: int = 1
    claimed: int = 0
    owner: str = ""
    started: int = 0
    readers: int = 1
    entries: list[Entry] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the last frame is written."""
        return self.state == "done"

    @property
    def deadline(self) -> int:
        """When it must be over."""
        return self.created + self.new.deadline_ms

    def claim(self, dispatch: int, owner: str, *, now: int, max_attempts: int) -> Claim:
        """A claim counts once per dispatch, whoever makes it."""
        refusal = self._refusal(dispatch, owner, now, max_attempts)
        if refusal is not None:
            return refusal
        said, self.seq = self.seq, 0
        self.epoch += 1
        self.claimed, self.owner, self.state, self.started = dispatch, owner, "run", now
        if said:
            self._write(0, RESET)
        return Claim(Code.OK, self.epoch, self.deadline - now)

    def _refusal(self, dispatch: int, owner: str, now: int, max_attempts: int) -> Claim | None:
        if self.done:
            return Claim(Code.CLOSED)
        if self.cancelled:
            return Claim(Code.CANCELLED)
        if dispatch != self.dispatch:
            return Claim(Code.STALE)
        if self.claimed >= dispatch:
            mine = owner == self.owner
            return Claim(Code.ALREADY, self.epoch, self.deadline - now) if mine else Claim(Code.TAKEN)
        if now >= self.deadline:
            return Claim(Code.LATE)
        return Claim(Code.ATTEMPTS) if self.epoch >= max_attempts else None

    def append(self, wanted: Append, *, max_bytes: int) -> Reply:
        """The next frame, or why not."""
        if wanted.epoch != self.epoch:
            return Reply(Code.FENCED if wanted.epoch < self.epoch else Code.UNCLAIMED)
        if wanted.seq <= self.seq:
            return Reply(Code.ALREADY, cancelled=self.cancelled)
        if self.done:
            return Reply(Code.CLOSED)
        if wanted.seq > self.seq + 1:
            return Reply(Code.GAP, self.seq)
        size = self.size + len(wanted.data.encode())
        if not wanted.end and size > max_bytes:
            return Reply(Code.TOO_LARGE)
        self.size = size
        self._write(wanted.seq, wanted.data)
        if wanted.end:
            self._close(wanted.end)
        return Reply(Code.OK, cancelled=self.cancelled)

    def renew(self, epoch: int) -> Reply:
        """Whether the owner of `epoch` still is the owner."""
        if self.done:
            return Reply(Code.CLOSED)
        return Reply(Code.OK, cancelled=self.cancelled) if epoch == self.epoch else Reply(Code.FENCED)

    def cancel(self, user: str) -> Reply:
        """Unknown and not yours look the same."""
        if user != self.new.user:
            return Reply(Code.GONE)
        if self.done:
            return Reply(Code.ALREADY)
        if self.readers > 1:
            self.readers -= 1
            return Reply(Code.DETACHED)
        self.cancelled = True
        if self.claimed < self.dispatch:
            return self._end_for_the_owner(CANCELLED, End.CANCELLED)
        return Reply(Code.OK)

    def reap(self, *, now: int, max_dispatches: int, max_attempts: int) -> Reply:
        """The lease is over: once more, or the end."""
        if self.done:
            return Reply(Code.ALREADY)
        if self.cancelled:
            return self._end_for_the_owner(CANCELLED, End.CANCELLED)
        if now >= self.deadline:
            return self._end_for_the_owner(LATE, End.TIMEOUT)
        if self.dispatch >= max_dispatches or self.epoch >= max_attempts:
            never = self.claimed == 0
            return self._end_for_the_owner(QUEUED_TOO_LONG if never else LOST, End.FAILED if never else End.LOST)
        if self.seq > 0 and not self.new.restarts:
            return self._end_for_the_owner(LOST, End.LOST)
        self.dispatch += 1
        return Reply(Code.REDISPATCH, self.dispatch)

    def _end_for_the_owner(self, data: str, end: End) -> Reply:
        """In a new epoch: should the owner wake up, it is fenced, and not told that its frame was there already."""
        self.epoch += 1
        self._write(0, data)
        self._close(end)
        return Reply(Code.CLOSED_HERE)

    def _write(self, seq: int, data: str) -> None:
        self.seq = seq
        self.entries.append(Entry(Cursor(self.epoch, seq), data))

    def _close(self, end: str) -> None:
        self.state, self.end = "done", end

    def meta(self, now: int) -> Meta:
        """What may be told."""
        return Meta(
            user=self.new.user,
            kind=self.new.kind,
            state=self.state,
            end=self.end,
            epoch=self.epoch,
            seq=self.seq,
            dispatch=self.dispatch,
            claimed=self.claimed,
            created=self.created,
            started=self.started,
            restarts=self.new.restarts,
            now=now,
        )
