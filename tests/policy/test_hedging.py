"""After how long is a node late?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.hedging import Delays, Quantile


def test_quantile_of_few_values_is_unknown() -> None:
    """Nineteen say nothing about the twentieth."""
    quantile = Quantile(0.95)
    for value in range(19):
        quantile.observe(float(value))
    assert quantile.value is None
    quantile.observe(19.0)
    assert quantile.value == 19.0


def test_old_values_are_forgotten() -> None:
    """A node that has become fast is late sooner."""
    quantile = Quantile(0.95)
    for value in [10.0] * 100 + [1.0] * 100:
        quantile.observe(value)
    assert quantile.value == 1.0


@given(values=st.lists(st.floats(0, 1000), min_size=20, max_size=300), share=st.floats(0.5, 0.999))
def test_quantile_is_one_of_the_last_hundred_with_its_share_below(values: list[float], share: float) -> None:
    """By counting."""
    quantile = Quantile(share)
    for value in values:
        quantile.observe(value)
    latest, found = values[-100:], quantile.value
    assert found in latest
    below = sum(value < found for value in latest)
    above = sum(value > found for value in latest)
    assert below <= share * len(latest)
    assert above <= (1 - share) * len(latest)


def test_kinds_are_apart_and_bounded() -> None:
    """A thousand of them; the one that was seen longest ago goes first."""
    delays = Delays(0.95)
    for _ in range(20):
        delays.observe("slow", 10.0)
    for _ in range(20):
        delays.observe("fast", 1.0)
    assert (delays.after("slow"), delays.after("fast"), delays.after("new")) == (10.0, 1.0, None)
    for number in range(998):
        delays.observe(number, 1.0)
    assert delays.after("slow") == 10.0
    delays.observe("one more", 1.0)
    assert (delays.after("slow"), delays.after("fast")) == (None, 1.0)
