"""Do table, verdict and page say what the document says, and does the page load nothing?"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.lab.compare import Comparison, Leg, Plan
from phase1.lab.document import broken_promises, document
from phase1.lab.figures import markdown, rows_of, verdict
from phase1.lab.load import Run, Sample
from phase1.lab.measure import Measured
from phase1.lab.report import page
from phase1.lab.report.plots import ticks
from phase1.lab.target import Ask, TargetApp
from phase1.lab.usage import Lag, Usage
from tests.observe.live.browser import Browser, chromium


def _measured(seconds: float, *, timed_out: bool = False) -> Measured:
    samples = tuple(
        Sample(number / 10, seconds, None if timed_out else 200, timed_out=timed_out, round=number // 10)
        for number in range(20)
    )
    return Measured(
        run=Run(samples, seconds=10 * seconds),
        usage=Usage(cpu_seconds=1.0, cores=0.5, memory=100_000_000),
        lag=Lag(p50=0.0, p99=0.25, longest=1.0, blocked=0.75),
        generator=0.1,
        looks=((0.25, 0.5, 100_000_000), (0.5, 0.25, 90_000_000)),
        lates=((0.1, 0.0), (0.2, 1.0)),
    )


def _compared(legacy: Measured, pooled: Measured) -> dict[str, Any]:
    plan = Plan(users=10, duration=2.0, rounds=1, latency=0.5, rate=20.0, burst=20)
    legs = [
        Leg(load=load, pooled=on, measured=measured)
        for load in plan.loads
        for on, measured in ((False, legacy), (True, pooled))
    ]
    ask = Ask(headers=(("Authorization", "Bearer very-secret"),), body='{"prompt": "very private"}')
    target = TargetApp(app="main:app", ask=ask)
    return document(Comparison(target=target, plan=plan, integrated=True, mock=True, legs=tuple(legs)))


def test_better_is_kept() -> None:
    """Everybody answered, nothing slower."""
    found = _compared(_measured(2.0), _measured(0.5))
    assert (found["kept"], found["broken"]) == (True, [])
    assert verdict(found)[0].startswith("kept: ")


def test_worse_is_said_for_each_load() -> None:
    """Slower by more than a tenth, and fewer answers in a second: exit code 1 and sentences with figures."""
    found = _compared(_measured(0.5), _measured(2.0))
    assert not found["kept"]
    assert "10 users for 2 s: with the pool the 95th percentile is 2.00 s, without it 0.50 s" in found["broken"]
    assert (
        "20 requests at once: with the pool 1.00 requests per second are answered, without it 4.00" in found["broken"]
    )


def test_unanswered_users_break_the_promise_even_if_legacy_answers_fewer() -> None:
    """Better than nothing is not enough."""
    found = _compared(_measured(5.0, timed_out=True), _measured(0.5))
    found["loads"]["users"]["pooled"]["all"] |= {"answered": 18, "success": 0.9}
    assert broken_promises(found) == ["10 users for 2 s: 2 of 20 requests to the pooled app got no answer in time"]


def test_same_within_a_tenth_is_the_same() -> None:
    """Two runs of one thing differ."""
    assert _compared(_measured(1.0), _measured(1.05))["kept"]


def test_nothing_private_is_in_it() -> None:
    """Neither the value of a header that is somebody's secret nor what was asked."""
    found = _compared(_measured(2.0), _measured(0.5))
    for text in (json.dumps(found), page(found), markdown(found)):
        assert "secret" not in text
        assert "private" not in text


def test_rows_are_the_document_s_figures() -> None:
    """Each with its unit, and by how much it is better."""
    found = _compared(_measured(2.0), _measured(0.5))
    rows = {row[0]: row[1:] for row in rows_of(found["loads"]["users"], "users")}
    assert rows["mean"] == ("2.00 s", "0.50 s", "4.0 ×")
    assert rows["requests/s"] == ("1.00", "4.00", "4.0 ×")
    assert rows["first request of each: timeouts"] == ("0 of 10", "0 of 10", "")
    assert rows["event loop stands still"] == ("75% of the time", "75% of the time", "")
    burst = {row[0]: row[1:] for row in rows_of(found["loads"]["burst"], "burst")}
    assert burst["until the last answer"] == ("20.00 s", "5.00 s", "4.0 ×")


def test_legacy_that_answers_nobody_is_no_division_by_zero() -> None:
    """It happens: then there is no factor."""
    found = _compared(_measured(5.0, timed_out=True), _measured(0.5))
    rows = {row[0]: row[1:] for row in rows_of(found["loads"]["users"], "users")}
    assert rows["requests/s"] == ("0.00", "4.00", "")
    assert page(found)


@given(st.floats(1e-6, 1e6))
def test_ticks_are_few_and_reach_the_top(top: float) -> None:
    """Between two and seven, from 0 to the highest value or beyond it by less than a step."""
    found = ticks(top)
    assert 2 <= len(found) <= 7
    assert found[0] == 0
    assert found[-1] >= top * (1 - 1e-6)
    assert found[-2] < top


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


def _loaded(browser: Browser) -> list[str]:
    return [str(url) for url in browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")]


@pytest.mark.parametrize("width", [1300, 400])
def test_page_in_a_browser(width: int, browser: Browser, tmp_path: Path) -> None:
    """All plots are drawn, nothing is loaded, the console is silent, nothing sticks out at the side."""
    found = _compared(_measured(2.0), _measured(0.5))
    file = tmp_path / "report.html"
    file.write_text(page(found), encoding="utf-8")
    browser.complaints()
    browser.size(width)
    browser.open(file.as_uri())
    assert browser.text("h1") == "main:app, pool off and on"
    assert browser.run("return document.querySelectorAll('svg').length") == 15
    assert browser.run("return document.querySelectorAll('polyline').length") == 2 * 4 * 3
    assert browser.run("return document.querySelectorAll('circle').length") == 2 * 20 * 3
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert _loaded(browser) == []
    assert browser.complaints() == []


def test_page_needs_nothing_from_outside() -> None:
    """No script, no address but the SVG's own; and a policy that would forbid it."""
    text = page(_compared(_measured(2.0), _measured(0.5)))
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text


def test_names_of_others_are_text() -> None:
    """What an app is called cannot become markup."""
    found = copy.deepcopy(_compared(_measured(2.0), _measured(0.5)))
    found["target"] = "<script>alert(1)</script>"
    assert "<script>" not in page(found)


def test_readme_s_tables_are_those_of_the_last_run() -> None:
    """`scripts/readme_compare.py` has written them from the results that lie beside."""
    root = Path(__file__).resolve().parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- compare:begin -->")[2].partition("<!-- compare:end -->")[0]
    result = json.loads((root / "benchmarks" / "results" / "compare.json").read_text(encoding="utf-8"))
    assert shown.strip() == markdown(result)
    assert broken_promises(result) == result["broken"]
