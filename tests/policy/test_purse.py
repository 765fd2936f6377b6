"""Is a call paid for only while there is money, and are prices read or refused clearly?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.purse import Price, Purse, Taken, price_of, prices_of


class Days:
    """A clock that is told the day."""

    day = 100

    def __call__(self) -> float:
        return self.day * 86_400.0 + 1


def test_table_of_prices() -> None:
    """Names may hold what providers put into them."""
    table = prices_of("gpt-4o=2.5/10, meta/llama:70b=0/0 ,*=5/15")
    assert table == {"gpt-4o": Price(2.5, 10), "meta/llama:70b": Price(0, 0), "*": Price(5, 15)}
    assert price_of("gpt-4o", table) == Price(2.5, 10)
    assert price_of("other", table) == Price(5, 15)
    assert price_of("other", prices_of("a=1/1")) is None
    assert Price(2.5, 10).cost(1_000_000, 100_000) == 3.5


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("", 1),
        ("=1/2", 1),
        ("a=1/2,a=1/2", 2),
        ("a=1/2,", 2),
        ("a=1", 1),
        ("a=1/2/3", 1),
        ("a=cheap/dear", 1),
        ("a=-1/2", 1),
        ("a=1/nan", 1),
        ("a=1/2, b=inf/1", 2),
    ],
)
def test_bad_table_is_refused(text: str, entry: int) -> None:
    """With the entry, and what is allowed."""
    with pytest.raises(ValueError, match=f"entry {entry}: must be MODEL=INPUT/OUTPUT, per million tokens, each model"):
        prices_of(text)


def test_purse_is_empty_until_the_next_day() -> None:
    """UTC."""
    days = Days()
    purse = Purse(per_day=1.0, total=None, now=days)
    assert [purse.take(0.5) is not None for _ in range(3)] == [True, True, False]
    days.day += 1
    assert purse.take(1.0)
    assert not purse.take(0.01)
    assert (purse.spent, purse.spent_today) == (2.0, 1.0)


def test_total_ends_for_good() -> None:
    """No day helps."""
    days = Days()
    purse = Purse(per_day=1.0, total=1.5, now=days)
    assert purse.take(1.0)
    days.day += 1
    assert not purse.take(1.0)
    assert purse.take(0.5)
    days.day += 9
    assert not purse.take(0.1)


def test_clock_that_is_set_back_opens_nothing() -> None:
    """Clocks jump."""
    days = Days()
    purse = Purse(per_day=1.0, total=None, now=days)
    assert purse.take(1.0)
    days.day -= 5
    assert not purse.take(0.1)
    days.day += 5
    assert not purse.take(0.1)


def test_difference_is_given_back() -> None:
    """Or paid afterwards."""
    purse = Purse(per_day=1.0, total=None, now=Days())
    taken = purse.take(0.8)
    assert taken is not None
    purse.settle(taken, 0.1)
    assert purse.spent_today == pytest.approx(0.1)
    taken = purse.take(0.9)
    assert taken is not None
    purse.settle(taken, 1.9)
    assert purse.take(0.0) is None
    assert repr(purse) == "<Purse 2 of 1 today, 2 of inf in all>"


def test_what_was_taken_yesterday_gives_today_nothing() -> None:
    """A call is paid for on the day on which it was sent."""
    days = Days()
    purse = Purse(per_day=1.0, total=None, now=days)
    taken = purse.take(0.9)
    assert taken is not None
    days.day += 1
    assert purse.take(0.5)
    purse.settle(taken, 0.0)
    assert (purse.spent_today, purse.spent) == (0.5, pytest.approx(0.5))


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1), st.integers(0, 1), st.booleans())))
def test_never_more_than_was_foreseen(calls: list[tuple[float, float, int, bool]]) -> None:
    """As long as no call costs more than it took, no day costs more than the cap, however late a call ends."""
    days = Days()
    purse = Purse(per_day=1.0, total=3.0, now=days)
    paid: dict[int, float] = {}
    under_way: list[tuple[Taken, float]] = []
    for amount, share, ended, tomorrow in calls:
        if taken := purse.take(amount):
            under_way.append((taken, amount * share))
        for _ in range(min(ended, len(under_way))):
            first, cost = under_way.pop(0)
            purse.settle(first, cost)
            paid[first.day] = paid.get(first.day, 0.0) + cost
        days.day += tomorrow
    assert all(each <= 1.0 + 1e-9 for each in paid.values())
    assert sum(paid.values()) <= 3.0 + 1e-9
