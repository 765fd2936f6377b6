"""How long does a quota domain rest after a 429?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.cooldown import Cooldown


class Rests:
    """A cooldown on a clock that only moves when told to. `luck` is the jitter: 1.0 is the whole 10 %."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.luck = 0.0
        self.cooldown = Cooldown()

    def hit(self, retry_after: float | None) -> float:
        """A 429, and how long the domain rests now."""
        self.cooldown.throttled(self.now, retry_after=retry_after, jitter=self.luck)
        return self.rest

    @property
    def rest(self) -> float:
        """Seconds that are left."""
        return self.cooldown.rests(self.now)


@pytest.fixture
def rests() -> Rests:
    """Nobody rests."""
    return Rests()


def test_domain_that_was_never_throttled_does_not_rest(rests: Rests) -> None:
    """It may be asked at once."""
    assert rests.rest == 0.0


def test_rest_is_what_the_upstream_asks_for(rests: Rests) -> None:
    """It passes with the clock and ends at 0."""
    assert rests.hit(10.0) == 10.0
    rests.now += 4.0
    assert rests.rest == 6.0
    rests.now += 100.0
    assert rests.rest == 0.0


@pytest.mark.parametrize(("asked", "rest"), [(0.0, 0.5), (0.1, 0.5), (0.5, 0.5), (300.0, 300.0), (86_400.0, 300.0)])
def test_what_is_asked_for_is_believed_within_bounds(rests: Rests, asked: float, rest: float) -> None:
    """Half a second to five minutes."""
    assert rests.hit(asked) == rest


def test_jitter_adds_at_most_a_tenth(rests: Rests) -> None:
    """So that workers do not come back in step."""
    rests.luck = 1.0
    assert rests.hit(10.0) == pytest.approx(11.0)


def test_rest_is_only_ever_extended(rests: Rests) -> None:
    """A shorter one that comes later changes nothing; a longer one counts."""
    rests.hit(20.0)
    assert rests.hit(1.0) == 20.0
    assert rests.hit(30.0) == 30.0


def test_twenty_429s_together_are_one_rest(rests: Rests) -> None:
    """Without a Retry-After the burst counts once: 5 s, and the next rest is 10 s."""
    assert [rests.hit(None) for _ in range(20)] == [5.0] * 20
    rests.now += 5.0
    assert rests.hit(None) == 10.0


def test_429_in_the_last_moment_of_a_rest_belongs_to_its_burst(rests: Rests) -> None:
    """It was sent before the rest began: it neither lengthens this rest nor the next one."""
    rests.hit(None)
    rests.now += 4.9
    assert rests.hit(None) == pytest.approx(0.1)
    rests.now += 0.1
    assert rests.hit(None) == 10.0


def test_unknown_rest_doubles_up_to_the_longest(rests: Rests) -> None:
    """5, 10, 20 … 300 s, however often."""
    lengths = []
    for _ in range(30):
        lengths.append(rests.hit(None))
        rests.now += lengths[-1]
    assert lengths[:8] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert set(lengths[8:]) == {300.0}


def test_answer_makes_the_next_unknown_rest_short_again(rests: Rests) -> None:
    """But it does not end a rest that goes on."""
    rests.now += rests.hit(None)
    rests.hit(None)
    rests.cooldown.succeeded()
    assert rests.rest == 10.0
    rests.now += 10.0
    assert rests.hit(None) == 5.0


def test_rest_that_is_known_does_not_lengthen_the_unknown_ones(rests: Rests) -> None:
    """A server that says when has not been guessed wrongly."""
    rests.now += rests.hit(7.0)
    assert rests.hit(None) == 5.0


def test_cleared_rest_is_over(rests: Rests) -> None:
    """And the next one of unknown length is the first again."""
    rests.hit(None)
    rests.cooldown.clear()
    assert rests.rest == 0.0
    assert rests.hit(None) == 5.0


@given(st.lists(st.tuples(st.none() | st.floats(0, 1e6), st.floats(0, 100), st.booleans()), max_size=30))
def test_rest_never_shrinks_and_never_exceeds_its_bound(hits: list[tuple[float | None, float, bool]]) -> None:
    """Whatever the upstream says: the deadline only moves forward, and at most 330 s ahead."""
    rests, until = Rests(), 0.0
    rests.luck = 0.999
    for retry_after, pause, answered in hits:
        if answered:
            rests.cooldown.succeeded()
        rest = rests.hit(retry_after)
        assert 0.0 < rest <= 330.0
        assert rests.now + rest >= until - 1e-6
        until = rests.now + rest
        rests.now += pause
