"""Where are journals and shared state when there is Redis? In one key family, written by scripts alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from phase1.offload.config import Config
from phase1.offload.gcra import Taken
from phase1.offload.hub import Hub
from phase1.offload.journal import (
    Append,
    Claim,
    Code,
    Created,
    Cursor,
    Entry,
    Journal,
    JournalUnavailable,
    Meta,
    NewTask,
    Reply,
    Watch,
)
from phase1.offload.ledger import CANCELLED, LATE, LOST, QUEUED_TOO_LONG, RESET
from phase1.offload.redis_client import RedisClient
from phase1.offload.state import Messages, State

__all__ = ["RedisJournal", "RedisState", "RedisStore"]

_FIELDS: Final = (
    "user",
    "kind",
    "state",
    "end",
    "epoch",
    "seq",
    "dispatch",
    "claimed",
    "created",
    "started",
    "restarts",
)


class RedisStore:
    """See `Store`."""

    def __init__(self, config: Config) -> None:
        self._client = RedisClient(config.redis_url, connections=config.redis_connections)
        self._hub = Hub(self._client, f"{config.prefix}ctl")
        self.journal: Journal = RedisJournal(self._client, self._hub, config)
        self.state: State = RedisState(self._client, config)

    @property
    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """The hub's."""
        return (self._hub.run,)

    async def healthy(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._client.command("PING"))
        except JournalUnavailable:
            return False

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class RedisJournal:
    """A task has a hash `…m`, a stream `…s` and its request `…r`; `active` holds the end of every lease."""

    def __init__(self, client: RedisClient, hub: Hub, config: Config) -> None:
        self._client = client
        self._hub = hub
        self._config = config
        self._times = config.times
        self._active = f"{config.prefix}active"

    def _key(self, task: str, part: str) -> str:
        return f"{self._config.prefix}{{{task}}}:{part}"

    def _keys(self, task: str) -> list[str]:
        return [self._key(task, "m"), self._key(task, "s"), self._active, self._key(task, "r")]

    async def create(self, new: NewTask) -> Created:
        """See `Journal`."""
        prefix, times = self._config.prefix, self._times
        key, digest = new.idempotency or ("-", "")
        keys = [
            self._key(new.task, "m"),
            self._key(new.task, "r"),
            self._active,
            f"{prefix}idem:{key}",
            f"{prefix}flight:{new.flight or '-'}",
        ]
        arguments: list[str | int] = [
            new.task,
            new.user,
            new.kind,
            new.request,
            int(times.kept_running),
            new.grace_ms,
            new.deadline_ms,
            int(new.restarts),
            digest,
            int(times.kept_done),
            new.flight_ms if new.flight else 0,
            new.leader,
        ]
        code, task = await self._client.script("create", keys, arguments)
        return Created(Code(code), task)

    async def attach(self, task: str) -> bool:
        """See `Journal`."""
        key = self._key(task, "m")
        if not await self._client.command("EXISTS", key):
            return False
        await self._client.command("HINCRBY", key, "readers", 1)
        return True

    async def claim(self, task: str, dispatch: int, owner: str) -> Claim:
        """See `Journal`."""
        config, times = self._config, self._times
        lease, kept = int(times.lease * 1000), int(times.kept_running)
        arguments = (task, dispatch, owner, config.max_attempts, kept, lease, self._key(task, "c"), RESET)
        code, epoch, remaining = await self._client.script("claim", self._keys(task), arguments)
        return Claim(Code(code), epoch, remaining)

    async def append(self, appends: Sequence[Append]) -> list[Reply]:
        """See `Journal`."""
        calls = [("append", self._keys(one.task), self._append_arguments(one)) for one in appends]
        return [_reply(answer) for answer in await self._client.scripts(calls)]

    def _append_arguments(self, one: Append) -> list[str | int]:
        kept = self._times.kept_done if one.end else self._times.kept_running
        channel, limit = self._key(one.task, "c"), self._config.max_bytes
        return [one.task, one.epoch, one.seq, one.data, channel, int(kept), limit, one.end]

    async def renew(self, held: Sequence[tuple[str, int]], *, lease_ms: int | None = None) -> list[Reply]:
        """See `Journal`."""
        lease = int(self._times.lease * 1000) if lease_ms is None else lease_ms
        kept = int(self._times.kept_running)
        calls = [("renew", [self._key(task, "m"), self._active], (task, epoch, lease, kept)) for task, epoch in held]
        return [_reply(answer) for answer in await self._client.scripts(calls)]

    async def cancel(self, task: str, user: str) -> Reply:
        """See `Journal`."""
        control, kept = f"{self._config.prefix}ctl", int(self._times.kept_done)
        arguments = (task, user, self._key(task, "c"), control, kept, CANCELLED)
        return _reply(await self._client.script("cancel", self._keys(task), arguments))

    async def reap(self, task: str) -> Reply:
        """See `Journal`."""
        config, kept = self._config, int(self._times.kept_done)
        ends = (CANCELLED, LATE, QUEUED_TOO_LONG, LOST)
        arguments = (task, config.max_dispatches, config.max_attempts, self._key(task, "c"), kept, *ends)
        return _reply(await self._client.script("reap", self._keys(task), arguments))

    async def overdue(self, limit: int) -> list[str]:
        """See `Journal`."""
        seconds, micros = await self._client.command("TIME")
        now = int(seconds) * 1000 + int(micros) // 1000
        found = await self._client.command("ZRANGEBYSCORE", self._active, "-inf", now, "LIMIT", 0, limit)
        return list(found)

    async def backlog(self) -> int:
        """See `Journal`."""
        return int(await self._client.command("ZCARD", self._active))

    async def read(self, task: str, after: Cursor, limit: int) -> list[Entry]:
        """See `Journal`."""
        found = await self._client.command("XRANGE", self._key(task, "s"), f"({after}", "+", "COUNT", limit)
        return [_entry(one) for one in found]

    async def meta(self, task: str) -> Meta | None:
        """See `Journal`."""
        values = await self._client.command("HMGET", self._key(task, "m"), *_FIELDS)
        if values[0] is None:
            return None
        seconds, micros = await self._client.command("TIME")
        known: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
        numbers: dict[str, Any] = {name: int(known[name]) for name in _FIELDS[4:10]}
        texts: dict[str, Any] = {name: known[name] for name in _FIELDS[:4]}
        now = int(seconds) * 1000 + int(micros) // 1000
        return Meta(**texts, **numbers, restarts=known["restarts"] == "1", now=now)

    async def request(self, task: str) -> str | None:
        """See `Journal`."""
        found: str | None = await self._client.command("GET", self._key(task, "r"))
        return found

    def watch(self, task: str) -> Watch:
        """See `Journal`."""
        return self._hub.watch(self._key(task, "c"))

    async def watchers(self, task: str) -> int:
        """See `Journal`."""
        found = await self._client.command("PUBSUB", "NUMSUB", self._key(task, "c"))
        return int(found[1])

    def cancellations(self) -> AsyncIterator[str]:
        """See `Journal`."""
        return self._hub.cancellations()


def _reply(answer: Sequence[Any]) -> Reply:
    code, last, cancelled = answer
    return Reply(Code(code), last, cancelled == "1")


def _entry(found: Sequence[Any]) -> Entry:
    place, fields = found
    epoch, _, seq = place.partition("-")
    return Entry(Cursor(int(epoch), int(seq)), fields["d"])


class RedisState:
    """See `State`."""

    def __init__(self, client: RedisClient, config: Config) -> None:
        self._client = client
        self._prefix = config.prefix

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    async def take(self, user: str, *, per_minute: int, burst: int, cost: int) -> Taken:
        """See `State`."""
        arguments = [60_000_000 // per_minute, burst, cost]
        answer = await self._client.script("gcra", [self._key("rate", user)], arguments)
        allowed, remaining, retry_after, reset = answer
        return Taken(bool(allowed), remaining, retry_after / 1e6, reset / 1e6)

    async def hold(self, user: str, task: str, *, limit: int, seconds: float) -> bool:
        """See `State`."""
        return bool(await self._client.script("hold", [self._key("live", user)], [task, limit, int(seconds)]))

    async def held(self, user: str) -> list[str]:
        """See `State`."""
        return list(await self._client.command("ZRANGE", self._key("live", user), 0, -1))

    async def drop(self, user: str, task: str) -> None:
        """See `State`."""
        await self._client.command("ZREM", self._key("live", user), task)

    async def remember(self, user: str, session: str, messages: Messages, *, limit: int, seconds: float) -> None:
        """See `State`."""
        key = self._key("session", user, session)
        await self._client.command("RPUSH", key, *(json.dumps(message, ensure_ascii=False) for message in messages))
        await self._client.command("LTRIM", key, -limit, -1)
        await self._client.command("EXPIRE", key, int(seconds))

    async def recall(self, user: str, session: str) -> list[dict[str, str]]:
        """See `State`."""
        found = await self._client.command("LRANGE", self._key("session", user, session), 0, -1)
        return [json.loads(message) for message in found]

    async def count(self, user: str, day: str, task: str, amounts: Mapping[str, int], *, seconds: float) -> None:
        """See `State`."""
        pairs = [part for pair in amounts.items() for part in pair]
        await self._client.script(
            "count", [self._key("usage", user, day), self._key("counted", task)], [int(seconds), *pairs]
        )

    async def usage(self, user: str, day: str) -> dict[str, int]:
        """See `State`."""
        found = await self._client.command("HGETALL", self._key("usage", user, day))
        return {name: int(amount) for name, amount in found.items()}

    async def gather(self, user: str, batch: str, tasks: Sequence[str], *, seconds: float) -> None:
        """See `State`."""
        await self._client.command("SET", self._key("batch", user, batch), json.dumps(list(tasks)), "EX", int(seconds))

    async def gathered(self, user: str, batch: str) -> list[str]:
        """See `State`."""
        found = await self._client.command("GET", self._key("batch", user, batch))
        return json.loads(found) if found else []
