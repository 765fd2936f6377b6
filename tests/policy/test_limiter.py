"""How many calls may a node have in flight?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.limiter import AimdLimit

from .vectors import VECTORS

AIMD = VECTORS["aimd"]


@pytest.mark.parametrize("case", AIMD["cases"], ids=str)
def test_published_cases(case: dict[str, object]) -> None:
    """Netflix' AIMDLimitTest."""
    limits = {**AIMD["defaults"], **case}
    limit = AimdLimit(limits["max"], initial=limits["initial"], minimum=limits["min"], backoff=limits["backoff"])
    sample = limits["sample"]
    if sample["drop"]:
        limit.dropped(started=0.0, now=1.0)
    else:
        limit.succeeded(sample["inflight"])
    assert limit.value == case["limit"]


def test_limit_begins_where_it_is_configured() -> None:
    """Nothing is slower than before until something is lost."""
    limit = AimdLimit(160)
    assert limit.value == 160
    assert not limit.succeeded(160)
    assert repr(limit) == "<AimdLimit 160/160>"


def test_twenty_losses_together_are_one_decrease() -> None:
    """All of them had begun before the limit fell."""
    limit = AimdLimit(100)
    assert [limit.dropped(started=float(number), now=50.0 + number) for number in range(20)] == [True] + [False] * 19
    assert limit.value == 90


def test_loss_that_began_after_the_decrease_counts() -> None:
    """It is the next burst."""
    limit = AimdLimit(100)
    limit.dropped(started=0.0, now=10.0)
    assert limit.dropped(started=10.0, now=11.0)
    assert limit.value == 81


def test_limit_never_falls_below_one() -> None:
    """Somebody has to find out that the node is well again; at the bottom a loss changes nothing."""
    limit = AimdLimit(3)
    changes = [limit.dropped(started=float(number), now=float(number)) for number in range(20)]
    assert (limit.value, changes[-1]) == (1, False)


def test_limit_that_is_not_used_does_not_rise() -> None:
    """One call at a time proves nothing about a hundred."""
    limit = AimdLimit(100, initial=50)
    assert not limit.succeeded(24)
    assert limit.succeeded(25)
    assert limit.value == 51


@pytest.mark.parametrize(("value", "maximum", "after"), [(100, 200, 200), (50, 200, 100), (100, 40, 40), (1, 10, 1)])
def test_other_number_of_clients_keeps_the_share(value: int, maximum: int, after: int) -> None:
    """Half of the places before is half of the places afterwards."""
    limit = AimdLimit(100, initial=value)
    limit.resize(maximum)
    assert (limit.value, limit.maximum) == (after, maximum)


@given(st.integers(1, 500), st.lists(st.tuples(st.booleans(), st.integers(0, 600), st.floats(0, 10), st.floats(0, 10))))
def test_limit_stays_between_one_and_its_maximum(maximum: int, steps: list[tuple[bool, int, float, float]]) -> None:
    """Whatever happens; and a step changes it by one upwards, by a tenth downwards."""
    limit, now = AimdLimit(maximum), 0.0
    for lost, in_flight, took, pause in steps:
        before, now = limit.value, now + pause
        if lost:
            limit.dropped(started=now - took, now=now)
        else:
            limit.succeeded(in_flight)
        assert 1 <= limit.value <= maximum
        assert max(1, int(before * 0.9)) <= limit.value <= before + 1
