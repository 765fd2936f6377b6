"""Does a tester's line count exactly as long, and for exactly what, it was signed for?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.override import LONGEST_SECONDS, OverrideFault, read_override, sign_override
from phase1.policy.selection import Route

SECRET = b"a secret of sixteen or more"
LINE = sign_override(Route.POOL, secret=SECRET, now=1000.0, seconds=60)


@pytest.mark.parametrize("route", list(Route))
def test_line_counts_until_it_ends(route: Route) -> None:
    """Not a second longer."""
    line = sign_override(route, secret=SECRET, now=1000.0, seconds=60)
    assert read_override(line, secret=SECRET, now=1000.0) is route
    assert read_override(line, secret=SECRET, now=1059.9) is route
    assert read_override(line, secret=SECRET, now=1060.0) is OverrideFault.EXPIRED


def test_other_secret_is_forged() -> None:
    """Whoever changes the secret ends every line."""
    assert read_override(LINE, secret=SECRET + b"!", now=1000.0) is OverrideFault.FORGED


def test_forged_line_does_not_learn_that_it_is_expired() -> None:
    """The signature comes first."""
    assert read_override(LINE, secret=SECRET + b"!", now=9e9) is OverrideFault.FORGED


@given(at=st.integers(0, len(LINE) - 1), letter=st.characters())
def test_one_changed_character_never_counts(at: int, letter: str) -> None:
    """Neither in the route, nor in the end, nor in the signature."""
    changed = LINE[:at] + letter + LINE[at + 1 :]
    if changed != LINE:
        assert isinstance(read_override(changed, secret=SECRET, now=1000.0), OverrideFault)


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    """It comes from the network."""
    assert read_override(text, secret=SECRET, now=0.0) is OverrideFault.MALFORMED


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_SECONDS + 1, float("inf"), float("nan")])
def test_line_of_no_or_endless_time_is_not_made(seconds: float) -> None:
    """It would be worth nothing, or a standing key."""
    with pytest.raises(ValueError, match="must be more than 0 and at most"):
        sign_override(Route.POOL, secret=SECRET, now=0.0, seconds=seconds)
