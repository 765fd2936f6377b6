"""How did the pool's copies differ from legacy's answers? Counts and sums only, so that several workers add up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from phase1.engine.histogram import SECONDS, Histogram
from phase1.policy.comparison import compare

if TYPE_CHECKING:
    from phase1.policy.comparison import Answered

__all__ = ["DROPS", "LIKENESS", "Report"]

LIKENESS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Bounds of the histogram of similarity."""
DROPS: Final = (
    "breaker",
    "budget",
    "busy",
    "closed",
    "no_model",
    "no_price",
    "refused",
    "too_large",
    "unfit",
    "unreadable",
)
"""Why a sampled call was not compared."""
_SAID: Final = "none"


class Report:
    """What came of the calls that were sampled. One writer at a time; may be read from any thread."""

    def __init__(self) -> None:
        self.sampled = 0
        self.dropped: Counter[str] = Counter()
        self.statuses: Counter[tuple[str, str]] = Counter()
        """(legacy's, the pool's)."""
        self.finish_reasons: Counter[tuple[str, str]] = Counter()
        """The same, of calls that both sides answered."""
        self.same: Counter[tuple[str, bool]] = Counter()
        """(what was compared, whether it was the same)."""
        self.tokens: Counter[tuple[str, str]] = Counter()
        """(route, `input` or `output`), of calls where both sides have counted."""
        self.seconds = {"legacy": Histogram(SECONDS), "pool": Histogram(SECONDS)}
        self.similarity = Histogram(LIKENESS)

    @property
    def compared(self) -> int:
        """How many calls."""
        return sum(dict(self.statuses).values())

    def add(self, legacy: Answered, pool: Answered) -> None:
        """Count two answers to one question."""
        found = compare(legacy, pool)
        self.statuses[legacy.status, pool.status] += 1
        self.same["status", found.same_status] += 1
        self.seconds["legacy"].observe(legacy.seconds)
        self.seconds["pool"].observe(pool.seconds)
        if found.same_finish_reason is not None:
            self.same["finish_reason", found.same_finish_reason] += 1
            self.finish_reasons[legacy.finish_reason or _SAID, pool.finish_reason or _SAID] += 1
        if found.similarity is not None:
            self.similarity.observe(found.similarity)
        self._add_tokens(legacy, pool)

    def _add_tokens(self, legacy: Answered, pool: Answered) -> None:
        if legacy.output_tokens is None or pool.output_tokens is None:
            return
        for route, said in (("legacy", legacy), ("pool", pool)):
            self.tokens[route, "input"] += said.input_tokens or 0
            self.tokens[route, "output"] += said.output_tokens or 0

    def document(self) -> dict[str, object]:
        """As a page shows it."""
        return {
            "sampled": self.sampled,
            "compared": self.compared,
            "dropped": dict(self.dropped),
            "statuses": _pairs(self.statuses),
            "finish_reasons": _pairs(self.finish_reasons),
            "tokens": {
                route: {kind: self.tokens[route, kind] for kind in ("input", "output")} for route in ("legacy", "pool")
            },
            "seconds": {route: _of(histogram) for route, histogram in self.seconds.items()},
            "similarity": {**_of(self.similarity), "bounds": list(LIKENESS), "counts": list(self.similarity.counts)},
        }

    def __repr__(self) -> str:
        return f"<Report {self.sampled} sampled, {self.compared} compared>"


def _pairs(counted: Counter[tuple[str, str]]) -> list[dict[str, object]]:
    return [{"legacy": legacy, "pool": pool, "count": count} for (legacy, pool), count in dict(counted).items()]


def _of(histogram: Histogram) -> dict[str, float]:
    return {"count": histogram.count, "sum": histogram.total}
