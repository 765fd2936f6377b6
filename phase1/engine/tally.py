"""What has happened so far, in numbers? An observer, O(1) per event, read by `get_metrics()`, our pages and Prometheus.

Every number is kept once, here, in plain dictionaries; who wants another form (JSON, an exposition, several workers in
one) makes it when asked. Labels are bounded: nodes are configured, outcomes are ours, models and sites are cut off.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from phase1.engine.histogram import SECONDS, SHORT_SECONDS, TOKENS, Histogram
from phase1.events import (
    AttemptFinished,
    BlockingCall,
    BreakerChanged,
    CacheAsked,
    CallerLeft,
    CallFinished,
    Event,
    FellBack,
    Hedged,
    LegacyFinished,
    LoopStalled,
    NodeChanged,
    Rejected,
    Routed,
    StageFinished,
    StreamBroken,
)
from phase1.policy.kinds import Kind

__all__ = ["OTHER", "STAGES", "Failure", "Tally", "error_type", "percentile"]

OTHER: Final = "other"
"""What a label says when there are too many values of it."""
STAGES: Final = ("db_fetch", "llm_response", "db_save", "total")

_RECENT = 1000
_RECENT_OF_NODE = 200
_FAILURES = 50
_MODELS = 20
_SITES = 50
_SOON = 1.0
"""Seconds until the watching thread tells of a stall that is over."""
_SERIES = 1000
_ATTEMPTS: Final[dict[bool | str, str]] = {False: "primary", True: "retry", "hedge": "hedge"}
_NOBODYS_FAULT: Final = frozenset(
    {Kind.OK, Kind.CANCELLED, Kind.CALLER_ERROR, Kind.CONTEXT_LENGTH, Kind.CONTENT_FILTER}
)

_OPERATIONS: Final = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/images/generations": "generate_content",
    "/images/edits": "generate_content",
}
"""OpenTelemetry's names of what is done at a path."""

_ERRORS_BY_STATUS: Final = {
    400: "openai.BadRequestError",
    401: "openai.AuthenticationError",
    403: "openai.PermissionDeniedError",
    404: "openai.NotFoundError",
    409: "openai.ConflictError",
    422: "openai.UnprocessableEntityError",
    429: "openai.RateLimitError",
}
_SERVER_ERRORS: Final = 500
_ERRORS: Final = {
    Kind.TIMEOUT: "openai.APITimeoutError",
    Kind.FIRST_TOKEN_TIMEOUT: "openai.APITimeoutError",
    Kind.CONNECT: "openai.APIConnectionError",
    Kind.BROKEN: "openai.APIConnectionError",
    Kind.TRUNCATED: "openai.APIConnectionError",
    Kind.EMPTY: "openai.APIConnectionError",
    Kind.STALL: "openai.APIConnectionError",
    Kind.BROKEN_AFTER_TOKEN: "openai.APIError",
    Kind.CANCELLED: "asyncio.CancelledError",
    Kind.BUG: "phase1.UpstreamError",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed, without a word of its content. `time` is the system's."""

    time: float
    node: str
    kind: str
    status: int | None
    request_id: str | None


@dataclass(slots=True)
class _Attempts:
    """Where attempts at one node with one outcome are counted."""

    seconds: Histogram
    recent: deque[float]
    count: int = 0


@dataclass(slots=True)
class _Series:
    """Where calls of one operation, model, server and error are counted. One lookup finds them all."""

    of: tuple[str, str, str]
    seconds: Histogram
    input: Histogram | None = None
    output: Histogram | None = None


class Tally:
    """Counters since the start, and the latencies of the last thousand answers through the pool and through legacy.

    Where each request passes, histograms are counted in without the call of `observe`: five of them cost half a
    microsecond.
    """

    def __init__(self) -> None:
        self.routes: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.rejections: Counter[str] = Counter()
        self.transitions: Counter[str] = Counter()
        self.node_alarms: Counter[str] = Counter()
        self.broken_streams: Counter[str] = Counter()
        self.hedges: Counter[str] = Counter()
        self.cache: Counter[str] = Counter()
        self.abandoned = 0
        """Calls whose app request had lost its client."""
        self.blocking_sites: Counter[str] = Counter()
        self.stalled_seconds: Counter[str] = Counter()
        self.legacy: Counter[str] = Counter()
        self.pool_seconds: deque[float] = deque(maxlen=_RECENT)
        self.queue_seconds: deque[float] = deque(maxlen=_RECENT)
        self.legacy_seconds: deque[float] = deque(maxlen=_RECENT)
        self.node_seconds: dict[str, deque[float]] = {}
        self.failures: deque[Failure] = deque(maxlen=_FAILURES)
        self.last_failures: dict[str, Failure] = {}
        self.operations: dict[tuple[str, str, str, str], Histogram] = {}
        """By operation, model, server and error type (empty: none)."""
        self.tokens: dict[tuple[str, str, str, str], Histogram] = {}
        """By operation, model, server and `input` or `output`."""
        self.first_chunks: dict[tuple[str, str, str], Histogram] = {}
        self.output_chunks: dict[tuple[str, str, str], Histogram] = {}
        self.attempt_seconds: dict[tuple[str, str], Histogram] = {}
        self.stages = {stage: Histogram(SECONDS) for stage in STAGES}
        self.queue_wait = Histogram(SECONDS)
        self.overhead = Histogram(SHORT_SECONDS)
        self.loop_lag = Histogram(SHORT_SECONDS)
        self.lag = 0.0
        """Seconds that the event loop was late when it was last looked at."""
        self.finished = 0
        self.failed = 0
        self.seconds = 0.0
        self.token_count = 0
        self._blocked_at: dict[str, float] = {}
        self._models: set[str] = set()
        self._attempts: dict[tuple[str, bool | str, str], _Attempts] = {}
        self._series: dict[tuple[str | int | None, ...], _Series] = {}
        self._take: dict[type, Callable[[Any], None]] = {
            Routed: self._routed,
            AttemptFinished: self._attempt,
            CallFinished: self._call,
            Rejected: self._rejected,
            FellBack: self._fell_back,
            LegacyFinished: self._legacy,
            BlockingCall: self._blocking,
            LoopStalled: self._stalled,
            StageFinished: self._stage,
            StreamBroken: self._broken,
            Hedged: self._hedged,
            CallerLeft: self._left,
            CacheAsked: self._cached,
            BreakerChanged: self._breaker,
            NodeChanged: self._node,
        }

    def on_event(self, event: Event, /) -> None:
        """Count it."""
        take = self._take.get(type(event))
        if take is not None:
            take(event)

    def loop_was_late(self, seconds: float) -> None:
        """The event loop was looked at."""
        self.lag = seconds
        self.loop_lag.observe(seconds)

    def _routed(self, event: Routed) -> None:
        self.routes[event.route, event.reason] += 1

    def _attempt(self, event: AttemptFinished) -> None:
        kind, seconds = event.kind, event.seconds
        key = (event.node, "hedge" if event.hedge else event.retry, kind)
        series = self._attempts.get(key)
        if series is None:
            series = self._attempts[key] = self._attempts_of(event)
        series.count += 1
        series.recent.append(seconds)
        histogram = series.seconds
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds
        if kind not in _NOBODYS_FAULT:
            failure = Failure(time.time(), event.node, kind, event.status, event.request_id)
            self.last_failures[event.node] = failure
            self.failures.append(failure)

    def _attempts_of(self, event: AttemptFinished) -> _Attempts:
        seconds = self.attempt_seconds.setdefault((event.node, event.kind), Histogram(SECONDS))
        return _Attempts(seconds, self.node_seconds.setdefault(event.node, deque(maxlen=_RECENT_OF_NODE)))

    @property
    def attempts(self) -> dict[tuple[str, str, str], int]:
        """By node; `primary`, `retry` or `hedge`; and outcome."""
        counted = dict(self._attempts)
        return {(node, _ATTEMPTS[way], kind): each.count for (node, way, kind), each in counted.items()}

    def _call(self, event: CallFinished) -> None:
        kind, seconds, queued = event.kind, event.seconds, event.queue_seconds
        self.calls[kind] += 1
        self.queue_seconds.append(queued)
        self.finished += 1
        self.failed += kind not in _NOBODYS_FAULT
        self.seconds += seconds
        trail = event.trail
        key = (event.path, event.model, trail[-1].server if trail else "", kind, event.status, event.refusal)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._series_of(event, key[2])
        histogram = series.seconds
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds
        if event.first_seconds is not None:
            self.pool_seconds.append(event.first_seconds)
            histogram = self.queue_wait
            histogram.counts[bisect_left(SECONDS, queued)] += 1
            histogram.total += queued
            if event.streamed:
                self._stream(event, series.of)
            elif len(trail) == 1:
                ours = seconds - queued - trail[0].seconds
                histogram = self.overhead
                histogram.counts[bisect_left(SHORT_SECONDS, ours)] += 1
                histogram.total += ours if ours > 0 else 0.0
        elif event.refusal is not None:
            self.rejections[event.refusal] += 1
        read, written = event.input_tokens, event.output_tokens
        if read is not None or written is not None:
            self._tokens(series, read, written)

    def _tokens(self, series: _Series, read: int | None, written: int | None) -> None:
        if series.input is None or series.output is None:
            series.input = self.tokens.setdefault((*series.of, "input"), Histogram(TOKENS))
            series.output = self.tokens.setdefault((*series.of, "output"), Histogram(TOKENS))
        for histogram, tokens in ((series.input, read), (series.output, written)):
            if tokens is not None:
                self.token_count += tokens
                histogram.counts[bisect_left(TOKENS, tokens)] += 1
                histogram.total += tokens

    def _series_of(self, event: CallFinished, server: str) -> _Series:
        """What calls like this one are counted in. There are as many as there are labels, so they are bounded too."""
        if len(self._series) > _SERIES:
            self._series.clear()
        operation = _OPERATIONS.get(event.path.partition("?")[0], OTHER)
        of = (operation, self._model(event.model or ""), server)
        error = "" if event.kind == Kind.OK else error_type(event.kind, event.status, event.refusal)
        return _Series(of, self.operations.setdefault((*of, error), Histogram(SECONDS)))

    def _stream(self, event: CallFinished, key: tuple[str, str, str]) -> None:
        first = event.first_seconds or 0.0
        self.first_chunks.setdefault(key, Histogram(SECONDS)).observe(first)
        if event.chunks > 1:
            mean = max(0.0, event.seconds - first) / (event.chunks - 1)
            self.output_chunks.setdefault(key, Histogram(SECONDS)).observe_many(mean, event.chunks - 1)

    def _model(self, name: str) -> str:
        """The label for a model."""
        if name in self._models or len(self._models) < _MODELS:
            self._models.add(name)
            return name
        return OTHER

    def _rejected(self, event: Rejected) -> None:
        self.rejections[event.reason] += 1

    def _fell_back(self, event: FellBack) -> None:
        self.fallbacks[event.reason] += 1

    def _legacy(self, event: LegacyFinished) -> None:
        self.legacy[event.error or "ok"] += 1
        self.legacy_seconds.append(event.seconds)
        self.finished += 1
        self.failed += event.error is not None
        self.seconds += event.seconds

    def _blocking(self, event: BlockingCall) -> None:
        site = self._site(event.site)
        self.blocking_sites[site] += 1
        self._blocked_at[site] = time.monotonic()

    def _stalled(self, event: LoopStalled) -> None:
        site = self._site(event.site)
        began = time.monotonic() - event.seconds - _SOON
        if self._blocked_at.get(site, float("-inf")) < began:  # else it was counted when the call was made
            self.blocking_sites[site] += 1
        self.stalled_seconds[site] += event.seconds  # type: ignore[assignment]  # a Counter may hold floats

    def _site(self, site: str) -> str:
        return site if site in self.blocking_sites or len(self.blocking_sites) < _SITES else OTHER

    def _stage(self, event: StageFinished) -> None:
        histogram = self.stages.get(event.stage)
        if histogram is not None:
            histogram.observe(event.seconds)

    def _cached(self, event: CacheAsked) -> None:
        self.cache[event.result] += 1

    def _left(self, event: CallerLeft) -> None:
        self.abandoned += event.calls

    def _hedged(self, event: Hedged) -> None:
        self.hedges[event.result] += 1

    def _broken(self, event: StreamBroken) -> None:
        self.broken_streams[event.reason] += 1

    def _breaker(self, event: BreakerChanged) -> None:
        self.transitions[event.after] += 1

    def _node(self, event: NodeChanged) -> None:
        self.node_alarms[event.node] += not event.up

    def latency(self) -> dict[str, dict[str, float | int | None]]:
        """Mean and percentiles in seconds, per route; `None` where nothing was measured."""
        return {
            "pool": _summary(self.pool_seconds),
            "queue": _summary(self.queue_seconds),
            "legacy": _summary(self.legacy_seconds),
        }


def error_type(kind: str, status: int | None, refusal: str | None = None) -> str:
    """The qualified name of the exception that the caller gets for it; `_OTHER` when there is none of its own."""
    if refusal is not None:
        return f"phase1.{refusal}"
    if kind in _ERRORS:
        return _ERRORS[Kind(kind)]
    if status is None:
        return "_OTHER"
    return "openai.InternalServerError" if status >= _SERVER_ERRORS else _ERRORS_BY_STATUS.get(status, "_OTHER")


def _summary(seconds: deque[float]) -> dict[str, float | int | None]:
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None}
    return {
        "count": len(ordered),
        "mean": sum(ordered) / len(ordered),
        "p50": percentile(ordered, 0.50),
        "p95": percentile(ordered, 0.95),
        "p99": percentile(ordered, 0.99),
    }


def percentile(ordered: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
