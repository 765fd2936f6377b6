"""How much history goes into a prompt? A default, or what the caller asks for up to a maximum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from phase1.chat.exceptions import HistoryLimitError

if TYPE_CHECKING:
    from phase1.settings import Settings

__all__ = ["HistoryLimits"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """Entries when the caller names no number, and entries at most (`CHAT_HISTORY_LIMIT_DEFAULT` and `_MAX`)."""

    default: int = 20
    maximum: int = 50

    def __post_init__(self) -> None:
        if not 1 <= self.default <= self.maximum:
            raise HistoryLimitError(f"default={self.default}, maximum={self.maximum}: must be 1 <= default <= maximum")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(settings.chat_history_limit_default, settings.chat_history_limit_max)

    def limit(self, asked: object = None) -> int:
        """How many entries to fetch. 0 is none; more than the maximum is the maximum. Raises `HistoryLimitError`."""
        if asked is None:
            return self.default
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 0:
            raise HistoryLimitError(f"history_limit={asked!r}: must be a whole number, 0 (no history) or more")
        return min(asked, self.maximum)

    def latest(self, entries: Sequence[T]) -> list[T]:
        """The last entries of a history that the caller keeps, never more than the maximum."""
        return list(entries[-self.maximum :])
