"""What is a model called at this node, and does the node have it?"""

from __future__ import annotations

import pytest

from phase1.policy.models import ModelMap

MAP = ModelMap({"gpt-4o": "my-deployment", "gemini/*": "*", "gemini/pro*": "big-*", "claude/*": "sonnet", "*": "any-*"})


@pytest.mark.parametrize(
    ("model", "there"),
    [
        ("gpt-4o", "my-deployment"),
        ("gemini/flash", "flash"),
        ("gemini/pro-2", "big--2"),
        ("gemini/", ""),
        ("claude/opus", "sonnet"),
        ("gpt-4o-mini", "any-gpt-4o-mini"),
    ],
)
def test_names_and_prefixes(model: str, there: str) -> None:
    """The exact name wins, then the longest prefix."""
    assert MAP.translated(model) == there
    assert MAP.declares(model)


def test_node_that_declares_nothing() -> None:
    """It has every model, under its own name."""
    empty = ModelMap({})
    assert not empty
    assert empty.translated("gpt-4o") is None
    assert not empty.declares("gpt-4o")


def test_map_without_the_model() -> None:
    """It is somebody else's."""
    assert bool(ModelMap({"a": "b"}))
    assert bool(ModelMap({"a*": "b"}))
    assert not ModelMap({"a": "b", "c/*": "*"}).declares("d")
