"""How much is the pool's answer like legacy's? Status, finish reason, tokens, time, and the words they have in common.

Likeness is the longest common subsequence of words, found with one integer as a row of bits (Hyyrö, "Bit-Parallel LCS
Computation", 2004). `difflib` takes 130 ms for two texts of a thousand words, and it would take them from the event
loop; rapidfuzz, which has the same in C++, would be a compiled dependency in the place of six lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

__all__ = ["Answered", "Comparison", "compare", "similarity"]

_WORDS: Final = 1000
"""Words of a text that are compared: a millisecond or two, however long it is."""
_IDEOGRAPHS: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD: Final = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")
"""Chinese, Japanese and Korean have no spaces between words: there a word is a character."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one side said. `status`: an HTTP status as text, or `timeout`, `connection`, `error`; `text` is not kept."""

    status: str
    seconds: float
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the two sides have in common; `None` where a side said nothing that could be compared."""

    same_status: bool
    same_finish_reason: bool | None
    similarity: float | None


def compare(legacy: Answered, pool: Answered) -> Comparison:
    """Two answers to one question."""
    finish = (legacy.finish_reason, pool.finish_reason)
    alike = None if legacy.text is None or pool.text is None else similarity(legacy.text, pool.text)
    return Comparison(legacy.status == pool.status, None if None in finish else finish[0] == finish[1], alike)


def similarity(one: str, other: str) -> float:
    """Twice the words that stand in both in the same order, of all words: 1 = the same, 0 = no word in common.

    Of long texts the first thousand words. Case, spaces and punctuation do not count.
    """
    mine, theirs = _words(one), _words(other)
    return 1.0 if mine == theirs else 2 * _in_common(mine, theirs) / (len(mine) + len(theirs))


def _in_common(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence. A bit of `row` is 0 where the sequence grows."""
    places: dict[str, int] = {}
    for number, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << number
    full = row = (1 << len(one)) - 1
    for word in other:
        found = row & places.get(word, 0)
        row = (row + found | row - found) & full
    return len(one) - row.bit_count()


def _words(text: str) -> list[str]:
    return [found[0].lower() for found in islice(_WORD.finditer(text), _WORDS)]
