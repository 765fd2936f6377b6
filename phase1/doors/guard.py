"""One call through the pool, and what its failure means: raise, or let the legacy client answer?

    with PoolGuard(unit, ...):
        return <ask the pool>
    return <ask the legacy client>       # only reached when the guard has swallowed a failure

The same lines serve synchronous and asynchronous doors. Inside, the call waits and ramps under the unit's key.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Self

import openai

from phase1.doors.bridge import LoopBlocked
from phase1.doors.fallback import may_fall_back
from phase1.doors.http import Turn, taking_turn
from phase1.engine.manager import reporting
from phase1.engine.transport.family import httpx
from phase1.events import FellBack
from phase1.exceptions import ConfigurationError, Phase1Error
from phase1.policy.classify import Kind

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

    from phase1.doors.unit import Unit
    from phase1.policy.classify import Outcome

__all__ = ["PoolGuard"]


class _AnsweredWithFailure(Phase1Error):
    """Never leaves the guard."""


class PoolGuard:
    """Swallows the pool's failure when legacy may answer. `other_credentials` is asked only after a 429.

    `timeout`: the seconds that the app has asked for, in the place of `LLM_REQUEST_DEADLINE`; `None` = it has not.
    """

    __slots__ = ("_has_legacy", "_other_credentials", "_outcomes", "_tokens", "expires_at", "unit")

    def __init__(
        self, unit: Unit, *, has_legacy: bool, other_credentials: Callable[[], bool], timeout: float | None = None
    ) -> None:
        self.unit = unit
        self._has_legacy = has_legacy
        self._other_credentials = other_credentials
        self._outcomes: list[Outcome] = []
        self._tokens: tuple[Token[Turn], Token[list[Outcome] | None]] | None = None
        seconds = unit.manager.settings.llm_request_deadline if timeout is None else timeout
        self.expires_at = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds that the request's deadline leaves to legacy."""
        return self.expires_at - time.monotonic()

    @contextlib.asynccontextmanager
    async def time_left(self) -> AsyncIterator[None]:
        """Bounds legacy by what the deadline leaves it. Raises `openai.APITimeoutError` when that is too short."""
        try:
            async with asyncio.timeout(None if self.remaining == math.inf else self.remaining) as bound:
                yield
        except TimeoutError as exc:
            if not bound.expired():
                raise
            raise openai.APITimeoutError(request=httpx.Request("POST", self.unit.manager.public_url)) from exc

    def check(self) -> None:
        """For doors that get a failure as a response: raise if legacy may answer instead."""
        if self._outcomes and self._outcomes[-1].kind is not Kind.OK:
            failure = _AnsweredWithFailure("the pool's answer is a failure")
            if self._may_fall_back(failure):
                raise failure

    def __enter__(self) -> Self:
        turn = Turn(self.unit.key, self.unit.selection.share, self.unit.slices)
        self._tokens = (taking_turn.set(turn), reporting.set(self._outcomes))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        if self._tokens is not None:
            taking_turn.reset(self._tokens[0])
            reporting.reset(self._tokens[1])
        if (outer := reporting.get()) is not None:  # a guard around this one judges the same outcome
            outer.extend(self._outcomes)
        if not isinstance(exc, Exception) or not self._may_fall_back(exc):
            return False
        self.unit.manager.events.notify(FellBack(self._outcomes[-1].kind if self._outcomes else _reason(exc)))
        return True

    def _may_fall_back(self, exc: BaseException) -> bool:
        if not self._has_legacy:
            return False
        if not self._outcomes:  # nothing was sent; other errors are the caller's own
            return isinstance(exc, ConfigurationError) or _loop_blocked(exc)
        outcome = self._outcomes[-1]
        return may_fall_back(outcome, other_credentials=self._other_credentials, remaining=self.remaining)


def _loop_blocked(exc: BaseException) -> bool:
    return isinstance(exc, LoopBlocked) or isinstance(exc.__cause__, LoopBlocked)


def _reason(exc: BaseException) -> str:
    return "loop_blocked" if _loop_blocked(exc) else "configuration"
