"""Are a demo's numbers judged and shown as they are?"""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from phase1.lab.load import Summary
from phase1.lab.outage import Moment, Outage
from phase1.lab.render import show_result
from phase1.lab.result import DemoResult, broken_promises, document

_SUMMARY = Summary(
    requests=40,
    answered=40,
    timeouts=0,
    errors=0,
    success=1.0,
    mean=1.0,
    p50=1.0,
    p95=1.0,
    p99=1.0,
    longest=1.0,
    per_second=15.0,
    seconds=2.6,
    outcomes={"200": 40},
)
_OUTAGE = Outage(
    timeline=(
        Moment(seconds=2.0, event="all is well", breaker="active", by_pool=20, fell_back=0, by_legacy=0, failed=0),
    ),
    users=_SUMMARY,
    states={"disabled": 1},
    stuck=None,
)
_GOOD = DemoResult(
    machine={"cores": 2, "system": "Linux", "python": "3.11", "openai": "3", "fastapi": "1", "uvicorn": "1"},
    upstream_url="http://127.0.0.1:9/v1",
    mock=True,
    users=20,
    rounds=2,
    timeout=15.0,
    upstream=_SUMMARY,
    legacy=replace(_SUMMARY, answered=13, timeouts=27, success=0.325, mean=13.0, per_second=0.5),
    pooled=_SUMMARY,
    outage=_OUTAGE,
    debug_url="http://127.0.0.1:8/debug/llm-system",
)


def test_good_result_breaks_no_promise() -> None:
    """No timeouts, a mean near the upstream's, many times the requests."""
    assert broken_promises(_GOOD) == ()


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            replace(_GOOD, pooled=replace(_SUMMARY, answered=37, timeouts=2, errors=1)),
            "of 40 requests to the pooled app 2 timed out and 1 failed",
        ),
        (
            replace(_GOOD, pooled=replace(_SUMMARY, mean=1.6)),
            "the pooled app's mean is 1.60 times the upstream's, not at most 1.5",
        ),
        (
            replace(_GOOD, pooled=replace(_SUMMARY, per_second=4.9)),
            "the pooled app answers 9.8 times the legacy app's requests per second, not at least 10",
        ),
        (
            replace(_GOOD, outage=replace(_OUTAGE, users=replace(_SUMMARY, answered=39))),
            "1 of 40 requests around the outage got no answer",
        ),
        (
            replace(_GOOD, outage=replace(_OUTAGE, stuck="half_open")),
            "the breaker did not become half_open",
        ),
    ],
)
def test_broken_promise_is_told(result: DemoResult, sentence: str) -> None:
    """Each with its numbers."""
    assert broken_promises(result) == (sentence,)


def test_few_users_cannot_be_served_ten_times_as_fast() -> None:
    """Five users at once gain at most five times; half of what is possible is asked for."""
    slow = replace(_GOOD, pooled=replace(_SUMMARY, per_second=1.3))
    assert broken_promises(replace(slow, users=5)) == ()
    assert broken_promises(replace(slow, users=6)) != ()


def test_legacy_that_answers_nobody_has_no_factor() -> None:
    """Any number is more than none: there is nothing to divide by, and JSON knows no infinity."""
    result = replace(_GOOD, legacy=replace(_SUMMARY, answered=0, timeouts=40, success=0.0, per_second=0.0))
    assert broken_promises(result) == ()
    assert document(result)["throughput_factor"] is None
    assert "legacy answered nobody in time" in _shown(result)


def _shown(result: DemoResult) -> str:
    text = io.StringIO()
    show_result(result, Console(file=text, width=120))
    return text.getvalue()


def test_tables_show_what_was_measured() -> None:
    """Before, after, ratio; the timeline; and the verdict."""
    shown = _shown(_GOOD)
    assert re.search(r"mean +\| +13\.00 s \| +1\.00 s \| +13\.0 ×", shown)
    assert re.search(r"requests/s +\| +0\.50 \| +15\.00 \| +30\.0 ×", shown)
    assert re.search(r"timeouts +\| 27 of 40 \| 0 of 40", shown)
    assert re.search(r"2\.0 s +\| +20 \| +0 \| +0 \| +0 \| active +\| all is well", shown)
    assert "kept: no timeouts, a mean of 1.00 × the upstream's, 30 × the requests/s\n" in shown
    assert "kept: everybody was answered around the outage, all 40 requests\n" in shown


def test_tables_are_plain_where_nobody_looks() -> None:
    """In a file there are no colours."""
    assert "\x1b" not in _shown(_GOOD)


def test_tables_say_what_was_not_kept() -> None:
    """In place of the praise."""
    shown = _shown(replace(_GOOD, pooled=replace(_SUMMARY, mean=2.0)))
    assert "not kept: the pooled app's mean is 2.00 times the upstream's" in shown
    assert "\nkept:" not in shown


def test_document_is_json() -> None:
    """With the numbers, the verdict and the circumstances."""
    found = json.loads(json.dumps(document(_GOOD)))
    assert found["schema"] == "phase1.demo/v1"
    assert (found["kept"], found["broken"], found["throughput_factor"]) == (True, [], 30.0)
    assert found["outage"]["timeline"][0]["event"] == "all is well"
