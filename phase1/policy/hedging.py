"""After how long is a second node asked the same question?

At the time in which the node has its first token in all but a few cases (its 95th percentile by default), by what it
has shown for calls of the same kind: "The Tail at Scale" (Dean and Barroso, 2013). So about one call in twenty is asked
twice. A node that has answered too few calls of a kind is not hedged: nobody knows what is late there. A call that was
given up counts with the time that it had waited, else each hedge would make the next one come sooner.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final

__all__ = ["Delays", "Quantile"]

_KEPT: Final = 100
_FEWEST: Final = 20
_MANY: Final = 1000


class Quantile:
    """The `share`-quantile (0 … 1) of the last hundred values; of fewer than twenty there is none."""

    __slots__ = ("_latest", "_ordered", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._latest: deque[float] = deque()
        self._ordered: list[float] = []

    def observe(self, value: float) -> None:
        """One more value; the oldest of more than a hundred is forgotten."""
        self._latest.append(value)
        insort(self._ordered, value)
        if len(self._latest) > _KEPT:
            del self._ordered[bisect_left(self._ordered, self._latest.popleft())]

    @property
    def value(self) -> float | None:
        """The quantile, one of the values; `None` while there are too few."""
        count = len(self._ordered)
        return None if count < _FEWEST else self._ordered[min(count - 1, int(self._share * count))]


class Delays:
    """Seconds to the first token by kind of call (node, path, model …), for the thousand kinds that were seen last."""

    __slots__ = ("_kinds", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._kinds: OrderedDict[Hashable, Quantile] = OrderedDict()

    def observe(self, kind: Hashable, seconds: float) -> None:
        """A call of that kind had its first token after `seconds`, or none by then."""
        quantile = self._kinds.get(kind)
        if quantile is None:
            quantile = self._kinds[kind] = Quantile(self._share)
            if len(self._kinds) > _MANY:
                self._kinds.popitem(last=False)
        self._kinds.move_to_end(kind)
        quantile.observe(seconds)

    def after(self, kind: Hashable) -> float | None:
        """Seconds after which a call of that kind is late; `None` = nobody knows yet."""
        quantile = self._kinds.get(kind)
        return None if quantile is None else quantile.value
