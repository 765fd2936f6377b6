"""What do the upstream's headers say about its rate limits?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.ratelimits import Allowance, Field, requests_allowed, tokens_allowed


def said(**fields: str) -> Field:
    """Headers: `limit_requests="60"` is `x-ratelimit-limit-requests: 60`."""
    named = {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in fields.items()}
    return {"content-type": "application/json", **named, "x-request-id": "r"}.get


def allowances(field: Field) -> tuple[Allowance | None, Allowance | None]:
    """Of requests and of tokens."""
    return requests_allowed(field), tokens_allowed(field)


def test_headers_that_say_nothing() -> None:
    """Most servers."""
    assert allowances(said()) == (None, None)


def test_openai() -> None:
    """Its own example: a minute's limit, refilled all the time."""
    found = allowances(
        said(
            limit_requests="60",
            limit_tokens="150000",
            remaining_requests="59",
            remaining_tokens="149984",
            reset_requests="1s",
            reset_tokens="6ms",
        )
    )
    assert found == (Allowance(60, 59, 1.0), Allowance(150_000, 149_984, 2500.0))


def test_limit_of_a_day() -> None:
    """Groq's requests: what is gone and when it is back tell the rate."""
    found = allowances(said(limit_requests="14400", remaining_requests="14370", reset_requests="2m59.56s"))
    assert found[0] is not None
    assert found[0].per_second == pytest.approx(14_400 / 86_400, rel=0.01)
    assert found[1] is None


@pytest.mark.parametrize("limit", ["0", "-1", "many", "", "nan", "inf", "1e9"])
def test_limit_that_is_no_positive_number_says_nothing(limit: str) -> None:
    """Gateways send 0 or -1 for "none"."""
    assert allowances(said(limit_requests=limit, remaining_requests="0")) == (None, None)


@pytest.mark.parametrize(
    ("reset", "per_second"),
    [
        ("30s", 1.0),
        ("30", 1.0),
        ("500ms", 60.0),
        ("1m0s", 0.5),
        ("1h", 30 / 3600),
        ("1d", 30 / 86400),
        ("0s", 1.0),
        ("soon", 1.0),
        ("", 1.0),
        ("10ms", 1.0),
    ],
)
def test_reset_in_many_spellings(reset: str, per_second: float) -> None:
    """Without one, or with one that is rounded away, a minute is meant."""
    found = allowances(said(limit_requests="60", remaining_requests="30", reset_requests=reset))
    assert found[0] == Allowance(60, 30, pytest.approx(per_second))


def test_limit_alone_is_a_whole_one() -> None:
    """Nothing is known to be used."""
    assert allowances(said(limit_tokens="600")) == (None, Allowance(600, 600, 10.0))


def test_more_left_than_the_limit_is_the_limit() -> None:
    """Somebody rounds."""
    assert allowances(said(limit_tokens="600", remaining_tokens="9999")) == (None, Allowance(600, 600, 10.0))


FIELDS = [f"{what}_{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]


@given(st.dictionaries(st.sampled_from(FIELDS), st.text()))
def test_junk_raises_nothing(fields: dict[str, str]) -> None:
    """What is found is positive and finite."""
    for allowance in allowances(said(**fields)):
        if allowance is not None:
            assert allowance.limit > 0
            assert 0 <= allowance.remaining <= allowance.limit
            assert 0 < allowance.per_second < float("inf")
