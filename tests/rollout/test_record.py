"""Is a state record that must not be followed not followed, and does it never raise the percent?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.breaker import BreakerMode
from phase1.policy.rollout import Desired, RolloutPhase
from phase1.rollout.record import BadRecord, NewerRecord, decode, encode, follow

KNOWN = Desired(generation=7, percent=10.0, phase=RolloutPhase.PROGRESSING, run=1)
DESIRED = st.builds(
    Desired,
    generation=st.integers(0, 20),
    percent=st.none() | st.integers(0, 10_000).map(lambda hundredths: hundredths / 100),
    kill=st.booleans(),
    breaker=st.sampled_from([str(mode) for mode in BreakerMode]),
    epoch=st.integers(0, 3),
    phase=st.sampled_from(list(RolloutPhase)),
    run=st.integers(0, 3),
)


def record(**changes: Any) -> str:  # noqa: ANN401
    """A good one, changed."""
    return json.dumps({**json.loads(encode(KNOWN)), **changes})


@given(DESIRED)
def test_record_says_what_was_written(desired: Desired) -> None:
    """Back and forth."""
    assert decode(encode(desired)) == desired


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is damaged: it is no JSON"),
        (encode(KNOWN)[:-9], "is damaged: it is no JSON"),
        ("[]", "is damaged: it names no schema"),
        ('{"percent": 5}', "is damaged: it names no schema"),
        (record(percent=250), "says percent=250: must be a number between 0 and 100"),
        (record(percent=-1), "says percent=-1: must be a number between 0 and 100"),
        (record(percent=True), "says percent=True: must be a number between 0 and 100"),
        (record(percent=float("nan")), "says percent=nan: must be a number between 0 and 100"),
        (record(percent=0.005), "says percent=0.005: must be a multiple of 0.01"),
        (record(percent="x" * 99), "says percent='xxxxx"),
        (record(kill="yes"), "says kill='yes': must be true or false"),
        (record(generation=-1), "says generation=-1: must be a whole number, 0 or more"),
        (record(generation=True), "says generation=True: must be a whole number, 0 or more"),
        (record(epoch=1.5), "says epoch=1.5: must be a whole number, 0 or more"),
        (record(phase="dancing"), "says phase='dancing': must be one of idle, progressing"),
        (record(phase=["idle"]), "says phase=['idle']: must be one of idle, progressing"),
        (record(breaker=None), "says breaker=None: must be one of automatic"),
    ],
)
def test_bad_record_changes_nothing(text: str, problem: str) -> None:
    """The last good state stays, what is wrong is said, and it may be written back."""
    with pytest.raises(BadRecord) as caught:
        decode(text)
    assert problem in str(caught.value)
    followed = follow(KNOWN, text, default=100.0)
    assert (followed.desired, followed.lost) == (KNOWN, True)
    assert str(followed.problem).endswith("the last known state stays")


def test_record_of_a_newer_version_is_left_alone() -> None:
    """Neither followed nor overwritten: the newer ones work with it."""
    text = record(schema=2, percent=50)
    with pytest.raises(NewerRecord, match=r"written by a newer version \(schema 2, not 1\)"):
        decode(text)
    followed = follow(KNOWN, text, default=100.0)
    assert (followed.desired, followed.lost) == (KNOWN, False)


def test_newer_generation_is_followed() -> None:
    """Whatever it says; and what this version does not know in it is passed over."""
    assert follow(KNOWN, record(generation=8, percent=99, colour="red"), default=100.0).desired.percent == 99


def test_no_record_is_no_problem_until_there_was_one() -> None:
    """A fresh store; and one that was emptied."""
    assert follow(Desired(), None, default=100.0).problem is None
    followed = follow(KNOWN, None, default=100.0)
    assert (followed.desired, followed.lost) == (KNOWN, True)
    assert "has disappeared" in str(followed.problem)


@pytest.mark.parametrize(
    ("older", "expected"),
    [
        ({"percent": 50}, {}),
        ({"percent": None}, {}),
        ({"percent": 5}, {"percent": 5}),
        ({"percent": 50, "kill": True}, {"kill": True}),
        ({"generation": 7, "percent": 50}, {}),
        ({"generation": 7, "epoch": 3}, {}),
    ],
)
def test_older_record_may_only_lower(older: dict[str, Any], expected: dict[str, Any]) -> None:
    """A store that was restored, or two that disagree. A kill switch is followed in any case."""
    followed = follow(KNOWN, record(**{"generation": 3, **older}), default=100.0)
    assert followed.desired == replace(KNOWN, **expected)
    assert "it may only lower" in str(followed.problem)


@given(DESIRED, st.none() | DESIRED.map(encode) | st.text(max_size=20), st.sampled_from([0.0, 5.0, 100.0]))
def test_only_a_newer_generation_raises(known: Desired, text: str | None, default: float) -> None:
    """Whatever stands in the store."""
    after = follow(known, text, default=default).desired
    if after.generation > known.generation:
        return
    percent = [default if each.percent is None else each.percent for each in (known, after)]
    assert percent[1] <= percent[0]
    assert known.kill <= after.kill
