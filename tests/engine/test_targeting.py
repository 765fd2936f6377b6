"""Do the operator's two lists reach the selection, and is nothing looked at without them?"""

from __future__ import annotations

from phase1.engine.manager import Manager
from phase1.engine.targeting import targets_of
from phase1.policy.selection import Reason, Route
from phase1.settings import Settings


def test_lists_become_targets() -> None:
    """One of them is enough."""
    both = targets_of(Settings.load(llm_canary_allow="ann", llm_canary_deny="bob, eve"))
    assert both is not None
    assert [both.goes_to_pool(key) for key in ("ann", "bob", "eve", "joe")] == [True, False, False, None]
    assert repr(targets_of(Settings.load(llm_canary_deny="bob"))) == "<Targets 0 allowed, 1 denied>"


def test_without_lists_there_is_nothing_to_ask() -> None:
    """One test of an attribute is all that a request pays."""
    assert targets_of(Settings.load()) is None


def test_pool_that_is_off_targets_nobody() -> None:
    """A list is no way around the toggle."""
    selection = Manager(Settings.load(llm_canary_allow="ann"), ()).select("ann", wanted=Route.POOL)
    assert (selection.route, selection.reason) == (Route.LEGACY, Reason.DISABLED)
