"""Is the assignment the published one, even, sticky and nested?"""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.canary import BUCKETS, Arm, Canary, _fnv1a32, bucket

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "resilience.json").read_text())["hash_growthbook"]
KEYS = [f"user-{number}" for number in range(10_000)]
PERCENTS = st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)
TEXT = st.text(st.characters(codec=None), max_size=40)  # lone surrogates included


def covered(percent: float, **options: str) -> set[str]:
    """The keys of the canary."""
    canary = Canary(percent, **options)
    return {key for key in KEYS if canary.covers(canary.bucket(key))}


@pytest.mark.parametrize(("salt", "key", "position"), VECTORS["cases_v2"])
def test_bucket_is_growthbooks(salt: str, key: str, position: float) -> None:
    """The published pairs of GrowthBook's hash v2."""
    assert bucket(key, salt=salt) == round(position * BUCKETS)


@pytest.mark.parametrize(("text", "digest"), VECTORS["cases_fnv1a32"])
def test_inner_hash_is_fnv1a(text: str, digest: str) -> None:
    """The published values of FNV-1a, 32 bits."""
    assert f"{_fnv1a32(text.encode()):08x}" == digest


@pytest.mark.parametrize(("percent", "expected"), [(0, 0), (10, 1000), (50, 5000), (100, 10_000)])
def test_ten_thousand_keys_get_the_expected_share(percent: float, expected: int) -> None:
    """None at 0 and all at 100; else within three standard deviations of a fair draw (90 keys at 10 %, 150 at 50 %)."""
    deviation = (expected * (1 - percent / 100)) ** 0.5
    assert len(covered(percent)) == pytest.approx(expected, abs=3 * deviation)


@pytest.mark.parametrize("percent", [0, 10, 50, 100])
def test_same_keys_each_time(percent: float) -> None:
    """The draw depends on nothing but salt and key."""
    assert covered(percent) == covered(percent)


def test_rising_percent_removes_nobody() -> None:
    """Each step of the rollout contains the one before."""
    steps = [covered(percent) for percent in (0, 0.01, 1, 10, 25, 50, 99.99, 100)]
    assert all(smaller <= larger for smaller, larger in pairwise(steps))


@given(TEXT, PERCENTS, PERCENTS)
def test_assignment_is_nested_for_every_key(key: str, one: float, other: float) -> None:
    """Whoever is in at the lower percent is in at the higher one."""
    low, high = Canary(min(one, other)), Canary(max(one, other))
    assert low.covers(low.bucket(key)) <= high.covers(high.bucket(key))


@given(TEXT)
def test_nothing_at_zero_and_everything_at_hundred(key: str) -> None:
    """For every key, however odd."""
    assert not Canary(0).covers(Canary(0).bucket(key))
    assert Canary(100).covers(Canary(100).bucket(key))


@given(TEXT, TEXT)
def test_bucket_is_in_range_for_every_text(key: str, salt: str) -> None:
    """Lone surrogates, NUL and emoji are keys like others."""
    assert 0 <= bucket(key, salt=salt) < BUCKETS
    assert bucket(key, salt=salt) == bucket(key, salt=salt)


def test_lone_surrogates_are_told_apart() -> None:
    """A broken cookie is still a key of its own."""
    assert len({bucket(key, salt="s") for key in ("\ud800", "\ud801", "\udfff", "?", "")}) == 5


def test_another_epoch_draws_anew() -> None:
    """At 10 % two draws share about a tenth of their keys, not all of them."""
    assert len(covered(10) & covered(10, salt="llm-pool:1")) < 200


@pytest.mark.parametrize("percent", [0.01, 0.29, 33.33, 57.57, 99.99])
def test_steps_are_a_hundredth_of_a_percent(percent: float) -> None:
    """Comparisons are made on integers, so 0.29 is 29 buckets and not 28.999…."""
    assert sum(Canary(percent).covers(number) for number in range(BUCKETS)) == round(percent * 100)


@pytest.mark.parametrize("percent", [-0.01, 100.01, 101, float("nan"), float("inf")])
def test_percent_outside_is_an_error(percent: float) -> None:
    """One line that names the value and what is allowed."""
    with pytest.raises(ValueError, match="between 0 and 100"):
        Canary(percent)


def test_share_is_the_position_inside_the_covered_part() -> None:
    """From 0 to just under 1, whatever the percent; 1 for those that are not covered."""
    canary = Canary(25)
    assert [canary.share(number) for number in (0, 625, 1250)] == [0.0, 0.25, 0.5]
    assert canary.share(2499) < 1.0
    assert canary.share(2500) == canary.share(9999) == 1.0
    assert Canary(0).share(0) == 1.0


def test_long_keys_are_sticky_and_told_apart() -> None:
    """Keys of a megabyte that differ in the last letter have their own buckets, the same ones each time."""
    keys = ["x" * 1_000_000 + last for last in "abcde"]
    assert len({bucket(key, salt="s") for key in keys}) == 5
    assert bucket(keys[0], salt="s") == bucket(keys[0], salt="s")


def test_long_keys_are_hashed_by_their_digest() -> None:
    """So a megabyte takes the slow hash 32 letters, whatever the key is."""
    digest = blake2b(b"s" + b"x" * 1_000_000, digest_size=16).hexdigest().encode()
    assert bucket("x" * 1_000_000, salt="s") == _fnv1a32(str(_fnv1a32(digest)).encode()) % BUCKETS


def test_keys_of_up_to_a_kilobyte_are_hashed_as_published() -> None:
    """The shortcut leaves them alone."""
    text = "s" + "x" * 1023
    assert bucket(text[1:], salt="s") == _fnv1a32(str(_fnv1a32(text.encode())).encode()) % BUCKETS


def test_long_keys_are_spread_evenly() -> None:
    """Half of them are in at 50 %, within three standard deviations."""
    canary = Canary(50)
    inside = sum(canary.covers(canary.bucket("x" * 2000 + key)) for key in KEYS[:2000])
    assert inside == pytest.approx(1000, abs=67)


def test_canaries_are_values() -> None:
    """Equal if percent and salt are; the derived number is not shown."""
    assert Canary(10) == Canary(10.0)
    assert repr(Canary(10)) == "Canary(percent=10, salt='llm-pool:0')"


def test_control_is_as_large_as_the_canary_and_never_in_it() -> None:
    """Up to 50 %; above, it is all the rest."""
    for percent, canary, control in [(0, 0, 0), (1, 100, 100), (25, 2500, 2500), (50, 5000, 5000), (75, 7500, 2500)]:
        arms = [Canary(percent).arm(bucket) for bucket in range(BUCKETS)]
        assert (arms.count(Arm.CANARY), arms.count(Arm.CONTROL)) == (canary, control)
    assert {Canary(100).arm(bucket) for bucket in range(BUCKETS)} == {Arm.CANARY}


@given(st.integers(0, BUCKETS - 1), PERCENTS, PERCENTS)
def test_rising_percent_leaves_whoever_is_in_an_arm_in_one(bucket: int, one: float, other: float) -> None:
    """From control to canary at most, and never out."""
    low, high = sorted((one, other))
    before, after = Canary(low).arm(bucket), Canary(high).arm(bucket)
    assert before is Arm.OUTSIDE or after is not Arm.OUTSIDE
    assert not (before is Arm.CANARY and after is not Arm.CANARY)
