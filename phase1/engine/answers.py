"""Where are answers kept for the next one who asks the same, and in which form?

A store keeps bytes under a digest for a while. One that is away answers nothing and keeps nothing: a cache may cost a
request some milliseconds, and never its answer.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Protocol

from phase1.engine.call import Answer
from phase1.engine.transport import Fields
from phase1.policy.classify import Kind, Outcome
from phase1.policy.lru import Lru

__all__ = ["MemoryStore", "Store", "StoreAway", "packed", "unpacked"]

_KEPT = frozenset({"content-type", "x-request-id"})
"""What else stands in a header was true of one exchange: limits, times, cookies."""


class StoreAway(Exception):
    """The store does not answer now. Nobody's call fails for that."""


class Store(Protocol):
    """Keeps bytes. Every method may be called on any loop."""

    async def get(self, key: str) -> bytes | None:
        """What is kept there; `None` = nothing. Raises `StoreAway` soon rather than late."""

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep it; returns at once, and never raises."""

    def describe(self) -> dict[str, object]:
        """For the status page: no content."""

    async def aclose(self) -> None:
        """Close what it has open on the running loop."""


class MemoryStore:
    """In this process, for all of its loops and threads."""

    def __init__(self, *, max_bytes: int, max_entries: int, clock: Callable[[], float]) -> None:
        self._lru = Lru(max_bytes=max_bytes, max_entries=max_entries, clock=clock)
        self._lock = threading.Lock()

    async def get(self, key: str) -> bytes | None:
        """What is kept there."""
        with self._lock:
            return self._lru.get(key)

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep it."""
        with self._lock:
            self._lru.put(key, value, seconds=seconds)

    def describe(self) -> dict[str, object]:
        """How full it is."""
        return {"store": "memory", "entries": len(self._lru), "bytes": self._lru.bytes}

    async def aclose(self) -> None:
        """Nothing is open."""


def packed(answer: Answer, *, now: float) -> bytes:
    """A line of what has to be known, and the body. `now` is the system's time."""
    head = {"at": now, "headers": [pair for pair in answer.headers if pair[0] in _KEPT]}
    return json.dumps(head).encode() + b"\n" + answer.body


def unpacked(kept: bytes, *, now: float) -> Answer:
    """The answer again, with its age in seconds. Raises `ValueError` for anything that `packed` has not made."""
    line, end, body = kept.partition(b"\n")
    try:
        head = json.loads(line)
        pairs = [(str(name), str(value)) for name, value in head["headers"]]
        age = ("age", str(max(0, int(now - head["at"]))))
    except (KeyError, TypeError) as exc:
        raise ValueError("not an answer of the cache") from exc
    if not end:
        raise ValueError("an answer of the cache without a body")
    return Answer(200, Fields.of([*pairs, age]), Outcome(Kind.OK, status=200), body=body)
