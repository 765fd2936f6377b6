"""Does the target table say what was measured?"""

from __future__ import annotations

import pytest

from benchmarks.targets import TARGETS, Verdict, judge_all
from tests.benchmarks.documents import results, sample


def _verdicts(**samples: dict[str, list[dict[str, object]]]) -> dict[str, Verdict]:
    found = results({name.replace("_", "-"): each for name, each in samples.items()})
    return {judged.target.what: judged.verdict for judged in judge_all(found)}


def test_nothing_measured_meets_nothing() -> None:
    """An empty run is no success."""
    assert set(_verdicts().values()) == {Verdict.UNKNOWN, Verdict.ELSEWHERE}


@pytest.mark.parametrize(("ours", "verdict"), [(100.0, Verdict.MET), (100.1, Verdict.UNMET)])
def test_ratio_is_judged_by_its_median(ours: float, verdict: Verdict) -> None:
    """At the limit is met; one bad round does not matter."""
    rounds = [sample(1000.0)] * 3
    verdicts = _verdicts(unary_100={"openai3": rounds, "phase1-full": [sample(ours), sample(ours), sample(900.0)]})
    assert verdicts["CPU per pooled chat call against stock, 100 in flight"] == verdict
    assert verdicts["CPU per pooled chat call against stock, 20 in flight"] == Verdict.UNKNOWN


def test_growth_compares_the_queue_with_a_hundred_in_flight() -> None:
    """Both of ours."""
    verdicts = _verdicts(
        unary_100={"phase1-full": [sample(50.0)] * 5}, queued_10000={"phase1-full": [sample(101.0)] * 3}
    )
    assert verdicts["10,000 queued, 1,000 in flight: CPU per call against 100 in flight"] == Verdict.UNMET


def test_waiting_is_told_in_upstream_latencies() -> None:
    """0.23 s of 0.2 s."""
    verdicts = _verdicts(slow_1000={"phase1-full": [sample(50.0, p50=0.23)]})
    assert verdicts["1,000 in flight on a 200 ms upstream: p50 / upstream latency"] == Verdict.MET


def test_targets_are_told_apart_by_their_text() -> None:
    """The report and these tests find them by it."""
    assert len({target.what for target in TARGETS}) == len(TARGETS)
