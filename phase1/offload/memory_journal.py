"""Where is a journal when there is no Redis? In this process: a table of ledgers, bounded in count, bytes and time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

from phase1.offload.config import Config
from phase1.offload.journal import Append, Claim, Code, Created, Cursor, Entry, Meta, NewTask, Reply
from phase1.offload.ledger import Ledger

__all__ = ["MemoryJournal"]

_MAX_DONE_BYTES = 256 << 20
_SECOND = 1000


def wall_ms() -> int:
    """Now, in milliseconds since 1970."""
    return int(time.time() * 1000)


class MemoryJournal:
    """A journal that lives and dies with its process. All operations happen between two awaits."""

    def __init__(self, config: Config, *, now: Callable[[], int] = wall_ms) -> None:
        self._config = config
        self._now = now
        self._ledgers: dict[str, Ledger] = {}
        self._leases: dict[str, int] = {}
        self._kept_until: dict[str, int] = {}
        self._keys: dict[str, tuple[str, str, int]] = {}
        self._watches: defaultdict[str, set[_MemoryWatch]] = defaultdict(set)
        self._listeners: set[asyncio.Queue[str]] = set()
        self._forgot_at = 0

    async def create(self, new: NewTask) -> Created:
        """See `Journal`."""
        now = self._now()
        self._forget(now)
        if new.task in self._ledgers:
            return Created(Code.ALREADY, new.task)
        if (found := self._other(new)) is not None:
            return found
        self._ledgers[new.task] = Ledger(new, created=now)
        self._leases[new.task] = now + new.grace_ms
        self._keep(new.task, self._config.times.kept_running)
        if new.idempotency:
            self._keys[new.idempotency[0]] = (new.task, new.idempotency[1], now + _ms(self._config.times.kept_done))
        if new.flight:
            self._keys[new.flight] = (new.task, "", now + new.flight_ms)
        return Created(Code.OK, new.task)

    def _other(self, new: NewTask) -> Created | None:
        """Who stands for it already."""
        if new.idempotency and (held := self._keys.get(new.idempotency[0])):
            task, digest, _ = held
            return Created(Code.ATTACH, task) if digest == new.idempotency[1] else Created(Code.REUSED, "")
        if new.flight and (held := self._keys.get(new.flight)) and held[0] != new.leader:
            return Created(Code.LEADER, held[0])
        return None

    async def attach(self, task: str) -> bool:
        """See `Journal`."""
        if (ledger := self._ledgers.get(task)) is None:
            return False
        ledger.readers += 1
        return True

    async def claim(self, task: str, dispatch: int, owner: str) -> Claim:
        """See `Journal`."""
        if (ledger := self._ledgers.get(task)) is None:
            return Claim(Code.GONE)
        before = len(ledger.entries)
        claim = ledger.claim(dispatch, owner, now=self._now(), max_attempts=self._config.max_attempts)
        if claim.code is Code.OK:
            self._leases[task] = self._now() + _ms(self._config.times.lease)
            self._keep(task, self._config.times.kept_running)
        if len(ledger.entries) > before:
            self._tell(task)
        return claim

    async def append(self, appends: Sequence[Append]) -> list[Reply]:
        """See `Journal`."""
        return [self._append(wanted) for wanted in appends]

    def _append(self, wanted: Append) -> Reply:
        if (ledger := self._ledgers.get(wanted.task)) is None:
            return Reply(Code.GONE)
        reply = ledger.append(wanted, max_bytes=self._config.max_bytes)
        if reply.code is Code.OK:
            self._written(wanted.task, ledger)
        return reply

    def _written(self, task: str, ledger: Ledger) -> None:
        times = self._config.times
        self._keep(task, times.kept_done if ledger.done else times.kept_running)
        if ledger.done:
            self._leases.pop(task, None)
        self._tell(task)

    async def renew(self, held: Sequence[tuple[str, int]], *, lease_ms: int | None = None) -> list[Reply]:
        """See `Journal`."""
        until = self._now() + (_ms(self._config.times.lease) if lease_ms is None else lease_ms)
        return [self._renew(task, epoch, until) for task, epoch in held]

    def _renew(self, task: str, epoch: int, until: int) -> Reply:
        if (ledger := self._ledgers.get(task)) is None:
            return Reply(Code.GONE)
        reply = ledger.renew(epoch)
        if reply.code is Code.OK:
            self._leases[task] = until
        return reply

    async def cancel(self, task: str, user: str) -> Reply:
        """See `Journal`."""
        if (ledger := self._ledgers.get(task)) is None:
            return Reply(Code.GONE)
        reply = ledger.cancel(user)
        if reply.code is Code.CLOSED_HERE:
            self._written(task, ledger)
        elif reply.code is Code.OK:
            for listener in self._listeners:
                listener.put_nowait(task)
        return reply

    async def reap(self, task: str) -> Reply:
        """See `Journal`."""
        now = self._now()
        if self._leases.get(task, now + 1) > now:
            return Reply(Code.ALREADY)
        if (ledger := self._ledgers.get(task)) is None or ledger.done:
            self._leases.pop(task, None)
            return Reply(Code.ALREADY)
        config = self._config
        reply = ledger.reap(now=now, max_dispatches=config.max_dispatches, max_attempts=config.max_attempts)
        if reply.code is Code.REDISPATCH:
            self._leases[task] = now + ledger.new.grace_ms
        else:
            self._written(task, ledger)
        return reply

    async def overdue(self, limit: int) -> list[str]:
        """See `Journal`."""
        now = self._now()
        self._forget(now)
        late = [task for task, until in self._leases.items() if until <= now]
        return sorted(late, key=self._leases.__getitem__)[:limit]

    async def backlog(self) -> int:
        """See `Journal`."""
        return len(self._leases)

    async def read(self, task: str, after: Cursor, limit: int) -> list[Entry]:
        """See `Journal`."""
        if (ledger := self._ledgers.get(task)) is None:
            return []
        first = bisect_right(ledger.entries, after, key=lambda entry: entry.cursor)
        return ledger.entries[first : first + limit]

    async def meta(self, task: str) -> Meta | None:
        """See `Journal`."""
        self._forget(self._now())
        ledger = self._ledgers.get(task)
        return ledger.meta(self._now()) if ledger else None

    async def request(self, task: str) -> str | None:
        """See `Journal`."""
        ledger = self._ledgers.get(task)
        return None if ledger is None or ledger.done else ledger.new.request

    def watch(self, task: str) -> _MemoryWatch:
        """See `Journal`."""
        return _MemoryWatch(self._watches, task)

    async def watchers(self, task: str) -> int:
        """See `Journal`."""
        return len(self._watches.get(task, ()))

    async def cancellations(self) -> AsyncIterator[str]:
        """See `Journal`."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    def _tell(self, task: str) -> None:
        for watch in self._watches.get(task, ()):
            watch.something.set()

    def _keep(self, task: str, seconds: float) -> None:
        self._kept_until.pop(task, None)  # to the end of the order
        self._kept_until[task] = self._now() + _ms(seconds)

    def _forget(self, now: int) -> None:
        """What is over its time, and, when there is too much, what has been over for longest. Once a second."""
        if now - self._forgot_at < _SECOND:
            return
        self._forgot_at = now
        for key in [key for key, (_, _, until) in self._keys.items() if until <= now]:
            del self._keys[key]
        done = [task for task, ledger in self._ledgers.items() if ledger.done]
        too_many = len(done) - 10 * self._config.queue_size
        too_large = sum(self._ledgers[task].size for task in done) - _MAX_DONE_BYTES
        for task in list(self._kept_until):
            ledger = self._ledgers[task]
            if self._kept_until[task] > now and not (ledger.done and (too_many > 0 or too_large > 0)):
                continue
            too_many, too_large = too_many - 1, too_large - ledger.size
            del self._ledgers[task], self._kept_until[task]
            self._leases.pop(task, None)


class _MemoryWatch:
    """A flag: the journal itself is at hand."""

    def __init__(self, watches: defaultdict[str, set[_MemoryWatch]], task: str) -> None:
        self._watches = watches
        self._task = task
        self.something = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._watches[self._task].add(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._watches[self._task].discard(self)
        if not self._watches[self._task]:
            del self._watches[self._task]

    async def next(self, timeout: float) -> Sequence[Entry] | None:
        """See `Watch`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self.something.wait()
            self.something.clear()
            return ()
        return None


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
