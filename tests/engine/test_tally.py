"""Are the numbers right?"""

from __future__ import annotations

import pytest

from phase1.engine.tally import OTHER, Tally, error_type
from phase1.events import (
    AttemptFinished,
    BlockingCall,
    BreakerChanged,
    CallerLeft,
    CallFinished,
    Event,
    FellBack,
    LegacyFinished,
    LoopStalled,
    NodeChanged,
    Rejected,
    Routed,
    StageFinished,
)
from phase1.policy.kinds import Kind


def call(seconds: float | None, *, kind: str = "ok", queued: float = 0.0) -> CallFinished:
    """A call that had its answer in hand after so many seconds."""
    return CallFinished(kind, 200, 1, queued, 99.0, seconds, streamed=False)


def tally_of(*events: Event) -> Tally:
    """The numbers after these facts."""
    tally = Tally()
    for event in events:
        tally.on_event(event)
    return tally


def counted(tally: Tally) -> Tally:
    """Without its methods, which no two tallies share."""
    tally._take = {}
    return tally


def test_each_fact_is_counted_in_its_place() -> None:
    """And nowhere else."""
    tally = tally_of(
        Routed("pool", "split"),
        Routed("pool", "split"),
        Routed("legacy", "split"),
        AttemptFinished("a", retry=False, kind="server_error", status=500, seconds=0.1),
        AttemptFinished("b", retry=True, kind="ok", status=200, seconds=0.1),
        call(1.0),
        call(None, kind="timeout"),
        FellBack("timeout"),
        LegacyFinished(2.0, None),
        LegacyFinished(3.0, "openai.APIError"),
        BlockingCall("app.py:7"),
        CallerLeft(3),
        BreakerChanged("active", "disabled", 1, "consecutive_failures", enforced=True),
        NodeChanged("a", up=False, kind="node_refused"),
        NodeChanged("a", up=True, kind="ok"),
        NodeChanged("a", up=False, kind="node_refused"),
    )
    assert tally.routes == {("pool", "split"): 2, ("legacy", "split"): 1}
    assert tally.attempts == {("a", "primary", "server_error"): 1, ("b", "retry", "ok"): 1}
    assert tally.calls == {"ok": 1, "timeout": 1}
    assert tally.fallbacks == {"timeout": 1}
    assert tally.legacy == {"ok": 1, "openai.APIError": 1}
    assert tally.blocking_sites == {"app.py:7": 1}
    assert tally.abandoned == 3
    assert tally.transitions == {"disabled": 1}
    assert tally.node_alarms == {"a": 2}
    assert list(tally.pool_seconds) == [1.0]
    assert list(tally.queue_seconds) == [0.0, 0.0]
    assert list(tally.legacy_seconds) == [2.0, 3.0]


def test_fact_that_is_not_known_changes_nothing() -> None:
    """One that a later version tells."""
    assert repr(vars(counted(tally_of("news")))) == repr(vars(counted(Tally())))  # type: ignore[arg-type]


def test_latency_is_none_where_nothing_was_measured() -> None:
    """Not zero: nobody was that fast."""
    nothing = {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None}
    assert Tally().latency() == {"pool": nothing, "queue": nothing, "legacy": nothing}


def test_latency_is_mean_and_percentiles() -> None:
    """Of two hundred answers from 0.01 to 2 s, whatever their order."""
    tally = tally_of(*(call(number / 100, queued=0.5) for number in range(200, 0, -1)))
    assert tally.latency()["pool"] == {
        "count": 200,
        "mean": pytest.approx(1.005),
        "p50": 1.01,
        "p95": 1.91,
        "p99": 1.99,
    }
    assert tally.latency()["queue"]["p99"] == 0.5


def test_latency_of_one_answer_is_that_answer() -> None:
    """At every percentile."""
    assert tally_of(call(7.0)).latency()["pool"] == {"count": 1, "mean": 7.0, "p50": 7.0, "p95": 7.0, "p99": 7.0}


def test_only_the_last_thousand_are_kept() -> None:
    """Memory is bounded; the counters go on."""
    tally = tally_of(*(call(1.0) for _ in range(1000)), *(call(2.0) for _ in range(1000)))
    assert tally.latency()["pool"]["mean"] == 2.0
    assert (tally.latency()["pool"]["count"], tally.calls["ok"]) == (1000, 2000)


# -- the histograms


def answered(**changes: object) -> CallFinished:
    """A call with everything that can be known about it."""
    attempt = AttemptFinished("a", retry=False, kind="ok", status=200, seconds=0.3, server="api.test")
    values: dict[str, object] = {
        "kind": Kind.OK,
        "status": 200,
        "attempts": 1,
        "queue_seconds": 0.1,
        "seconds": 0.5,
        "first_seconds": 0.5,
        "streamed": False,
        "path": "/chat/completions?x=1",
        "model": "gpt",
        "trail": (attempt,),
        "input_tokens": 10,
        "output_tokens": 20,
    }
    return CallFinished(**{**values, **changes})  # type: ignore[arg-type]


def test_call_is_counted_by_operation_model_server_and_error() -> None:
    """Its seconds, its tokens by type, its wait, and what is ours of it."""
    tally = tally_of(answered(), answered(), answered(output_tokens=None))
    assert tally.operations["chat", "gpt", "api.test", ""].counts[6] == 3
    assert tally.tokens["chat", "gpt", "api.test", "input"].total == 30
    assert tally.tokens["chat", "gpt", "api.test", "output"].count == 2
    assert tally.queue_wait.total == pytest.approx(0.3)
    assert tally.overhead.total == pytest.approx(0.3)  # 0.5 less the queue and the upstream, three times
    assert (tally.finished, tally.failed, tally.token_count) == (3, 0, 70)


def test_input_tokens_may_be_missing() -> None:
    """Some servers count one side only."""
    tally = tally_of(answered(input_tokens=None))
    assert tally.tokens["chat", "gpt", "api.test", "input"].count == 0
    assert tally.token_count == 20


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/responses", "chat"), ("/embeddings", "embeddings"), ("/completions", "text_completion"), ("/files/1", "other")],
)
def test_operation_has_the_conventions_name(path: str, operation: str) -> None:
    """Ids in paths are no labels."""
    assert list(tally_of(answered(path=path)).operations) == [(operation, "gpt", "api.test", "")]


def test_stream_is_counted_by_its_first_and_its_other_chunks() -> None:
    """Eleven chunks, the other ten within two seconds after the first."""
    stream = answered(streamed=True, first_seconds=1.0, seconds=3.0, chunks=11)
    tally = tally_of(stream, answered(streamed=True, first_seconds=1.0, seconds=1.0, chunks=1))
    key = ("chat", "gpt", "api.test")
    assert (tally.first_chunks[key].count, tally.first_chunks[key].total) == (2, 2.0)
    assert (tally.output_chunks[key].count, tally.output_chunks[key].total) == (10, pytest.approx(2.0))
    assert tally.overhead.count == 0


def test_retried_call_says_nothing_about_our_own_time() -> None:
    """There were pauses between its attempts."""
    two = answered().trail * 2
    assert tally_of(answered(trail=two, attempts=2)).overhead.count == 0


def test_call_that_was_refused_is_counted_by_the_refusals_name() -> None:
    """In the queue, or before it."""
    refused = answered(kind=Kind.REFUSED, status=None, first_seconds=None, trail=(), refusal="QueueFull")
    tally = tally_of(refused, Rejected("CircuitOpen"))
    assert tally.rejections == {"QueueFull": 1, "CircuitOpen": 1}
    assert list(tally.operations) == [("chat", "gpt", "", "phase1.QueueFull")]
    assert tally.queue_wait.count == 0
    assert tally.failed == 1


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        (Kind.CALLER_ERROR, 400, "openai.BadRequestError"),
        (Kind.NODE_REFUSED, 401, "openai.AuthenticationError"),
        (Kind.RATE_LIMIT, 429, "openai.RateLimitError"),
        (Kind.SERVER_ERROR, 503, "openai.InternalServerError"),
        (Kind.TIMEOUT, None, "openai.APITimeoutError"),
        (Kind.CONNECT, None, "openai.APIConnectionError"),
        (Kind.CALLER_ERROR, 418, "_OTHER"),
        (Kind.SERVER_ERROR, None, "_OTHER"),
    ],
)
def test_error_type_is_the_callers_exception(kind: Kind, status: int | None, expected: str) -> None:
    """By its qualified name."""
    assert error_type(kind, status) == expected


def test_callers_own_mistakes_are_no_failures() -> None:
    """Nor is one that went away."""
    kinds = [Kind.CALLER_ERROR, Kind.CANCELLED, Kind.CONTENT_FILTER, Kind.SERVER_ERROR]
    tally = tally_of(*(answered(kind=kind) for kind in kinds), LegacyFinished(1.0, "x.Y"), LegacyFinished(1.0, None))
    assert (tally.finished, tally.failed) == (6, 2)


def test_twenty_models_have_names_and_the_rest_are_other() -> None:
    """A label with a thousand values would be the end of a Prometheus."""
    tally = tally_of(
        *(answered(model=f"m{number}") for number in range(30)), answered(model="m0"), answered(model=None)
    )
    models = {model for _, model, _, _ in tally.operations}
    assert models == {*(f"m{number}" for number in range(20)), OTHER}
    assert sum(histogram.count for histogram in tally.operations.values()) == 32


def test_shortcuts_are_bounded_and_nothing_is_lost_when_they_are_forgotten() -> None:
    """Whoever invents paths makes no memory grow."""
    tally = tally_of(*(answered(path=f"/files/{number}") for number in range(1500)))
    assert len(tally._series) <= 1001
    assert tally.operations["other", "gpt", "api.test", ""].count == 1500


def test_fifty_sites_have_names_and_the_rest_are_other() -> None:
    """Blocking calls and stalls share them; stalls have seconds."""
    tally = tally_of(*(BlockingCall(f"a.py:{number}") for number in range(60)), LoopStalled("a.py:1", 0.5))
    assert len(tally.blocking_sites) == 51
    assert tally.blocking_sites[OTHER] == 10
    assert tally.stalled_seconds["a.py:1"] == 0.5


def test_call_that_blocks_is_counted_once_though_it_is_noticed_twice() -> None:
    """By the door that could not help it, and by the loop that stood still; other lines are counted by the loop."""
    tally = tally_of(BlockingCall("a.py:1"), LoopStalled("a.py:1", 0.5), LoopStalled("b.py:2", 0.5))
    assert tally.blocking_sites == {"a.py:1": 1, "b.py:2": 1}
    assert tally.stalled_seconds == {"a.py:1": 0.5, "b.py:2": 0.5}


def test_failed_attempts_are_remembered_without_content() -> None:
    """The last of each node, and the last fifty of all."""
    failed = AttemptFinished("a", retry=False, kind=Kind.SERVER_ERROR, status=500, seconds=0.1, request_id="req_1")
    fine = AttemptFinished("a", retry=True, kind=Kind.OK, status=200, seconds=0.2)
    tally = tally_of(*[failed] * 60, fine)
    assert len(tally.failures) == 50
    last = tally.last_failures["a"]
    assert (last.node, last.kind, last.status, last.request_id) == ("a", Kind.SERVER_ERROR, 500, "req_1")
    assert list(tally.node_seconds["a"])[-1] == 0.2
    assert tally.attempt_seconds["a", Kind.SERVER_ERROR].count == 60


def test_stages_are_counted_if_they_are_known() -> None:
    """An unknown one is nobody's."""
    tally = tally_of(StageFinished("db_fetch", 0.5), StageFinished("lunch", 3600.0))
    assert (tally.stages["db_fetch"].total, tally.stages["db_fetch"].count) == (0.5, 1)
    assert set(tally.stages) == {"db_fetch", "llm_response", "db_save", "total"}


def test_lag_is_kept_and_counted() -> None:
    """The last one is what the recorder writes beside a call."""
    tally = Tally()
    tally.loop_was_late(0.02)
    assert (tally.lag, tally.loop_lag.count) == (0.02, 1)
