"""What has happened: facts, and the one way to tell them to whoever listens.

Decisions are made in `policy`, acted on in `engine` and `doors`; both only *tell* what happened. An observer can
neither change a decision nor break a request: what it raises is counted, logged once, and forgotten.

Facts are not to be changed. The three that every request brings are not frozen all the same: a frozen dataclass of
fifteen fields takes 3.1 µs to make, a plain one 1.1 µs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "AttemptFinished",
    "BlockingCall",
    "BreakerChanged",
    "CacheAsked",
    "CallFinished",
    "CallerLeft",
    "Event",
    "Events",
    "FellBack",
    "Hedged",
    "LegacyFinished",
    "LoopStalled",
    "NodeChanged",
    "Observer",
    "Rejected",
    "Routed",
    "StageFinished",
    "StreamBroken",
]

_log = logging.getLogger("phase1")


@dataclass(slots=True)
class Routed:
    """An app request was given its route, once. Values as in `policy.selection`."""

    route: str
    reason: str


@dataclass(slots=True)
class AttemptFinished:
    """One attempt at one node is over. `seconds` until the answer (of a stream: its first content) or the failure.

    `began` is on the clock of `time.perf_counter`. `server` is the node's host. `skipped` says who was not asked
    instead, and why (`off`, `cooling`, `asked`, `priority`): `node-a=off node-b=cooling`. `request_id` is what the
    upstream calls its answer; it is looked up for failures only. `hedge`: it was made while another node was late.
    """

    node: str
    retry: bool
    kind: str
    status: int | None
    seconds: float
    began: float = 0.0
    server: str = ""
    skipped: str = ""
    request_id: str | None = None
    hedge: bool = False


@dataclass(slots=True)
class CallFinished:
    """A call through the pool is over, after failover. `seconds` from admission to the last byte.

    `first_seconds` is the time until the caller had an answer in hand (of a stream: its first content), queue
    included; `None` when it never had one. `trail` are its attempts, in order. `refusal` is the name of the refusal
    when nothing was sent (`QueueFull` …). Tokens are those that the upstream counted; `None` = it did not say.
    `chunks` are a stream's events.
    """

    kind: str
    status: int | None
    attempts: int
    queue_seconds: float
    seconds: float
    first_seconds: float | None
    streamed: bool
    path: str = ""
    model: str | None = None
    refusal: str | None = None
    trail: tuple[AttemptFinished, ...] = ()
    began: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A call did not even get as far as the queue. `reason` is the name of the refusal: `CircuitOpen`."""

    reason: str


@dataclass(frozen=True, slots=True)
class FellBack:
    """The legacy client answers instead of the pool. `reason` is what happened to the pool's attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class LegacyFinished:
    """A call through the legacy client is over; `error` is the exception's qualified name.

    `streamed`: of its answer only the beginning is known, before its first content. `empty`: it said nothing.
    """

    seconds: float
    error: str | None
    streamed: bool = False
    empty: bool = False


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """A synchronous call on the event loop could not be helped: it blocked, as before. `site` is `file:line`."""

    site: str


@dataclass(frozen=True, slots=True)
class LoopStalled:
    """The event loop stood still for `seconds`; `site` is the line of the app that held it, `file:line`."""

    site: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StageFinished:
    """One stage of an app request is over: `db_fetch`, `llm_response`, `db_save` or `total`."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Hedged:
    """A node was late. `result` of the other one: `won`, `lost`; it was not asked: `no_node`, `no_budget`."""

    result: str


@dataclass(frozen=True, slots=True)
class CacheAsked:
    """A call was looked up. `result`: `hit`, `shared` (with one under way), `miss`, `bypass`, `error` (of the store).

    `seconds` until its answer.
    """

    result: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """The app's own client has gone: so many calls that waited on its behalf were cancelled."""

    calls: int


@dataclass(frozen=True, slots=True)
class StreamBroken:
    """A stream broke after its first content. `reason`: `upstream`, or the clock of ours that ended it."""

    reason: str


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
    Routed
    | AttemptFinished
    | CallFinished
    | CallerLeft
    | Rejected
    | FellBack
    | Hedged
    | LegacyFinished
    | BlockingCall
    | LoopStalled
    | StageFinished
    | StreamBroken
    | BreakerChanged
    | CacheAsked
    | NodeChanged
)


class Observer(Protocol):
    """Whoever wants to know. Called on the event loop, or in a legacy thread: be quick, don't block.

    One that has an attribute `hears`, a set of the facts' classes, is told of no others.
    """

    def on_event(self, event: Event, /) -> None:
        """Take note of `event`."""


class Events:
    """The listeners of one manager."""

    __slots__ = ("_complained", "_listeners", "_observers", "failures")

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._listeners: dict[type, tuple[Observer, ...]] = {}
        """Who hears what; made when a fact of that kind is told for the first time."""
        self._complained: set[int] = set()
        self.failures = 0
        """How often an observer has raised."""

    def subscribe(self, observer: Observer) -> None:
        """Let `observer` hear everything from now on."""
        self._observers = (*self._observers, observer)
        self._listeners = {}

    def notify(self, event: Event) -> None:
        """Tell every observer that hears it. Never raises."""
        kind = type(event)
        listeners = self._listeners.get(kind)
        if listeners is None:
            listeners = self._who_hears(kind)
        for observer in listeners:
            try:
                observer.on_event(event)
            except Exception:  # noqa: BLE001 - whatever it is, it must not reach the request
                self._failed(observer)

    def _who_hears(self, kind: type) -> tuple[Observer, ...]:
        table = self._listeners  # the one that `subscribe` may throw away meanwhile, in another thread
        listeners = table[kind] = tuple(each for each in self._observers if kind in getattr(each, "hears", (kind,)))
        return listeners

    def _failed(self, observer: Observer) -> None:
        self.failures += 1
        if id(observer) not in self._complained:
            self._complained.add(id(observer))
            _log.exception("observer %s failed; this is said once", type(observer).__qualname__)
