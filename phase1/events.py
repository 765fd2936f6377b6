"""What has happened: frozen facts, and the one way to tell them to whoever listens.

Decisions are made in `policy`, acted on in `engine` and `doors`; both only *tell* what happened. An observer can
neither change a decision nor break a request: what it raises is counted, logged once, and forgotten.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "AttemptFinished",
    "BlockingCall",
    "BreakerChanged",
    "CallFinished",
    "Event",
    "Events",
    "FellBack",
    "LegacyFinished",
    "NodeChanged",
    "Observer",
    "Routed",
]

_log = logging.getLogger("phase1")


@dataclass(frozen=True, slots=True)
class Routed:
    """An app request was given its route, once. Values as in `policy.selection`."""

    route: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptFinished:
    """One attempt at one node is over. `seconds` until the answer (of a stream: its first content) or the failure."""

    node: str
    retry: bool
    kind: str
    status: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call through the pool is over, after failover. `seconds` from admission to the last byte.

    `first_seconds` is the time until the caller had an answer in hand (of a stream: its first content), queue
    included; `None` when it never had one.
    """

    kind: str
    status: int | None
    attempts: int
    queue_seconds: float
    seconds: float
    first_seconds: float | None
    streamed: bool


@dataclass(frozen=True, slots=True)
class FellBack:
    """The legacy client answers instead of the pool. `reason` is what happened to the pool's attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class LegacyFinished:
    """A call through the legacy client is over; `error` is the exception's qualified name."""

    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """A synchronous call on the event loop could not be helped: it blocked, as before. `site` is `file:line`."""

    site: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """The pool's breaker moved, or would have (`enforced` is false in observe-only mode)."""

    before: str
    after: str
    generation: int
    reason: str
    enforced: bool


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node was switched off or came back. `kind` is what happened to it."""

    node: str
    up: bool
    kind: str


Event = (
    Routed | AttemptFinished | CallFinished | FellBack | LegacyFinished | BlockingCall | BreakerChanged | NodeChanged
)


class Observer(Protocol):
    """Whoever wants to know. Called on the event loop, or in a legacy thread: be quick, don't block."""

    def on_event(self, event: Event, /) -> None:
        """Take note of `event`."""


class Events:
    """The listeners of one manager."""

    __slots__ = ("_complained", "_observers", "failures")

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._complained: set[int] = set()
        self.failures = 0
        """How often an observer has raised."""

    def subscribe(self, observer: Observer) -> None:
        """Let `observer` hear everything from now on."""
        self._observers = (*self._observers, observer)

    def notify(self, event: Event) -> None:
        """Tell every observer. Never raises."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception:  # noqa: BLE001 - whatever it is, it must not reach the request
                self._failed(observer)

    def _failed(self, observer: Observer) -> None:
        self.failures += 1
        if id(observer) not in self._complained:
            self._complained.add(id(observer))
            _log.exception("observer %s failed; this is said once", type(observer).__qualname__)
