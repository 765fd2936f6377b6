"""Is the canary worse than its control, or not worse by more than a margin? Evidence that may be looked at any time.

A test that is made once may not be repeated until it says what one fears: a z-test looked at after each request rolls
a quarter of all healthy canaries back. A betting e-process may: it is the wealth of somebody who bets, before each
block, that the canary is worse. If it is not, his bets are fair or worse, and the chance that his wealth *ever* reaches
1/alpha is at most alpha (Ville's inequality), however often one looks.

    D = mean outcome of the canary - mean outcome of the control, of one block    (outcomes lie in 0 … 1)
    x = side · (D - δ)                         side +1: bets on worse; -1: bets on not worse than δ
    λ = clip(mean / (var + mean²), 0, c / (1 + |δ|))                              (from past blocks only)
    log e += log(1 + λ · x)

Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686, its
approximation of the growth-optimal bet. The first bet needs a past: there is one block of mean 0.1 and variance 1/4.

A block holds at least one outcome of each arm: all that one worker has seen since its last block. Which outcomes those
are depends on when they came, not on what they are, so that D is fair when both arms are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log, log1p
from typing import Final

__all__ = ["EProcess", "threshold"]

_MEAN: Final = 0.1
_VARIANCE: Final = 0.25


def threshold(alpha: float, tests: int) -> float:
    """The log e at which one of `tests` tests rejects, so that all of them together err with probability ≤ `alpha`."""
    return log(tests / alpha)


@dataclass(slots=True)
class EProcess:
    """One bettor. `side` +1 bets that the canary is worse by more than `margin`, -1 that it is worse by less.

    `cap` (below 1) is the share of the wealth that may be lost in one block.
    """

    side: int
    margin: float
    cap: float
    log_e: float = 0.0
    blocks: int = 0
    total: float = 0.0
    """Sum of x."""
    spread: float = 0.0
    """Sum of squared distances from the running mean."""

    @classmethod
    def worse(cls, margin: float = 0.0) -> EProcess:
        """For a roll-back."""
        return cls(side=1, margin=margin, cap=0.9)

    @classmethod
    def not_worse(cls, margin: float) -> EProcess:
        """For a promotion."""
        return cls(side=-1, margin=margin, cap=0.5)

    @property
    def bet(self) -> float:
        """λ of the next block."""
        seen = self.blocks + 1
        mean, variance = (_MEAN + self.total) / seen, (_VARIANCE + self.spread) / seen
        return min(max(mean / (variance + mean * mean), 0.0), self.cap / (1.0 + abs(self.margin)))

    def add(self, difference: float) -> float:
        """Take one block's D, -1 … 1. Returns log e."""
        x = self.side * (difference - self.margin)
        self.log_e += log1p(self.bet * x)
        self.blocks += 1
        self.total += x
        self.spread += (x - (_MEAN + self.total) / (self.blocks + 1)) ** 2
        return self.log_e

    def state(self) -> list[float]:
        """What has to be remembered, as JSON has it."""
        return [self.log_e, self.blocks, self.total, self.spread]

    def restore(self, state: Sequence[float]) -> None:
        """Go on from there. Raises `ValueError` for what no `state` has given."""
        log_e, blocks, total, spread = map(float, state)
        if not all(map(isfinite, (log_e, blocks, total, spread))) or blocks < 0 or spread < 0:
            raise ValueError(f"evidence={state!r:.60}: four finite numbers are needed")
        self.log_e, self.blocks, self.total, self.spread = log_e, int(blocks), total, spread
