"""Which values are kept, when there is room for so many bytes and so many entries, and each is good for a while?

The ones that were used last. Every step is O(1), but for the values that have to go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Lru"]

_OVERHEAD: Final = 256
"""Bytes that an entry takes beside its value, about: key, tuple, a place in the dictionary."""


class Lru:
    """At most `max_bytes` in at most `max_entries`; `clock` is monotonic, in seconds."""

    __slots__ = ("_clock", "_entries", "_max_bytes", "_max_entries", "bytes")

    def __init__(self, *, max_bytes: int, max_entries: int, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.bytes = 0
        """What is kept, with what the entries take."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> bytes | None:
        """The value, if it is there and still good."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires_at, value = entry
        if self._clock() >= expires_at:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep it for so long, and let others go for it; one that is larger than all of the room is not kept."""
        if key in self._entries:
            self._remove(key)
        if _size(value) > self._max_bytes:
            return
        self._entries[key] = (self._clock() + seconds, value)
        self.bytes += _size(value)
        while self.bytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: str) -> None:
        _, value = self._entries.pop(key)
        self.bytes -= _size(value)


def _size(value: bytes) -> int:
    return len(value) + _OVERHEAD
