"""Which calls wait for an answer that will not come? One timer for all of them, and only while there are any.

What counts as silence is `policy.silence`'s to say. A call that is given up ends as if its clock had run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context

from phase1.engine.deadlines import Clock
from phase1.engine.node import Node
from phase1.policy.silence import Longest, is_silent

__all__ = ["Watch", "Watched"]


class Watched:
    """One attempt under watch. `clock` is its own."""

    __slots__ = ("answers", "clock", "node", "started", "total")

    def __init__(self, node: Node, started: float, total: int) -> None:
        self.node = node
        self.started = started
        self.answers = node.answers
        self.total = total
        self.clock: Clock | None = None


class Watch:
    """Watches attempts; `patience` is `LLM_FIRST_TOKEN_TIMEOUT`, in seconds of `clock`."""

    __slots__ = ("_calls", "_clock", "_patience", "_timer", "answers", "longest")

    def __init__(self, patience: float, *, clock: Callable[[], float]) -> None:
        self._patience = patience
        self._clock = clock
        self._calls: dict[Watched, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.answers = 0
        """How many calls have been answered by any node."""
        self.longest = Longest(clock=clock)

    def begin(self, node: Node, now: float) -> Watched:
        """An attempt at `node` begins at `now`, on the clock."""
        watched = Watched(node, now, self.answers)
        self._calls[watched] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._look, context=Context())
        return watched

    def end(self, watched: Watched) -> None:
        """It is over, however it ended."""
        self._calls.pop(watched, None)

    def _look(self) -> None:
        now, self._timer = self._clock(), None
        for watched in tuple(self._late(now)):
            if self._is_silent(watched, now) and watched.clock is not None:
                self.end(watched)
                watched.clock.give_up()
        if self._calls:
            self._timer = asyncio.get_running_loop().call_later(self._patience / 4, self._look, context=Context())

    def _late(self, now: float) -> list[Watched]:
        late = []
        for watched in self._calls:
            if now - watched.started < self._patience:
                break  # they are in the order of their beginning
            late.append(watched)
        return late

    def _is_silent(self, watched: Watched, now: float) -> bool:
        return self.is_silent(watched, waited=now - watched.started, patience=self._patience)

    def is_silent(self, watched: Watched, *, waited: float, patience: float) -> bool:
        """Whether the node has gone quiet, after a call has waited there for so many seconds."""
        own = watched.node.answers - watched.answers
        return is_silent(
            waited=waited,
            patience=patience,
            answered=own > 0,
            witnesses=self.answers - watched.total - own,
            longest=self.longest.seconds,
        )

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
