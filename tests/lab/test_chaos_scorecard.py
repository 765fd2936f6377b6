"""Is an app judged by what was seen, and does everybody read the same in the table, the document and the page?"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from phase1.exceptions import ConfigurationError
from phase1.lab.chaos.cases import CASES, chosen
from phase1.lab.chaos.faults import FAULTS
from phase1.lab.chaos.page import scorecard_page
from phase1.lab.chaos.play import Played, Result
from phase1.lab.chaos.scene import Plan
from phase1.lab.chaos.scorecard import Skipped, scorecard, scorecard_table, scorecard_text
from phase1.lab.chaos.verdict import Allowance, Observation, problems_of
from phase1.lab.target import Ask, TargetApp
from tests.observe.live.browser import chromium

ROOT = Path(__file__).parent.parent.parent
TARGET = TargetApp(app="main:app", ask=Ask(headers=(("authorization", "Bearer geheim"),)))


def seen(**changes: object) -> Observation:
    """A good one."""
    return Observation(**{"deadline": 10.0, "requests": 100, "answered": 100, "recovery": 0.5, **changes})  # type: ignore[arg-type]


def result(**changes: object) -> Result:
    """A good one, judged."""
    return Result(seen=seen(**changes), problems=problems_of(seen(**changes), Allowance()))


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"requests": 0}, "idle", "nobody has asked anything"),
        ({"late": 2}, "late", "2 of 100 without an answer after 10 s"),
        ({"half": 1}, "half", "1 half answers that look like whole ones"),
        ({"lost": 3}, "lost", "3 connections broken off"),
        ({"liveness": 3.5}, "blocked", "other routes waited 3.5 s"),
        ({"recovery": None}, "down", "not everybody is served 15 s after the fault"),
        ({"held": 4}, "stuck", "4 requests stuck in the app"),
        ({"upstream": 1}, "stuck", "1 requests stuck at an endpoint"),
        ({"sockets": 9}, "sockets", "9 sockets left open"),
        ({"memory": 80.0}, "memory", "80 MB more memory"),
    ],
)
def test_each_thing_that_must_not_be_is_a_problem(changes: dict[str, object], kind: str, text: str) -> None:
    """By a word, and in a few more."""
    (problem,) = problems_of(seen(**changes), Allowance())
    assert (problem.kind, problem.text) == (kind, text)


def test_honest_errors_and_what_the_fault_excuses_are_no_problem() -> None:
    """A 503 within the deadline passes; so does a connection that ended with its process, and a loop that was held."""
    assert problems_of(seen(answered=20, errors={"503": 80}), Allowance()) == ()
    assert problems_of(seen(lost=3, liveness=5.5), Allowance(losses=3, standstill=3.0)) == ()
    assert [one.kind for one in problems_of(seen(lost=4, liveness=6.5), Allowance(losses=3, standstill=3.0))] == [
        "lost",
        "blocked",
    ]


def test_provider_suite_has_every_fault() -> None:
    """Alone, and those that there are in two places."""
    names = [case.name for case in CASES["provider"]]
    assert set(FAULTS) <= set(names)
    assert {"one dead of four", "shared quota used up"} <= set(names)
    assert all(case.about and case.suite == suite for suite, cases in CASES.items() for case in cases)
    every = [case.name for case in chosen("all")]
    assert len(every) == len(set(every)) == sum(map(len, CASES.values()))


def test_cases_are_chosen_by_name() -> None:
    """And what there is not is refused, with what there is."""
    assert [case.name for case in chosen("client", ["rush"])] == ["rush"]
    with pytest.raises(ConfigurationError, match="--case tide: --suite client has walk away, reset"):
        chosen("client", ["tide"])
    with pytest.raises(ConfigurationError, match="--suite weather: must be one of provider, client, worker"):
        chosen("weather")


def test_clocks_of_the_pool_are_its_defaults_scaled() -> None:
    """What is right for a minute of a load balancer is right for ten seconds of one."""
    assert Plan(deadline=60.0).settings["LLM_REQUEST_DEADLINE"] == "55"
    assert Plan(deadline=6.0).settings["LLM_FIRST_TOKEN_TIMEOUT"] == "3"


def card() -> dict[str, object]:
    """The document of two cases, one of which only the pool has stood, and one that was not played."""
    bad = {"answered": 60, "late": 20, "errors": {"502": 20}, "slowest": 11.0, "liveness": 11.0, "recovery": None}
    first, second = chosen("all", ["500", "rush"])
    played = [
        Played(case=first, legacy=result(**bad), pooled=result(slowest=0.4)),
        Played(case=second, legacy=result(), pooled=result()),
    ]
    skipped = [Skipped(name="frozen state store", suite="worker", why="redis-server is not installed")]
    return json.loads(json.dumps(scorecard(TARGET, "all", Plan(), played, skipped)))  # type: ignore[no-any-return]


def test_scorecard_is_decided_by_the_pool() -> None:
    """Legacy may fail as often as it likes."""
    found = card()
    assert (found["schema"], found["passed"]) == ("phase1.scorecard/v1", True)
    assert (found["legacy_failed"], found["pooled_failed"]) == (1, 0)
    case = chosen("all", ["500"])[0]
    lost = scorecard(TARGET, "all", Plan(), [Played(case=case, legacy=result(), pooled=result(lost=1))])
    assert lost["passed"] is False
    assert "failed with the pool on: 500: 1 connections broken off" in scorecard_text(lost)
    assert scorecard(TARGET, "all", Plan(), [])["passed"] is False


def test_table_has_both_sides() -> None:
    """Verdict, answers and times of each."""
    lines = scorecard_table(card()).splitlines()
    assert lines[0].startswith("| case | pool off | answered | slowest | others | again | pool on |")
    assert lines[2] == (
        "| 500 | failed: late, blocked, down | 60/100 | 11.0 s | 11.0 s | never"
        " | passed | 100/100 | 0.4 s | 0.0 s | 0.5 s |"
    )
    text = scorecard_text(card())
    assert "2 cases: 1 passed with the pool off, 2 with the pool on" in text
    assert "not played: frozen state store: redis-server is not installed" in text


def test_no_form_shows_a_secret() -> None:
    """The header's name, and not its value."""
    found = card()
    for text in (json.dumps(found), scorecard_text(found), scorecard_page(found)):
        assert "geheim" not in text


@pytest.mark.timeout(120)
def test_page_in_a_browser(tmp_path: Path) -> None:
    """Everything is there; nothing is fetched, nothing complains, nothing is wider than a desk."""
    file = tmp_path / "scorecard.html"
    file.write_text(scorecard_page(card()), encoding="utf-8")
    with chromium(tmp_path) as browser:
        browser.open(file.as_uri())
        shown = browser.text("body")
        fetched = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
        fits = browser.run("return document.documentElement.scrollWidth <= innerWidth")
        browser.keep("scorecard")
        complaints = browser.complaints()
    assert "20 of 100 without an answer after 10 s" in shown
    assert "1 of 2 passed with the pool off" in shown
    assert "redis-server is not installed" in shown
    assert (fetched, complaints, fits) == ([], [], True)


def script() -> ModuleType:
    """`scripts/readme_scorecard.py`."""
    spec = importlib.util.spec_from_file_location("readme_scorecard", ROOT / "scripts" / "readme_scorecard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scorecard_gets_into_the_readme() -> None:
    """Between the markers, and nothing else changes."""
    written = script().with_table("before\n<!-- scorecard:begin -->\nold\n<!-- scorecard:end -->\nafter\n", card())
    assert written.startswith("before\n<!-- scorecard:begin -->\nmain:app, POST /chat: 20 users")
    assert written.endswith("<!-- scorecard:end -->\nafter\n")
    assert "old" not in written


def test_readme_has_a_scorecard_of_every_case() -> None:
    """It comes from a run of all suites, which the pool has stood."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- scorecard:begin -->")[2].partition("<!-- scorecard:end -->")[0]
    missing = [case.name for case in chosen("all") if f"| {case.name} |" not in shown]
    assert [name for name in missing if f"not played: {name}:" not in shown] == []
    assert "failed with the pool on" not in shown
