"""Are the numbers right?"""

from __future__ import annotations

import pytest

from phase1.engine.tally import Tally
from phase1.events import (
    AttemptFinished,
    BlockingCall,
    BreakerChanged,
    CallFinished,
    Event,
    FellBack,
    LegacyFinished,
    NodeChanged,
    Routed,
)


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
