"""May one more retry be in flight?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.budget import RetryBudget


@pytest.mark.parametrize(
    ("requests_in_flight", "places"), [(0, 1), (1, 1), (9, 1), (10, 2), (14, 2), (15, 3), (100, 20), (1000, 200)]
)
def test_a_fifth_of_the_requests_in_flight_may_be_retries(requests_in_flight: int, places: int) -> None:
    """And one always, so that a quiet service can retry at all."""
    budget = RetryBudget()
    taken = sum(budget.acquire(requests_in_flight=requests_in_flight) for _ in range(1000))
    assert (taken, budget.in_flight) == (places, places)
    assert budget.exhausted == 1000 - places


def test_place_that_is_given_back_may_be_taken_again() -> None:
    """The bound is on what is in flight, not on how much there ever was."""
    budget = RetryBudget()
    for _ in range(100):
        assert budget.acquire(requests_in_flight=1)
        budget.release()
    assert (budget.in_flight, budget.exhausted) == (0, 0)


def test_falling_load_takes_nobodys_place_away() -> None:
    """It only admits nobody new until enough have been given back."""
    budget = RetryBudget()
    assert all(budget.acquire(requests_in_flight=20) for _ in range(4))
    assert not budget.acquire(requests_in_flight=5)
    assert budget.in_flight == 4


def test_share_and_minimum_can_be_chosen() -> None:
    """Half of the requests, at least three."""
    budget = RetryBudget(max_rate=0.5, min_concurrency=3)
    assert sum(budget.acquire(requests_in_flight=2) for _ in range(10)) == 3
    assert sum(budget.acquire(requests_in_flight=10) for _ in range(10)) == 2


@given(
    st.lists(st.one_of(st.tuples(st.just("acquire"), st.integers(0, 200)), st.tuples(st.just("release"), st.just(0))))
)
def test_budget_is_never_exceeded(steps: list[tuple[str, int]]) -> None:
    """In any order of taking and giving back: a place is given only below the bound of that moment."""
    budget, out = RetryBudget(), 0
    for step, load in steps:
        if step == "acquire" and budget.acquire(requests_in_flight=load):
            out += 1
            assert out <= max(1, load * 0.2)
        elif step == "release" and out:
            budget.release()
            out -= 1
        assert budget.in_flight == out
