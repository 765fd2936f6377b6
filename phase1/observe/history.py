"""What happened in each of the last three minutes' seconds? For the page's lines: they are there when it is opened."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager

__all__ = ["COLUMNS", "KEPT", "History", "together"]

COLUMNS: Final = (
    "time",
    "finished",
    "failed",
    "seconds",
    "tokens",
    "pool",
    "legacy",
    "fell_back",
    "in_flight",
    "waiting",
    "lag",
)
"""Of each second: calls that ended, that failed, the sum of their seconds, their tokens; app requests by route, calls
that fell back; then how it stood: calls in flight, waiting, and how late the event loop was at most."""
KEPT: Final = 180
_LAG: Final = COLUMNS.index("lag")

Point = list[float]


class History:
    """A ring of points, one for each call of `add`."""

    def __init__(self, manager: LLMManager) -> None:
        self._manager = manager
        self._before = self._counted()
        self._points: deque[Point] = deque(maxlen=KEPT)

    def _counted(self) -> list[float]:
        tally = self._manager.tally
        routes = dict(tally.routes)
        pool = sum(count for (route, _), count in routes.items() if route == "pool")
        fell_back = sum(dict(tally.fallbacks).values())
        legacy = sum(routes.values()) - pool
        return [tally.finished, tally.failed, tally.seconds, tally.token_count, pool, legacy, fell_back]

    def add(self, second: int, *, lag: float) -> None:
        """The second is over."""
        counted, before = self._counted(), self._before
        self._before = counted
        binding = self._manager.bindings.peek()
        in_flight = binding.admission.in_flight + binding.legacy.in_flight if binding else 0
        waiting = binding.admission.waiting if binding else 0
        differences = [now - then for now, then in zip(counted, before, strict=True)]
        self._points.append([second, *differences, in_flight, waiting, lag])

    @property
    def points(self) -> list[Point]:
        """The oldest first."""
        return list(self._points)


def together(histories: Iterable[list[Point]]) -> list[Point]:
    """Several workers' points as one: sums, and the worst lag."""
    by_second: dict[float, Point] = {}
    for point in (point for points in histories for point in points):
        own = by_second.get(point[0])
        by_second[point[0]] = list(point) if own is None else _both(own, point)
    return [by_second[second] for second in sorted(by_second)][-KEPT:]


def _both(one: Point, other: Point) -> Point:
    added = [one[0], *(a + b for a, b in zip(one[1:], other[1:], strict=True))]
    added[_LAG] = max(one[_LAG], other[_LAG])
    return added
