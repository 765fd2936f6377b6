"""Where is the shared state when there is no Redis? In this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phase1.offload import gcra
from phase1.offload.gcra import Taken
from phase1.offload.memory_journal import wall_ms
from phase1.offload.state import Messages

__all__ = ["MemoryState"]


class MemoryState:
    """One table; everything in it has an end."""

    def __init__(self, *, now: Callable[[], int] = wall_ms) -> None:
        self._now = now
        self._table: dict[tuple[str, ...], tuple[Any, int]] = {}
        self._forgot_at = 0

    def _get(self, key: tuple[str, ...]) -> Any:  # noqa: ANN401 - each key has its own kind of value
        value, until = self._table.get(key, (None, 0))
        return value if until > self._now() else None

    def _put(self, key: tuple[str, ...], value: object, seconds: float) -> None:
        now = self._now()
        if now - self._forgot_at >= 1000:  # noqa: PLR2004 - once a second
            self._forgot_at = now
            self._table = {name: kept for name, kept in self._table.items() if kept[1] > now}
        self._table[key] = (value, now + int(seconds * 1000))

    async def take(self, user: str, *, per_minute: int, burst: int, cost: int) -> Taken:
        """See `State`."""
        interval = 60_000_000 // per_minute
        now = self._now() * 1000
        new, taken = gcra.take(self._get(("rate", user)), now_us=now, interval_us=interval, burst=burst, cost=cost)
        if new is not None:
            self._put(("rate", user), new, max(0.001, (new - now) / 1e6))
        return taken

    async def hold(self, user: str, task: str, *, limit: int, seconds: float) -> bool:
        """See `State`."""
        live = self._live(user)
        if task not in live and len(live) >= limit:
            return False
        self._put(("live", user), {**live, task: self._now() + int(seconds * 1000)}, seconds)
        return True

    def _live(self, user: str) -> dict[str, int]:
        return {task: until for task, until in (self._get(("live", user)) or {}).items() if until > self._now()}

    async def held(self, user: str) -> list[str]:
        """See `State`."""
        return list(self._live(user))

    async def drop(self, user: str, task: str) -> None:
        """See `State`."""
        if (live := self._get(("live", user))) is not None:
            live.pop(task, None)

    async def remember(self, user: str, session: str, messages: Messages, *, limit: int, seconds: float) -> None:
        """See `State`."""
        kept = deque(self._get(("session", user, session)) or (), maxlen=limit)
        kept.extend(dict(message) for message in messages)
        self._put(("session", user, session), kept, seconds)

    async def recall(self, user: str, session: str) -> list[dict[str, str]]:
        """See `State`."""
        return list(self._get(("session", user, session)) or ())

    async def count(self, user: str, day: str, task: str, amounts: Mapping[str, int], *, seconds: float) -> None:
        """See `State`."""
        if self._get(("counted", task)):
            return
        self._put(("counted", task), True, 86_400)  # noqa: FBT003
        total = dict(self._get(("usage", user, day)) or {})
        for name, amount in amounts.items():
            total[name] = total.get(name, 0) + amount
        self._put(("usage", user, day), total, seconds)

    async def usage(self, user: str, day: str) -> dict[str, int]:
        """See `State`."""
        return dict(self._get(("usage", user, day)) or {})

    async def gather(self, user: str, batch: str, tasks: Sequence[str], *, seconds: float) -> None:
        """See `State`."""
        self._put(("batch", user, batch), list(tasks), seconds)

    async def gathered(self, user: str, batch: str) -> list[str]:
        """See `State`."""
        return list(self._get(("batch", user, batch)) or ())
