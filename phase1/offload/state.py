"""What do all processes share besides the journals? Rates, live tasks, sessions, usage, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from phase1.offload.gcra import Taken

__all__ = ["Messages", "State"]

Messages = Sequence[Mapping[str, str]]


class State(Protocol):
    """All of it may raise `JournalUnavailable`. Users are keys of `identity`, never names."""

    async def take(self, user: str, *, per_minute: int, burst: int, cost: int) -> Taken:
        """May `user` start so many tasks now? Below 0: give back."""

    async def hold(self, user: str, task: str, *, limit: int, seconds: float) -> bool:
        """Count `task` among the live ones of `user`; whether it fits."""

    async def held(self, user: str) -> list[str]:
        """The tasks that count."""

    async def drop(self, user: str, task: str) -> None:
        """It counts no more."""

    async def remember(self, user: str, session: str, messages: Messages, *, limit: int, seconds: float) -> None:
        """Add to a session, of which the last `limit` messages are kept for `seconds`."""

    async def recall(self, user: str, session: str) -> list[dict[str, str]]:
        """What was said so far; empty: there is no such session."""

    async def count(self, user: str, day: str, task: str, amounts: Mapping[str, int], *, seconds: float) -> None:
        """Add to the usage of a day, once per task."""

    async def usage(self, user: str, day: str) -> dict[str, int]:
        """The usage of a day."""

    async def gather(self, user: str, batch: str, tasks: Sequence[str], *, seconds: float) -> None:
        """Remember which tasks are one batch."""

    async def gathered(self, user: str, batch: str) -> list[str]:
        """The tasks of a batch of this user; empty: there is none."""
