"""Which node does a conversation belong to?

Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam; https://arxiv.org/abs/1608.01350): a key goes to
the next node on a ring, so that its prompt cache is warm, unless that node has a quarter more than its share of the
calls in flight; then to the next one. A node that goes takes only its own keys along.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from math import ceil
from typing import Final

__all__ = ["HashRing", "bound"]

_POINTS: Final = 100
"""Of a node of weight 1."""
_MOST_POINTS: Final = 1000
_SURPLUS: Final = 1.25


def bound(*, in_flight: int, share: float) -> int:
    """How many calls a node with this share (0 … 1) of the weight may have when one more joins those in flight."""
    return ceil(_SURPLUS * (in_flight + 1) * share)


class HashRing:
    """Names on a ring, more points for more weight."""

    __slots__ = ("_names", "_points")

    def __init__(self, weights: Mapping[str, float]) -> None:
        ring = sorted(
            (_hash(f"{name}#{number}".encode()), name)
            for name, weight in weights.items()
            for number in range(max(1, min(_MOST_POINTS, round(weight * _POINTS))))
        )
        self._points = [point for point, _ in ring]
        self._names = [name for _, name in ring]

    def walk(self, key: bytes) -> Iterator[str]:
        """Every name once, in the order in which `key` meets them."""
        seen = set()
        start = bisect_right(self._points, _hash(key))
        for step in range(len(self._names)):
            name = self._names[(start + step) % len(self._names)]
            if name not in seen:
                seen.add(name)
                yield name


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest())
