"""Is every value in its bucket?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.engine.histogram import SECONDS, SHORT_SECONDS, TOKENS, Histogram


def test_bounds_are_those_of_the_conventions() -> None:
    """OpenTelemetry's, with three more at the end of the seconds."""
    assert [f"{bound:g}" for bound in SECONDS] == (
        [
            "0.01",
            "0.02",
            "0.04",
            "0.08",
            "0.16",
            "0.32",
            "0.64",
            "1.28",
            "2.56",
            "5.12",
            "10.24",
            "20.48",
            "40.96",
            "81.92",
            "163.84",
            "327.68",
            "655.36",
        ]
    )
    assert (TOKENS[0], TOKENS[-1], len(TOKENS)) == (1, 67108864, 14)
    assert list(SHORT_SECONDS) == sorted(SHORT_SECONDS)


@given(st.lists(st.floats(min_value=0, max_value=2000)))
def test_each_value_counts_once_in_the_lowest_bucket_that_holds_it(values: list[float]) -> None:
    """As Prometheus has it: a value on a bound is not above it."""
    histogram = Histogram(SECONDS)
    for value in values:
        histogram.observe(value)
    for index, bound in enumerate(SECONDS):
        assert sum(histogram.counts[: index + 1]) == sum(value <= bound for value in values)
    assert histogram.count == len(values)
    assert histogram.total == pytest.approx(sum(values))


def test_many_of_one_mean_keep_count_and_sum() -> None:
    """A stream of ten chunks."""
    histogram = Histogram((1.0, 2.0))
    histogram.observe_many(1.5, 10)
    assert (histogram.counts, histogram.total) == ([0, 10, 0], 15.0)
    assert repr(histogram) == "<Histogram count=10 sum=15>"
