"""How did the calls of the two arms end? An observer; what it notes is fetched by the agent's thread.

Arms are compared by assignment. A call of the canary that legacy rescued has failed: or the fallback would hide every
defect. What the breaker sends to legacy before the pool was asked says nothing; it holds the rollout anyway. The
caller's own mistakes and callers who went away count nowhere, in both arms.

Only calls of app requests are counted: elsewhere nobody knows whose they are.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from phase1.doors.unit import current_unit
from phase1.events import CallFinished, Event, FellBack, LegacyFinished
from phase1.exceptions import PoolClosed
from phase1.policy.canary import Arm
from phase1.policy.kinds import Kind
from phase1.policy.rollout_arms import Observed
from phase1.policy.selection import Route

if TYPE_CHECKING:
    from phase1.engine.manager import Manager
    from phase1.policy.selection import Selection

__all__ = ["Outcomes"]

_KEPT: Final = 100_000
_NOT_COUNTED: Final = frozenset({Kind.CANCELLED, Kind.CALLER_ERROR, Kind.CONTEXT_LENGTH, Kind.CONTENT_FILTER})
_NEVER_SENT: Final = frozenset({"configuration", "loop_blocked"})
"""Reasons of a fallback that no call through the pool has come before."""
_CALLERS: Final = frozenset(
    {
        "asyncio.exceptions.CancelledError",
        "builtins.GeneratorExit",
        "builtins.KeyboardInterrupt",
        "openai.BadRequestError",
        "openai.ConflictError",
        "openai.NotFoundError",
        "openai.UnprocessableEntityError",
    }
)
_THROTTLED: Final = "openai.RateLimitError"


class Outcomes:
    """Notes the calls of `manager`'s app requests. `deadline`: the seconds that count as endless."""

    hears: Final = frozenset({CallFinished, FellBack, LegacyFinished})

    def __init__(self, manager: Manager, *, deadline: float) -> None:
        self._manager = manager
        self._deadline = deadline
        self._noted: deque[Observed] = deque(maxlen=_KEPT)

    def on_event(self, event: Event, /) -> None:
        """A call is over."""
        unit = current_unit.get()
        if unit is None or unit.manager is not self._manager:
            return
        chosen = unit.chosen
        if chosen is None or chosen.arm is Arm.OUTSIDE or chosen.bucket is None:
            return
        noted = self._of_canary(chosen, event) if chosen.arm is Arm.CANARY else self._of_control(chosen, event)
        if noted is not None:
            self._noted.append(noted)

    def _of_canary(self, chosen: Selection, event: Event) -> Observed | None:
        if chosen.route is not Route.POOL:
            return None
        if isinstance(event, FellBack):
            return _failure(chosen) if event.reason in _NEVER_SENT else None
        if not isinstance(event, CallFinished) or event.kind in _NOT_COUNTED or event.refusal == PoolClosed.__name__:
            return None
        return Observed(
            Arm.CANARY,
            chosen.bucket or 0,
            failed=event.kind != Kind.OK,
            waited=self._waited(event.first_seconds, failed=event.kind != Kind.OK, streamed=event.streamed),
            empty=event.kind == Kind.EMPTY or event.output_tokens == 0,
            throttled=event.kind == Kind.RATE_LIMIT,
            tokens=(event.input_tokens or 0) + (event.output_tokens or 0),
        )

    def _of_control(self, chosen: Selection, event: Event) -> Observed | None:
        if not isinstance(event, LegacyFinished) or event.error in _CALLERS:
            return None
        failed = event.error is not None
        waited = self._waited(event.seconds, failed=failed, streamed=event.streamed)
        bucket = chosen.bucket or 0
        return Observed(Arm.CONTROL, bucket, failed, waited, event.empty, throttled=event.error == _THROTTLED)

    def _waited(self, seconds: float | None, *, failed: bool, streamed: bool) -> float | None:
        """As a share of the deadline. When legacy's streams begin to say something nobody knows but the app."""
        if streamed:
            return None
        return 1.0 if failed or seconds is None else min(1.0, seconds / self._deadline)

    def fetch(self) -> list[Observed]:
        """What has been noted since the last time."""
        fetched = []
        while self._noted:
            fetched.append(self._noted.popleft())
        return fetched


def _failure(chosen: Selection) -> Observed:
    return Observed(Arm.CANARY, chosen.bucket or 0, failed=True, waited=1.0)
