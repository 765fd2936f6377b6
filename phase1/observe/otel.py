"""How do calls become OpenTelemetry spans? `chat gpt-4o` (CLIENT) with a child `phase1.attempt` for each attempt.

Spans are made when a call is over, from its facts and with their times, by the API alone: which SDK, sampler and
exporter there are is the app's business. An app that has not imported OpenTelemetry pays nothing. Where an OpenAI
instrumentor is active the call has a span already, and there is none of ours.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from phase1.engine.tally import error_type
from phase1.events import CallFinished, Event
from phase1.policy.kinds import Kind

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.trace import Tracer as OtelTracer

    from phase1.events import AttemptFinished

__all__ = ["Tracer", "is_internal"]

_API: Final = "opentelemetry.trace"
_INSTRUMENTORS: Final = (
    ("opentelemetry.instrumentation.openai", "OpenAIInstrumentor"),
    ("opentelemetry.instrumentation.openai_v2", "OpenAIInstrumentor"),
    ("openinference.instrumentation.openai", "OpenAIInstrumentor"),
)
_OPERATIONS: Final = {"/chat/completions": "chat", "/responses": "chat", "/completions": "text_completion"}
_OWN_PATHS: Final = ("/debug/llm-system", "/metrics/llm", "/admin/llm-system")


def is_internal(scope: Any) -> bool:  # noqa: ANN401 - an ASGI scope
    """Whether a request is for one of our pages: for `FastAPI(telemetry={"exclude": phase1.is_internal})`."""
    path = str(scope.get("path", ""))
    return path.startswith(_OWN_PATHS)


class Tracer:
    """An observer that makes spans."""

    hears: Final = frozenset({CallFinished})

    def __init__(self) -> None:
        self._tracer: OtelTracer | None = None

    @staticmethod
    def is_wanted() -> bool:
        """Whether the app has imported OpenTelemetry."""
        return _API in sys.modules

    def on_event(self, event: Event, /) -> None:
        """Make the spans of a call that is over."""
        if type(event) is CallFinished and not _instrumented():
            self._trace(event)

    def _trace(self, event: CallFinished) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - imported already, by the app

        if self._tracer is None:
            self._tracer = trace.get_tracer("phase1")
        zero = time.time() - time.perf_counter()
        operation = _OPERATIONS.get(event.path) or event.path.strip("/").partition("?")[0] or "call"
        span = self._tracer.start_span(
            f"{operation} {event.model}" if event.model else operation,
            kind=trace.SpanKind.CLIENT,
            start_time=_nanoseconds(event.began + zero),
        )
        if span.is_recording():
            self._tell(span, operation, event)
            for attempt in event.trail:
                self._attempt(span, attempt, zero)
        span.end(_nanoseconds(event.began + event.seconds + zero))

    def _tell(self, span: Span, operation: str, event: CallFinished) -> None:
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": event.model,
            "gen_ai.usage.input_tokens": event.input_tokens,
            "gen_ai.usage.output_tokens": event.output_tokens,
            "server.address": event.trail[-1].server if event.trail else None,
            "http.response.status_code": event.status,
            "phase1.queue_seconds": event.queue_seconds,
            "phase1.attempts": event.attempts,
        }
        _set(span, attributes, _error(event.kind, event.status, event.refusal))

    def _attempt(self, parent: Span, attempt: AttemptFinished, zero: float) -> None:
        from opentelemetry import trace  # noqa: PLC0415

        span = self._tracer.start_span(  # type: ignore[union-attr]  # its parent was made by it
            "phase1.attempt",
            context=trace.set_span_in_context(parent),
            kind=trace.SpanKind.CLIENT,
            start_time=_nanoseconds(attempt.began + zero),
        )
        attributes = {
            "phase1.node": attempt.node,
            "phase1.outcome": str(attempt.kind),
            "phase1.retry": attempt.retry,
            "server.address": attempt.server or None,
            "http.response.status_code": attempt.status,
        }
        _set(span, attributes, _error(attempt.kind, attempt.status, None))
        span.end(_nanoseconds(attempt.began + attempt.seconds + zero))


def _set(span: Span, attributes: dict[str, Any], error: str | None) -> None:
    from opentelemetry import trace  # noqa: PLC0415

    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(trace.StatusCode.ERROR)


def _error(kind: str, status: int | None, refusal: str | None) -> str | None:
    return None if kind in {Kind.OK, Kind.CANCELLED} else error_type(kind, status, refusal)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _instrumented() -> bool:
    """Whether somebody else's instrumentor sits in the OpenAI SDK."""
    for module, name in _INSTRUMENTORS:
        instrumentor = getattr(sys.modules.get(module), name, None)
        if instrumentor is not None and instrumentor().is_instrumented_by_opentelemetry:
            return True
    return False
