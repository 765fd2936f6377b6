"""Are there spans as OpenTelemetry's GenAI conventions have them, when they are wanted, and only then?"""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import phase1
from phase1.observe.otel import Tracer
from phase1.policy.kinds import Kind
from tests.doors.bench import Bench, completion, failure
from tests.observe.test_recorder import attempt, call


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What an app's own SDK gets."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def spans(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """By name."""
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def test_call_is_a_client_span_with_a_child_for_each_attempt(exporter: InMemorySpanExporter) -> None:
    """With the conventions' names and the call's own times."""
    trail = (
        attempt("a", Kind.SERVER_ERROR, status=500, server="a.test"),
        attempt("b", began=10.35, server="b.test"),
    )
    event = call(trail=trail, attempts=2, seconds=0.6, input_tokens=3, output_tokens=4)
    event.path = "/chat/completions"
    Tracer().on_event(event)
    found = spans(exporter)
    (parent,), attempts = found["chat gpt"], found["phase1.attempt"]
    assert parent.kind is trace.SpanKind.CLIENT
    assert parent.attributes is not None
    assert parent.attributes["gen_ai.operation.name"] == "chat"
    assert parent.attributes["gen_ai.request.model"] == "gpt"
    assert parent.attributes["gen_ai.usage.output_tokens"] == 4
    assert parent.attributes["server.address"] == "b.test"
    assert parent.start_time is not None
    assert parent.end_time is not None
    assert (parent.end_time - parent.start_time) / 1e9 == pytest.approx(0.6, abs=0.001)
    assert [span.attributes["phase1.node"] for span in attempts if span.attributes] == ["a", "b"]
    assert all(span.parent is not None and span.parent.span_id == parent.context.span_id for span in attempts)
    first = attempts[0]
    assert first.attributes is not None
    assert first.attributes["error.type"] == "openai.InternalServerError"
    assert first.status.status_code is trace.StatusCode.ERROR
    assert parent.status.status_code is trace.StatusCode.UNSET


async def test_real_call_is_below_the_span_of_its_request(exporter: InMemorySpanExporter) -> None:
    """The app's own span is the parent; nothing of what was said stands in an attribute."""
    bench = Bench(completion, lambda: failure(400))
    bench.manager.events.subscribe(Tracer())
    tracer = trace.get_tracer("the app")
    async with bench.manager:
        with tracer.start_as_current_span("POST /chat") as request:
            await bench.ask()
        with pytest.raises(Exception, match="scripted"):
            await bench.ask()
    fine, failed = spans(exporter)["chat m"]
    assert fine.parent is not None
    assert fine.parent.span_id == request.get_span_context().span_id
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "openai.BadRequestError"
    words = repr([span.attributes for span in exporter.get_finished_spans()])
    assert not any(word in words for word in ("hello", "from the pool", "sk-pool"))


@pytest.mark.parametrize("active", [True, False])
def test_openai_instrumentor_has_the_word(
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    active: bool,  # noqa: FBT001
) -> None:
    """If it sits in the SDK the call has a span already; one that is only imported does not count."""
    module = types.ModuleType("opentelemetry.instrumentation.openai")

    class OpenAIInstrumentor:
        is_instrumented_by_opentelemetry = active

    module.OpenAIInstrumentor = OpenAIInstrumentor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    Tracer().on_event(call())
    assert bool(exporter.get_finished_spans()) is not active


def test_without_a_sdk_nothing_is_computed() -> None:
    """The API alone gives a span that records nothing."""
    Tracer().on_event(call(trail=(attempt("a"),)))


WITHOUT = """
import asyncio, sys
from phase1.doors.manager import LLMManager
from phase1.observe.monitor import Monitor
from phase1.settings import Settings

async def main():
    monitor = Monitor(LLMManager(Settings.load(enable_llm_pool=False)))
    monitor.watch()
    names = lambda: [type(each).__name__ for each in monitor.manager.events._observers]
    assert "Tracer" not in names() and not [name for name in sys.modules if name.startswith("opentelemetry")]
    import opentelemetry.trace
    while "Tracer" not in names():
        await asyncio.sleep(0.05)
    monitor.close()

asyncio.run(asyncio.wait_for(main(), 20))
"""


def test_app_without_opentelemetry_never_imports_it() -> None:
    """Nor does phase1 for it; one that imports it later has its spans from the next second on."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("path", "internal"),
    [
        ("/debug/llm-system", True),
        ("/debug/llm-system/requests/1", True),
        ("/metrics/llm", True),
        ("/admin/llm-system/control", True),
        ("/chat", False),
        ("/metrics", False),
    ],
)
def test_own_pages_can_be_left_out_of_the_apps_traces(path: str, internal: bool) -> None:  # noqa: FBT001
    """`FastAPI(telemetry={"exclude": phase1.is_internal})`."""
    assert phase1.is_internal({"type": "http", "path": path}) is internal
