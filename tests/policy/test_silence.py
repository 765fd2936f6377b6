"""Has a node that does not answer gone quiet, or is this one answer just long?"""

from __future__ import annotations

import pytest

from phase1.policy.silence import Longest, is_silent


@pytest.mark.parametrize(
    ("change", "silent"),
    [
        ({}, True),
        ({"waited": 29.9}, False),
        ({"answered": True}, False),
        ({"witnesses": 2}, False),
        ({"longest": 15.0}, True),
        ({"longest": 15.1}, False),
        ({"longest": 20.0, "waited": 40.0}, True),
    ],
)
def test_what_is_silence(*, change: dict[str, float], silent: bool) -> None:
    """Long enough, nobody answered there, others answered, and no answer of late took half as long."""
    facts = {"waited": 30.0, "patience": 30.0, "answered": False, "witnesses": 3, "longest": 2.0, **change}
    assert is_silent(**facts) is silent


def test_longest_answer_is_remembered_for_five_to_ten_minutes() -> None:
    """Then it is forgotten."""
    now = 0.0
    longest = Longest(clock=lambda: now)
    assert longest.seconds == 0.0
    longest.note(9.0)
    longest.note(3.0)
    now = 299.0
    assert longest.seconds == 9.0
    now = 300.0
    longest.note(4.0)
    assert longest.seconds == 9.0
    now = 600.0
    assert longest.seconds == 4.0
    now = 1300.0
    assert longest.seconds == 0.0
