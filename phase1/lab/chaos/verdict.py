"""Has an app stood a fault? Only what can be seen from outside decides.

Every request is answered, or honestly refused, within the deadline; nobody else waits; what was taken is given back;
and after the fault everybody is served again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LIVENESS", "MEMORY", "RECOVERY", "Allowance", "Observation", "Problem", "problems_of"]

LIVENESS: Final = 3.0
"""Seconds after which an app that does not answer its health check is taken for dead."""
RECOVERY: Final = 1.5
"""Deadlines within which everybody is served again: one for what is under way, half of one for the next answer."""
MEMORY: Final = 48.0
"""MB that may be new after a fault: what was imported and filled with the first errors. A leak goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a fault excuses. `standstill`: seconds of the loop; `losses`: connections that break with a process."""

    standstill: float = 0.0
    losses: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one app in one case; times in seconds.

    `errors`: honest ones by status. `slowest`: the longest that a user waited; `liveness`: the longest that another
    route took. `recovery`: from the end of the fault until everybody has been answered again; `None` = not in time.
    `held`: requests that the app still holds when nobody asks any more, `upstream`: those at the endpoints,
    `sockets`: those that nobody accounts for; `memory`: MB that are new; `asked`: requests that reached the endpoints.
    """

    deadline: float
    requests: int
    answered: int
    half: int = 0
    late: int = 0
    lost: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    slowest: float = 0.0
    liveness: float = 0.0
    recovery: float | None = None
    held: int = 0
    upstream: int = 0
    sockets: int = 0
    memory: float = 0.0
    asked: int = 0

    @property
    def left(self) -> int:
        """All that was not given back."""
        return self.held + self.upstream + self.sockets


@dataclass(frozen=True, slots=True)
class Problem:
    """What should not have been: a word for a table, and a few more."""

    kind: str
    text: str


def problems_of(seen: Observation, allowance: Allowance) -> tuple[Problem, ...]:
    """All that should not have been; none = passed."""
    late = f"{seen.late} of {seen.requests} without an answer after {seen.deadline:g} s"
    judged = (
        (not seen.requests, "idle", "nobody has asked anything"),
        (seen.late, "late", late),
        (seen.half, "half", f"{seen.half} half answers that look like whole ones"),
        (seen.lost > allowance.losses, "lost", f"{seen.lost} connections broken off"),
        (seen.liveness > LIVENESS + allowance.standstill, "blocked", f"other routes waited {seen.liveness:.1f} s"),
        (seen.recovery is None, "down", f"not everybody is served {RECOVERY * seen.deadline:g} s after the fault"),
        (seen.held, "stuck", f"{seen.held} requests stuck in the app"),
        (seen.upstream, "stuck", f"{seen.upstream} requests stuck at an endpoint"),
        (seen.sockets, "sockets", f"{seen.sockets} sockets left open"),
        (seen.memory > MEMORY, "memory", f"{seen.memory:.0f} MB more memory"),
    )
    return tuple(Problem(kind, text) for bad, kind, text in judged if bad)
