"""Is every route an evaluation of a feature flag, in OpenTelemetry's words, where somebody listens, and only there?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as names

from phase1.events import Routed
from phase1.observe.flags import EVENT, FlagEvents
from phase1.policy.selection import FLAG, Reason
from tests.doors.bench import Bench, SyncLegacy, failure

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

IN_MEMORY = getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter  # before 1.39


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What an app's own tracing gets."""
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.shutdown()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Iterator[trace.Tracer]:
    """The app's own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider.get_tracer("the app")
    provider.shutdown()


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryLogRecordExporter]:
    """What an app's own log pipeline gets."""
    exporter = IN_MEMORY()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(export.SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs, "get_logger_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def told(logs: InMemoryLogRecordExporter) -> list[ReadableLogRecord]:
    """The events so far."""
    return list(logs.get_finished_logs())


async def test_route_of_a_request_is_an_event_of_its_trace(
    logs: InMemoryLogRecordExporter, tracer: trace.Tracer
) -> None:
    """Once for all of its calls, with the conventions' names."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=50)
    bench.manager.events.subscribe(FlagEvents())
    async with bench.manager:
        with tracer.start_as_current_span("POST /chat") as request:
            llm = bench.manager.llm("user-1")
            await llm.generate_response_async([{"role": "user", "content": "hello"}])
            await llm.generate_response_async([{"role": "user", "content": "hello"}])
    (event,) = told(logs)
    assert event.log_record.event_name == EVENT
    assert event.log_record.trace_id == request.get_span_context().trace_id
    assert event.log_record.span_id == request.get_span_context().span_id
    assert event.log_record.attributes == {
        names.FEATURE_FLAG_KEY: FLAG,
        names.FEATURE_FLAG_PROVIDER_NAME: "phase1",
        names.FEATURE_FLAG_RESULT_VARIANT: llm.route,
        names.FEATURE_FLAG_RESULT_REASON: "split",
    }
    assert "user-1" not in repr(event)


async def test_breaker_and_switches_are_reasons_too(logs: InMemoryLogRecordExporter) -> None:
    """Ours beside OpenFeature's."""
    bench = Bench(lambda: failure(500), legacy=SyncLegacy())
    bench.manager.events.subscribe(FlagEvents())
    async with bench.manager:
        await bench.ask_in_turn(4)
    reasons = [event.log_record.attributes["feature_flag.result.reason"] for event in told(logs)]  # type: ignore[index]
    assert reasons == ["split", "split", "split", "circuit_open"]


@pytest.mark.parametrize("reason", list(Reason))
def test_only_a_pool_that_could_not_start_is_an_error(reason: Reason, logs: InMemoryLogRecordExporter) -> None:
    """A kill switch is a wish."""
    FlagEvents().on_event(Routed("legacy", reason))
    (event,) = told(logs)
    attributes = event.log_record.attributes or {}
    assert attributes["feature_flag.result.reason"] == reason.value
    assert attributes.get("error.type") == ("provider_not_ready" if reason is Reason.ERROR else None)


def test_without_a_logger_provider_the_current_span_hears_it(
    spans: InMemorySpanExporter, tracer: trace.Tracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As most apps are: traces only."""
    monkeypatch.setattr(_logs, "get_logger_provider", _logs.NoOpLoggerProvider)
    with tracer.start_as_current_span("POST /chat"):
        FlagEvents().on_event(Routed("pool", "split"))
    (span,) = spans.get_finished_spans()
    (event,) = span.events
    assert (event.name, (event.attributes or {})["feature_flag.result.variant"]) == (EVENT, "pool")


def test_without_a_span_and_a_provider_nothing_happens() -> None:
    """The API alone."""
    FlagEvents().on_event(Routed("pool", "split"))


def test_logger_without_event_names_hears_nothing(
    logs: InMemoryLogRecordExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older API: a log record without a name would be a riddle."""

    class Old:
        def __init__(self, *, attributes: object) -> None: ...

    monkeypatch.setattr(_logs, "LogRecord", Old)
    FlagEvents().on_event(Routed("pool", "split"))
    assert told(logs) == []
