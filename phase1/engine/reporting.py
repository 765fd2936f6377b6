"""Where is the outcome of each call made in this context noted? The SDK's exceptions alone do not tell all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from phase1.policy.classify import Outcome

__all__ = ["noting", "report", "reporting"]

reporting: ContextVar[list[Outcome] | None] = ContextVar("phase1_reporting", default=None)
"""The list; `None` = nobody wants to know."""


def report(outcome: Outcome) -> None:
    """Note it."""
    if (outcomes := reporting.get()) is not None:
        outcomes.append(outcome)


@contextmanager
def noting(outcomes: list[Outcome]) -> Iterator[None]:
    """Inside, outcomes are noted there and nowhere else."""
    token = reporting.set(outcomes)
    try:
        yield
    finally:
        reporting.reset(token)
