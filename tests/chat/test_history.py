"""How much history goes into a prompt, whatever is asked for?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.chat import HistoryLimitError, HistoryLimits
from phase1.settings import Settings


@pytest.mark.parametrize(("asked", "limit"), [(None, 20), (0, 0), (1, 1), (50, 50), (51, 50), (10**9, 50)])
def test_limit(asked: int | None, limit: int) -> None:
    """The default, none, what is asked for, and never more than the maximum."""
    assert HistoryLimits().limit(asked) == limit


@pytest.mark.parametrize("asked", [-1, -(10**9), 1.5, "3", True])
def test_senseless_limit_is_refused(asked: object) -> None:
    """The error names the value and what is allowed."""
    with pytest.raises(
        HistoryLimitError, match=r"^history_limit=.+: must be a whole number, 0 \(no history\) or more$"
    ):
        HistoryLimits().limit(asked)


@pytest.mark.parametrize(("default", "maximum"), [(0, 50), (51, 50), (-1, 5)])
def test_contradictory_limits_are_refused(default: int, maximum: int) -> None:
    """Where they are written, not at the first request."""
    with pytest.raises(HistoryLimitError, match="must be 1 <= default <= maximum"):
        HistoryLimits(default, maximum)


def test_limits_come_from_the_settings(env: Callable[..., None]) -> None:
    """CHAT_HISTORY_LIMIT_DEFAULT and CHAT_HISTORY_LIMIT_MAX."""
    env(CHAT_HISTORY_LIMIT_DEFAULT="3", CHAT_HISTORY_LIMIT_MAX="4")
    assert HistoryLimits.of(Settings.load()) == HistoryLimits(3, 4)


@given(kept=st.lists(st.integers(), max_size=100), maximum=st.integers(1, 60))
def test_latest_are_the_last_ones(kept: list[int], maximum: int) -> None:
    """Of a history that the caller keeps the end counts, in its order."""
    latest = HistoryLimits(1, maximum).latest(kept)
    assert latest == kept[len(kept) - len(latest) :]
    assert len(latest) == min(len(kept), maximum)
