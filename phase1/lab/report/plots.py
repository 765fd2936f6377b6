"""Which plots does one load have, and where does each mark lie? Coordinates only; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Mark", "Plot", "Trace", "plots_of", "ticks"]

_WIDTH: Final = 420
_HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 8, 26
_NAMES: Final = {"legacy": "pool off", "pooled": "pool on"}
_TICKS: Final = 5

_Point = tuple[float, float]
_Side = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """A tick of an axis, or one request: where, and what to say of it. `failed`: nobody got an answer."""

    at: float
    text: str
    y: float = 0.0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """What one side looks like: a line, or dots."""

    side: str
    name: str
    line: str
    dots: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture. `xs` and `ys`: the ticks."""

    title: str
    traces: tuple[Trace, ...]
    xs: tuple[Mark, ...]
    ys: tuple[Mark, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def plots_of(sides: Mapping[str, _Side]) -> list[Plot]:
    """All plots of one load: how long answers took, over time and by percentile, and what the process did."""
    return [
        _requests(sides),
        _percentiles(sides),
        _over_time("Event loop late, s", sides, "loop_lag"),
        _over_time("CPU, cores", sides, "cpu"),
        _over_time("Memory, MB", sides, "memory_mb"),
    ]


def ticks(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`, about five."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / _TICKS
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


class _Frame:
    """Where a value lies: the axes of one plot, both from 0."""

    def __init__(self, points: Sequence[_Point]) -> None:
        self._xs = ticks(max((x for x, _ in points), default=0.0))
        self._ys = ticks(max((y for _, y in points), default=0.0))

    def x(self, value: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * value / self._xs[-1], 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self._ys[-1], 1)

    @property
    def xs(self) -> tuple[Mark, ...]:
        return tuple(Mark(self.x(value), f"{value:g} s") for value in self._xs)

    @property
    def ys(self) -> tuple[Mark, ...]:
        return tuple(Mark(self.y(value), f"{value:g}") for value in self._ys)

    def line(self, points: Sequence[_Point]) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)


def _over_time(title: str, sides: Mapping[str, _Side], name: str) -> Plot:
    series = {side: [(x, y) for x, y in found["series"][name]] for side, found in sides.items()}
    frame = _Frame([point for points in series.values() for point in points])
    traces = tuple(Trace(side, _NAMES[side], frame.line(points)) for side, points in series.items())
    return Plot(title, traces, frame.xs, frame.ys)


def _requests(sides: Mapping[str, _Side]) -> Plot:
    answers = {side: found["series"]["answers"] for side, found in sides.items()}
    frame = _Frame([(start, seconds) for points in answers.values() for start, seconds, _ in points])

    def dot(start: float, seconds: float, outcome: str) -> Mark:
        text = f"asked at {start:.2f} s: {outcome} after {seconds:.2f} s"
        return Mark(frame.x(start), text, frame.y(seconds), failed=not outcome.startswith("2"))

    traces = tuple(
        Trace(side, _NAMES[side], "", tuple(dot(*point) for point in points)) for side, points in answers.items()
    )
    return Plot("Each request, s until its end", traces, frame.xs, frame.ys)


def _percentiles(sides: Mapping[str, _Side]) -> Plot:
    """Each nine as wide as the one before, as HdrHistogram draws it: the tail is what users remember."""
    shown = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999]
    frame = _Frame([(len(shown) - 1.0, y) for found in sides.values() for _, y in found["percentiles"]])
    across = (_WIDTH - _LEFT - _RIGHT) / (len(shown) - 1)
    place: Callable[[float], float] = lambda share: round(_LEFT + across * _nines(share, shown), 1)  # noqa: E731
    traces = tuple(
        Trace(side, _NAMES[side], " ".join(f"{place(share)},{frame.y(y)}" for share, y in found["percentiles"]))
        for side, found in sides.items()
    )
    xs = tuple(Mark(place(share), f"{share * 100:g} %") for share in shown)
    return Plot("Seconds by percentile", traces, xs, frame.ys)


def _nines(share: float, shown: Sequence[float]) -> float:
    """Its place: 0 at 0, 1 at 50 %, 2 at 90 %, 3 at 99 %, and so on."""
    if share >= shown[-1]:
        return len(shown) - 1.0
    after = next(index for index, one in enumerate(shown) if one > share)
    low, high = shown[after - 1], shown[after]
    return after - 1 + (share - low) / (high - low)
