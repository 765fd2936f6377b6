"""How did the calls of the arms go? Sums that can be added and taken from each other, and blocks to compare by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from phase1.policy.canary import Arm, Canary

__all__ = ["ArmSums", "Block", "Blocks", "Observed", "is_lopsided"]

_FEWEST: Final = 100
_TOO_UNLIKELY: Final = 24.0
"""Chi-squared of one degree of freedom for a chance of one in a million: it is looked at again and again."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One call that is over. `waited`: its time as a share of the deadline, 0 … 1; `None` = it is not known."""

    arm: Arm
    bucket: int
    failed: bool
    waited: float | None = None
    empty: bool = False
    throttled: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class ArmSums:
    """Many calls of one arm. `seen` has a bit for each bucket that was among them."""

    calls: int = 0
    failed: int = 0
    timed: int = 0
    waited: float = 0.0
    empty: int = 0
    throttled: int = 0
    tokens: int = 0
    seen: int = 0

    def __add__(self, other: ArmSums) -> ArmSums:
        return ArmSums(
            self.calls + other.calls,
            self.failed + other.failed,
            self.timed + other.timed,
            self.waited + other.waited,
            self.empty + other.empty,
            self.throttled + other.throttled,
            self.tokens + other.tokens,
            self.seen | other.seen,
        )

    def __sub__(self, before: ArmSums) -> ArmSums:
        """What has come since `before`. Buckets stay: who has been seen has been seen."""
        return ArmSums(
            self.calls - before.calls,
            self.failed - before.failed,
            self.timed - before.timed,
            self.waited - before.waited,
            self.empty - before.empty,
            self.throttled - before.throttled,
            self.tokens - before.tokens,
            self.seen,
        )

    def with_one(self, one: Observed) -> ArmSums:
        """And one call more."""
        return ArmSums(
            self.calls + 1,
            self.failed + one.failed,
            self.timed + (one.waited is not None),
            self.waited + (one.waited or 0.0),
            self.empty + one.empty,
            self.throttled + one.throttled,
            self.tokens + one.tokens,
            self.seen | 1 << one.bucket,
        )

    @property
    def buckets(self) -> int:
        """How many different ones."""
        return self.seen.bit_count()

    def state(self) -> list[object]:
        """As JSON has it."""
        sums = (self.calls, self.failed, self.timed, self.waited, self.empty, self.throttled, self.tokens)
        return [*sums, f"{self.seen:x}"]

    @classmethod
    def restored(cls, state: Sequence[object]) -> ArmSums:
        """From `state`. Raises `ValueError` or `TypeError` for anything else."""
        calls, failed, timed, waited, empty, throttled, tokens, seen = state
        whole = [int(each) for each in (calls, failed, timed, empty, throttled, tokens)]  # type: ignore[call-overload]
        seconds, buckets = float(waited), int(str(seen), 16)  # type: ignore[arg-type]
        if min(*whole, seconds, buckets) < 0 or not isfinite(seconds):
            raise ValueError(f"sums={state!r:.60}: none may be negative")
        return cls(whole[0], whole[1], whole[2], seconds, whole[3], whole[4], whole[5], buckets)


@dataclass(frozen=True, slots=True)
class Block:
    """How much worse the canary's calls of a block were, on the mean, in each metric: -1 … 1; `None` = not known."""

    failed: float
    empty: float
    seconds: float | None

    def state(self) -> list[float | None]:
        """As JSON has it."""
        seconds = None if self.seconds is None else round(self.seconds, 5)
        return [round(self.failed, 5), round(self.empty, 5), seconds]

    @classmethod
    def restored(cls, state: Sequence[float | None]) -> Block:
        """From `state`. Raises `ValueError` or `TypeError` for anything else."""
        failed, empty, seconds = state
        block = cls(float(failed), float(empty), None if seconds is None else float(seconds))  # type: ignore[arg-type]
        if not all(-1.0 <= each <= 1.0 for each in (block.failed, block.empty, block.seconds or 0.0)):
            raise ValueError(f"block={state!r:.60}: must be between -1 and 1")
        return block


class Blocks:
    """Makes blocks of calls, in the order in which they end. A block is there as soon as each arm has a call."""

    def __init__(self) -> None:
        self._waiting = {Arm.CANARY: ArmSums(), Arm.CONTROL: ArmSums()}

    def add(self, one: Observed) -> Block | None:
        """One call is over; the block that it completes, if it does."""
        waiting = self._waiting
        waiting[one.arm] = waiting[one.arm].with_one(one)
        canary, control = waiting[Arm.CANARY], waiting[Arm.CONTROL]
        if not canary.calls or not control.calls:
            return None
        self._waiting = {Arm.CANARY: ArmSums(), Arm.CONTROL: ArmSums()}
        timed = canary.timed and control.timed
        return Block(
            canary.failed / canary.calls - control.failed / control.calls,
            canary.empty / canary.calls - control.empty / control.calls,
            canary.waited / canary.timed - control.waited / control.timed if timed else None,
        )


def is_lopsided(canary: Canary, one: ArmSums, other: ArmSums) -> bool:
    """Whether canary (`one`) and control (`other`) have been heard of in another proportion than they were drawn.

    Then something is lost on the way, calls that never end for example, and what is left cannot be compared. Buckets
    are counted and not calls: a user who asks all day long is one.
    """
    heard = one.buckets + other.buckets
    if heard < _FEWEST or not canary.covered or not canary.controls:
        return False
    expected = heard * canary.covered / (canary.covered + canary.controls)
    distance = (one.buckets - expected) ** 2
    return distance / expected + distance / (heard - expected) > _TOO_UNLIKELY
