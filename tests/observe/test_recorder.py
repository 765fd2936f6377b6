"""Does the flight recorder tell what happened, and nothing that was said?"""

from __future__ import annotations

import os

import pytest

from phase1.engine.tally import Tally
from phase1.events import AttemptFinished, CallFinished, FellBack, LegacyFinished
from phase1.observe.recorder import FlightRecorder
from phase1.policy.kinds import Kind
from tests.doors.bench import Bench, SyncLegacy, completion, failure


def attempt(node: str, kind: str = Kind.OK, **changes: object) -> AttemptFinished:
    """One at a node."""
    values = {"node": node, "retry": False, "kind": kind, "status": 200, "seconds": 0.2, "began": 10.1}
    return AttemptFinished(**{**values, **changes})  # type: ignore[arg-type]


def call(kind: str = Kind.OK, **changes: object) -> CallFinished:
    """One through the pool."""
    values = {
        "kind": kind,
        "status": 200,
        "attempts": 1,
        "queue_seconds": 0.1,
        "seconds": 0.3,
        "first_seconds": 0.3,
        "streamed": False,
        "path": "/chat/completions?key=planted",
        "model": "gpt",
        "began": 10.0,
        "trail": (attempt("a"),),
    }
    return CallFinished(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def recorder() -> FlightRecorder:
    """An empty one."""
    return FlightRecorder(Tally())


def test_call_is_told_with_its_clocks_and_attempts(recorder: FlightRecorder) -> None:
    """Attempts in seconds since the call began, with who was not asked and why."""
    trail = (
        attempt("a", Kind.RATE_LIMIT, status=429, request_id="req_1"),
        attempt("b", began=10.5, skipped="a=cooling c=off"),
    )
    recorder.on_event(call(trail=trail, input_tokens=1, bytes_sent=5))
    (told,) = recorder.last()
    assert told["id"] == f"{os.getpid()}-1"
    assert (told["route"], told["outcome"], told["error"], told["path"]) == ("pool", "ok", None, "/chat/completions")
    assert told["clocks"] == {"queue": 0.1, "first": 0.3, "total": 0.3}
    assert (told["tokens"], told["bytes"]) == ({"input": 1, "output": None}, {"sent": 5, "received": 0})
    first, second = told["attempts"]  # type: ignore[misc]
    assert (first["node"], first["outcome"], first["status"], first["request_id"]) == ("a", "rate_limit", 429, "req_1")  # type: ignore[has-type]
    assert first["at"] == pytest.approx(0.1)  # type: ignore[has-type]
    assert second["at"] == pytest.approx(0.5)  # type: ignore[has-type]
    assert second["skipped"] == {"a": "cooling", "c": "off"}  # type: ignore[has-type]


def test_loop_lag_of_the_moment_stands_beside_a_call() -> None:
    """What the heartbeat knew when the call ended."""
    tally = Tally()
    recorder = FlightRecorder(tally)
    tally.loop_was_late(0.4)
    recorder.on_event(call())
    assert recorder.last()[0]["loop_lag"] == 0.4


def test_legacy_calls_are_recorded_too(recorder: FlightRecorder) -> None:
    """With the name of what they raised."""
    recorder.on_event(LegacyFinished(1.5, None))
    recorder.on_event(LegacyFinished(0.5, "openai.APIError"))
    failed, fine = recorder.last()
    assert (fine["route"], fine["outcome"], fine["seconds"]) == ("legacy", "ok", 1.5)
    assert (failed["outcome"], failed["error"]) == ("error", "openai.APIError")


def test_failed_call_has_its_exceptions_name(recorder: FlightRecorder) -> None:
    """A cancelled one has none: nobody saw it."""
    recorder.on_event(call(Kind.SERVER_ERROR, status=503))
    recorder.on_event(call(Kind.CANCELLED))
    assert [told["error"] for told in recorder.last()] == [None, "openai.InternalServerError"]


def test_fallback_marks_the_call_that_it_follows(recorder: FlightRecorder) -> None:
    """The last one with that outcome, each once."""
    for kind in (Kind.TIMEOUT, Kind.TIMEOUT, Kind.OK):
        recorder.on_event(call(kind))
    recorder.on_event(FellBack(Kind.TIMEOUT))
    assert [told["fell_back"] for told in recorder.last()] == [False, True, False]
    recorder.on_event(FellBack(Kind.TIMEOUT))
    recorder.on_event(FellBack("configuration"))
    assert [told["fell_back"] for told in recorder.last()] == [False, True, True]


def test_last_thousand_are_kept(recorder: FlightRecorder) -> None:
    """The newest first; the others are gone, and their ids lead nowhere."""
    for _ in range(1005):
        recorder.on_event(call())
    ids = [told["id"] for told in recorder.last()]
    assert (len(ids), ids[0], ids[-1]) == (1000, f"{os.getpid()}-1005", f"{os.getpid()}-6")
    assert recorder.find(f"{os.getpid()}-6") is not None
    assert recorder.find(f"{os.getpid()}-5") is None
    assert len(recorder.last(7)) == 7
    assert repr(recorder) == "<FlightRecorder 1000 of 1005 calls>"


async def test_real_calls_are_recorded_without_their_content() -> None:
    """A call that legacy rescued, and one that the pool answered."""
    bench = Bench(lambda: failure(500, x_request_id="req_9"), completion, legacy=SyncLegacy("planted-answer"))
    recorder = FlightRecorder(bench.manager.tally)
    bench.manager.events.subscribe(recorder)
    async with bench.manager:
        await bench.ask_in_turn(2)
    fine, legacy, failed = recorder.last()
    assert (failed["outcome"], failed["fell_back"], failed["model"]) == ("server_error", True, "m")
    assert failed["attempts"][0]["request_id"] == "req_9"  # type: ignore[index]
    assert (legacy["route"], fine["outcome"]) == ("legacy", "ok")
    words = repr(recorder.last())
    assert not any(word in words for word in ("planted", "hello", "from the pool", "sk-pool"))
