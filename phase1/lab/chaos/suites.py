"""Which faults are tried, one after the other? A suite is a row of scenarios; each has a pool of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["SUITES", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`nodes`: the fault of each. Nodes of one `domain` share a quota; `settings` differ from the suite's."""

    name: str
    nodes: tuple[str, ...]
    domains: tuple[str | None, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)


def _one_of_three(fault: str) -> Scenario:
    return Scenario(fault, (fault, "healthy", "healthy"))


_ALONE: Final = (
    "healthy",
    "refuses connections",
    "hangs",
    "hangs midway",
    "500",
    "500 in bursts",
    "flip-flop",
    "429, Retry-After",
    "429, retry-after-ms",
    "429, HTTP date",
    "429, date in the past",
    "429, a whole day",
    "429, no header",
    "401",
    "trickles",
    "slow",
    "error in band",
    "cut before a word",
    "truncates streams",
    "HTML",
)

SUITES: Final[Mapping[str, tuple[Scenario, ...]]] = {
    "nodes": (
        *(_one_of_three(fault) for fault in _ALONE),
        Scenario("one dead of four", ("refuses connections", "healthy", "healthy", "healthy")),
        Scenario("shared quota used up", ("429, Retry-After", "healthy", "healthy"), ("org", "org", None)),
        Scenario("all of them 500", ("500", "500", "500")),
    ),
}
