"""What happened to the last thousand calls? Each with its way, its clocks, its sizes: no word of its content.

While requests run, the recorder only keeps the facts that it is told; they become dictionaries when somebody asks.
"""

from __future__ import annotations

import os
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from phase1.engine.tally import error_type
from phase1.events import CallFinished, Event, FellBack, LegacyFinished
from phase1.policy.kinds import Kind

if TYPE_CHECKING:
    from phase1.engine.tally import Tally
    from phase1.events import AttemptFinished

__all__ = ["FlightRecorder"]

_KEPT = 1000
_LOOK_BACK = 32


class _Record(NamedTuple):
    number: int
    time: float
    lag: float
    event: CallFinished | LegacyFinished


class FlightRecorder:
    """An observer with a ring buffer. `tally` knows how late the event loop is."""

    hears: Final = frozenset({CallFinished, LegacyFinished, FellBack})

    def __init__(self, tally: Tally, *, kept: int = _KEPT) -> None:
        self._tally = tally
        self._ring: deque[tuple[int, float, float, CallFinished | LegacyFinished]] = deque(maxlen=kept)
        self._number = 0
        self._fell_back: deque[int] = deque(maxlen=kept)
        """The numbers of the calls that legacy answered in the end."""

    def on_event(self, event: Event, /) -> None:
        """Keep it if it ends a call."""
        if type(event) is FellBack:
            self._mark(event.reason)
            return
        self._number += 1
        self._ring.append((self._number, time.time(), self._tally.lag, event))  # type: ignore[arg-type]  # `hears`

    def _mark(self, reason: str) -> None:
        """The door says so in the same breath; only one that waits in a thread lets others come in between."""
        for number, _, _, event in islice(reversed(self._ring), _LOOK_BACK):
            is_it = isinstance(event, CallFinished) and event.kind == reason
            if is_it and number not in self._fell_back:
                self._fell_back.append(number)
                return

    def last(self, limit: int = _KEPT) -> list[dict[str, object]]:
        """The last `limit` calls, newest first."""
        return [self._told(_Record(*kept)) for kept in islice(reversed(tuple(self._ring)), limit)]

    def find(self, name: str) -> dict[str, object] | None:
        """The call whose `id` is `name`, if it is still there."""
        for record in map(_Record._make, reversed(tuple(self._ring))):
            if _id(record) == name:
                return self._told(record)
        return None

    def _told(self, record: _Record) -> dict[str, object]:
        return _told(record, fell_back=record.number in self._fell_back)

    def __repr__(self) -> str:
        return f"<FlightRecorder {len(self._ring)} of {self._number} calls>"


def _id(record: _Record) -> str:
    return f"{os.getpid()}-{record.number}"


def _told(record: _Record, *, fell_back: bool) -> dict[str, object]:
    event = record.event
    common = {"id": _id(record), "time": record.time, "loop_lag": record.lag, "seconds": event.seconds}
    if isinstance(event, LegacyFinished):
        return {**common, "route": "legacy", "outcome": "error" if event.error else "ok", "error": event.error}
    failed = event.kind not in {Kind.OK, Kind.CANCELLED}
    return {
        **common,
        "route": "pool",
        "outcome": str(event.kind),
        "status": event.status,
        "error": error_type(event.kind, event.status, event.refusal) if failed else None,
        "fell_back": fell_back,
        "path": event.path.partition("?")[0],
        "model": event.model,
        "streamed": event.streamed,
        "clocks": {"queue": event.queue_seconds, "first": event.first_seconds, "total": event.seconds},
        "bytes": {"sent": event.bytes_sent, "received": event.bytes_received},
        "tokens": {"input": event.input_tokens, "output": event.output_tokens},
        "chunks": event.chunks,
        "attempts": [_attempt(attempt, event.began) for attempt in event.trail],
    }


def _attempt(attempt: AttemptFinished, began: float) -> dict[str, object]:
    return {
        "node": attempt.node,
        "at": attempt.began - began,
        "seconds": attempt.seconds,
        "outcome": str(attempt.kind),
        "status": attempt.status,
        "request_id": attempt.request_id,
        "skipped": dict(word.rpartition("=")[::2] for word in attempt.skipped.split()),
    }
