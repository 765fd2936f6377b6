"""Has a node that does not answer gone quiet, or is this one answer just long?

A stream shows its first token early; an answer in one piece shows nothing until it is whole, and may rightly take
longer than `LLM_FIRST_TOKEN_TIMEOUT`. So silence alone is no proof. It is one when the node has answered nobody since
the call began, while other nodes have answered several calls, and it has lasted twice as long as the longest answer of
late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Longest", "is_silent"]

_WITNESSES: Final = 3
_MEMORY: Final = 300.0


class Longest:
    """The longest answer of the last five to ten minutes, in seconds of `clock`."""

    __slots__ = ("_before", "_clock", "_current", "_since")

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._before = self._current = 0.0

    def note(self, seconds: float) -> None:
        """An answer took that long."""
        self._turn()
        self._current = max(self._current, seconds)

    @property
    def seconds(self) -> float:
        """How long; 0 when there was none."""
        self._turn()
        return max(self._before, self._current)

    def _turn(self) -> None:
        now = self._clock()
        if now - self._since >= _MEMORY:
            self._before = self._current if now - self._since < 2 * _MEMORY else 0.0
            self._current, self._since = 0.0, now


def is_silent(*, waited: float, patience: float, answered: bool, witnesses: int, longest: float) -> bool:
    """Whether a call should be given up there.

    `waited`: seconds without a sign; `patience`: `LLM_FIRST_TOKEN_TIMEOUT`; `answered`: the node has answered somebody
    meanwhile; `witnesses`: answers of other nodes meanwhile; `longest`: seconds of the longest answer of late.
    """
    return not answered and witnesses >= _WITNESSES and waited >= max(patience, 2 * longest)
