"""How did the request that was let in end?"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from phase1.exceptions import Refused
from phase1.policy.classify import Verdict

__all__ = ["Permit"]


class Permit:
    """Leave to use the pool once, stamped with the breaker's generation; given back exactly once.

    As a context manager it gives itself back with FAILURE when an error passes. It does so with NEUTRAL when nobody
    said anything, when the error is a local refusal, and when the block is left by what is no `Exception`
    (cancellation, generator exit, shutdown).
    """

    __slots__ = ("_take_back", "counted", "generation", "lease", "released")

    def __init__(
        self, take_back: Callable[[Permit, Verdict], None], generation: int, *, lease: int | None, counted: bool
    ) -> None:
        self._take_back = take_back
        self.generation = generation
        self.lease = lease
        self.counted = counted
        self.released = False

    @property
    def probe(self) -> bool:
        """Whether this request alone decides how the breaker goes on."""
        return self.lease is not None

    def release(self, verdict: Verdict) -> None:
        """Tell how the request ended. Later calls do nothing."""
        self._take_back(self, verdict)

    def __enter__(self) -> Self:
        """Use as `with permit:`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was not given back inside the block."""
        self._take_back(self, _verdict_of(error))

    def __repr__(self) -> str:
        """Live state."""
        kind = "probe, " if self.probe else ""
        return f"<Permit {kind}generation={self.generation}, {'released' if self.released else 'out'}>"


def _verdict_of(error: BaseException | None) -> Verdict:
    failed = isinstance(error, Exception) and not isinstance(error, Refused)
    return Verdict.FAILURE if failed else Verdict.NEUTRAL
