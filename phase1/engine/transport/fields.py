"""Which fields of an answer does a transport pass on, and as what text?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import overload

__all__ = ["Fields"]

_OF_THE_CONNECTION = frozenset({"connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding"})
"""They would be a lie further on."""

_Pair = tuple[str, str]


class Fields(Sequence[_Pair]):
    """Header fields in wire order, names in lower case. Decoded when somebody looks at them all: mostly nobody does.

    `undone` are the codings that the transport decodes. A `content-encoding` of another kind stays, and the body is
    as it came: whoever asked for it can decode it. `get` finds one field by its name in lower case.
    """

    __slots__ = ("_pairs", "_raw", "_undone", "get")

    def __init__(
        self, raw: Sequence[tuple[bytes, bytes]], undone: frozenset[bytes], get: Callable[[str], str | None]
    ) -> None:
        self._raw = raw
        self._undone = undone
        self._pairs: list[_Pair] | None = None
        self.get = get

    @classmethod
    def of(cls, pairs: Iterable[_Pair]) -> Fields:
        """Fields that are text already."""
        fields = cls((), frozenset(), lambda name: _first(fields._all, name))
        fields._pairs = list(pairs)
        return fields

    @property
    def _all(self) -> list[_Pair]:
        if self._pairs is None:
            self._pairs = _passed_on(self._raw, self._undone)
        return self._pairs

    @overload
    def __getitem__(self, index: int, /) -> _Pair: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_Pair]: ...
    def __getitem__(self, index: int | slice, /) -> _Pair | list[_Pair]:
        return self._all[index]

    def __len__(self) -> int:
        return len(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self._all))

    def __repr__(self) -> str:
        return f"<Fields {', '.join(name for name, _ in self)}>"  # never what is in them


def _first(pairs: Iterable[_Pair], name: str) -> str | None:
    return next((value for field, value in pairs if field == name), None)


def _passed_on(raw: Sequence[tuple[bytes, bytes]], undone: frozenset[bytes]) -> list[_Pair]:
    """Values are read as httpx does: UTF-8, or all Latin-1."""
    try:
        return _decoded(raw, undone, "utf-8")
    except UnicodeDecodeError:
        return _decoded(raw, undone, "latin-1")


def _decoded(raw: Sequence[tuple[bytes, bytes]], undone: frozenset[bytes], encoding: str) -> list[_Pair]:
    return [
        (lower, value.strip().decode(encoding))  # older aiohttp leaves spaces at the end
        for name, value in raw
        if (lower := _lower(name)) not in _OF_THE_CONNECTION
        and not (lower == "content-encoding" and value.lower() in undone)
    ]


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> str:
    return name.decode("latin-1").lower()
