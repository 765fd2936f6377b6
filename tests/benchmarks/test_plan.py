"""Do the plans fit together?"""

from __future__ import annotations

import pytest

from benchmarks.plan import FULL, QUICK, UPSTREAMS, Plan, scenario
from benchmarks.rows import ROWS, row


@pytest.mark.parametrize("plan", [FULL, QUICK], ids=lambda plan: plan.name)
def test_plan_names_what_exists(plan: Plan) -> None:
    """Rows and upstreams."""
    known = {each.name for each in ROWS}
    assert all(set(each.rows) <= known and each.load.site in UPSTREAMS for each in plan.scenarios)


def test_full_plan_measures_every_row() -> None:
    """None is there for nothing."""
    assert FULL.rows == tuple(each.name for each in ROWS)


def test_quick_plan_is_part_of_the_full_one() -> None:
    """The same scenarios, fewer of them."""
    full = {each.name: each for each in FULL.scenarios}
    assert all(set(each.rows) <= set(full[each.name].rows) for each in QUICK.scenarios)


def test_plan_can_be_reduced() -> None:
    """To some clients, some scenarios, other rounds."""
    reduced = FULL.reduced(rounds=2, rows=("openai3",), scenarios=("unary-20",))
    assert (reduced.rounds, reduced.rows, [each.name for each in reduced.scenarios]) == (2, ("openai3",), ["unary-20"])
    assert reduced.asgi_rounds == 0


def test_reduced_to_nothing_is_the_whole_plan() -> None:
    """Empty means all."""
    assert FULL.reduced(rounds=None, rows=(), scenarios=()) == FULL


def test_unknown_names_are_refused() -> None:
    """With those that are known."""
    with pytest.raises(ValueError, match="phase1-full"):
        row("nobody")
    with pytest.raises(ValueError, match="unary-20"):
        scenario("nothing")
