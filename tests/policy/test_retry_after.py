"""Is the upstream's wish understood in every form, and junk not at all?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.classify import retry_after_seconds

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of the RFC's examples


def seconds(value: str) -> float | None:
    """What a `Retry-After` of this value means."""
    return retry_after_seconds({"retry-after": value}, now=NOW)


def test_no_header_says_nothing() -> None:
    """Other headers do not matter."""
    assert retry_after_seconds({"x-ratelimit-reset-requests": "1s"}, now=NOW) is None


@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("1", 1), ("2.5", 2.5), (" 7 ", 7), ("86400", 86400)])
def test_seconds(value: str, expected: float) -> None:
    """Whole or not; how long is believed is not decided here."""
    assert seconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:50:07 GMT",
        "Sunday, 06-Nov-94 08:50:07 GMT",
        "Sun Nov  6 08:50:07 1994",
        "Sun, 06 Nov 1994 09:50:07 +0100",
        "Sun, 06 Nov 1994 08:50:07 -0000",
    ],
)
def test_dates_in_every_form(value: str) -> None:
    """The three of HTTP, a zone, and no zone at all, which is UTC."""
    assert seconds(value) == 30.0


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose local time is nine hours ahead."""
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "FAR-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_date_without_a_zone_is_utc() -> None:
    """Whatever the machine's own zone is."""
    assert seconds("Sun Nov  6 08:50:07 1994") == 30.0


def test_date_of_this_moment_is_zero() -> None:
    """Not in the past, and not in the future."""
    assert seconds(formatdate(NOW, usegmt=True)) == 0.0


def test_date_in_the_past_says_nothing() -> None:
    """The clocks differ, or a cache answered."""
    assert seconds(formatdate(NOW - 1, usegmt=True)) is None


JUNK = ["", " ", ",", "a,b", ".", "1.", "+5", "-1", "-0.5", "1e3", "1_000", "0x10", "\u0665", "5s", "soon"]
INFINITE = ["nan", "NaN", "inf", "-inf", "infinity", "9" * 400]
NO_DATES = [
    f"Sun, {rest}"
    for rest in ("99 Nov 1994 08:50:07 GMT", "06 Nov 99999 08:50:07 GMT", "06 Nov 1994 08:50:07 +9999999")
]


@pytest.mark.parametrize("value", JUNK + INFINITE + NO_DATES)
def test_junk_says_nothing(value: str) -> None:
    """No exception, no infinite and no negative wait."""
    assert seconds(value) is None


def test_milliseconds_win() -> None:
    """They are more exact than the header beside them."""
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "2"}, now=NOW) == 1.5


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "soon", "Sun, 06 Nov 1994 08:50:07 GMT"])
def test_junk_milliseconds_leave_the_seconds_alone(value: str) -> None:
    """The other header still counts."""
    assert retry_after_seconds({"retry-after-ms": value, "retry-after": "2"}, now=NOW) == 2.0


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:.]{1,12} [-+A-Z0-9]{0,12}"))
def test_every_value_is_a_finite_wait_or_nothing(value: str) -> None:
    """Whatever an upstream invents, nobody waits forever or backwards."""
    wait = retry_after_seconds({"retry-after": value, "retry-after-ms": value}, now=NOW)
    assert wait is None or 0.0 <= wait < float("inf")
