"""Does a stream still flow?"""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phase1.policy.floor import Floor, tokens_of


def lives(floor: Floor, pause: float, *, tokens: int = 1, times: int = 1000) -> int:
    """How often a token comes after such a pause until the account is empty."""
    for number in range(times):
        if pause > floor.left:
            return number
        floor.waited(pause)
        floor.came(tokens)
    return times


def test_stream_at_the_floor_lives_and_one_below_is_broken_off() -> None:
    """One token a second is what was asked for; one in two seconds loses a second each time."""
    assert lives(Floor(1.0, grace=20.0), 1.0) == 1000
    assert lives(Floor(1.0, grace=20.0), 2.0) == 19
    assert lives(Floor(0.1, grace=20.0), 15.0) == 2


def test_fast_start_is_no_credit() -> None:
    """Ten thousand tokens at once pay for no more than the grace."""
    floor = Floor(1.0, grace=20.0)
    floor.came(10_000)
    assert floor.left == 20.0


def test_full_account_never_allows_less_than_the_grace() -> None:
    """A pause after quick tokens may last as long as the idle clock allows: this one ends nothing sooner."""
    floor = Floor(100.0, grace=20.0)
    floor.waited(19.99)
    assert floor.left > 0


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([], 0),
        ([b": keep-alive\n\n"], 0),
        ([b"data: {}\n\n"], 1),
        ([b"data: {}\n\n", b":\n\n", b"data: {}\n\n"], 2),
        ([b"x" * 1024], 5),
    ],
)
def test_events_count_as_tokens(events: list[bytes], tokens: int) -> None:
    """One each, large ones for more, comments for none."""
    assert tokens_of(events) == tokens


@given(
    rate=st.floats(0.01, 100),
    grace=st.floats(0.1, 60),
    pauses=st.lists(st.floats(0, 60), max_size=50),
)
def test_who_keeps_to_the_floor_is_never_broken_off(rate: float, grace: float, pauses: list[float]) -> None:
    """Whatever the rhythm, as long as no token comes later than the floor and the grace allow together."""
    floor = Floor(rate, grace=grace)
    for pause in pauses:
        kept = min(pause, 1.0 / rate, grace)
        assert kept <= floor.left + 1e-6
        floor.waited(kept)
        floor.came(1)


@given(rate=st.floats(0.01, 100), grace=st.floats(0.1, 60), slow=st.floats(1.05, 100))
def test_who_stays_below_is_broken_off_in_bounded_time(rate: float, grace: float, slow: float) -> None:
    """Waiting is bounded by the grace and the share by which it is too slow."""
    pause = slow / rate
    assume(pause <= grace)
    tokens = lives(Floor(rate, grace=grace), pause, times=100_000)
    assert tokens * pause <= grace * slow / (slow - 1) + pause
