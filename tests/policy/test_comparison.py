"""Is likeness measured as a reader would, in bounded time, and are differences named?"""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.comparison import Answered, compare, similarity


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", 1.0),
        ("Paris.", "paris", 1.0),
        ("The capital is Paris.", "the  capital\nis Paris", 1.0),
        ("The capital is Paris.", "The capital is Lyon.", 0.75),
        ("yes", "no", 0.0),
        ("", "something", 0.0),
        ("東京は日本の首都です", "東京は日本の首都である", 18 / 21),
        ("abc東京", "abc 東京", 1.0),
    ],
)
def test_words_in_common(one: str, other: str, expected: float) -> None:
    """Twice the words in common, of all words; of Japanese the characters."""
    assert similarity(one, other) == pytest.approx(expected)


@given(st.text(), st.text())
def test_likeness_is_a_share_and_everything_is_like_itself(one: str, other: str) -> None:
    """Whatever the texts."""
    assert 0.0 <= similarity(one, other) <= 1.0
    assert similarity(one, one) == 1.0


def longest(one: str, other: str) -> int:
    """The longest common subsequence of two words' letters, by the textbook."""
    row = [0] * (len(other) + 1)
    for letter in one:
        before = 0
        for place, against in enumerate(other, start=1):
            before, row[place] = row[place], before + 1 if letter == against else max(row[place], row[place - 1])
    return row[-1]


@given(st.text("abc", max_size=40), st.text("abc", max_size=40))
def test_words_in_common_are_the_longest_sequence_there_is(one: str, other: str) -> None:
    """Against the textbook's table."""
    total = len(one) + len(other)
    expected = 2 * longest(one, other) / total if total else 1.0
    assert similarity(" ".join(one), " ".join(other)) == pytest.approx(expected)


def test_long_texts_are_compared_by_their_beginnings() -> None:
    """A megabyte must not stop the loop."""
    begin = " ".join(f"w{number}" for number in range(1000))
    assert similarity(f"{begin} {'x ' * 500_000}", f"{begin} {'y ' * 500_000}") == 1.0


def test_answers_are_compared_field_by_field() -> None:
    """What a side did not say is no difference."""
    legacy = Answered("200", 1.0, "stop", 3, 4, "hello you")
    assert astuple(compare(legacy, Answered("200", 9.0, "stop", 3, 9, "hello you"))) == (True, True, 1.0)
    assert astuple(compare(legacy, Answered("200", 1.0, "length", 3, 4, "hello me"))) == (True, False, 0.5)
    assert astuple(compare(legacy, Answered("429", 1.0))) == (False, None, None)
    assert astuple(compare(Answered("200", 1.0, text="a"), legacy)) == (True, None, 0.0)


def test_repr_of_an_answer_has_no_text() -> None:
    """It may stand in a traceback."""
    assert "planted" not in repr(Answered("200", 1.0, text="planted"))
