"""How long will somebody who joins the queue have to wait?"""

from __future__ import annotations

import pytest

from phase1.policy.waiting import WaitEstimate


def test_too_little_is_known_at_first() -> None:
    """Nobody is sent away on a guess."""
    waits = WaitEstimate()
    for number in range(10):
        assert waits.seconds(5) is None
        waits.freed(float(number))
    waits.freed(10.0)
    assert waits.seconds(5) == pytest.approx(5.0)


def test_pace_follows() -> None:
    """Places that become free more seldom make the wait longer."""
    waits = WaitEstimate()
    for number in range(20):
        waits.freed(number * 0.1)
    assert waits.seconds(10) == pytest.approx(1.0)
    for number in range(60):
        waits.freed(2.0 + number)
    assert waits.seconds(10) == pytest.approx(10.0, rel=0.05)


def test_time_in_which_nobody_waited_says_nothing() -> None:
    """An hour without a queue is no slow hour."""
    waits = WaitEstimate()
    for number in range(20):
        waits.freed(number * 0.1)
    waits.idle()
    waits.freed(3600.0)
    waits.freed(3600.1)
    assert waits.seconds(1) == pytest.approx(0.1)
