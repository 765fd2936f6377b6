"""Which keys belong to the canary?

The assignment is GrowthBook's hash v2: `n = fnv1a32(str(fnv1a32(salt + key)))`, bucket `n % 10000`, and the pool gets
the buckets below the percent. So the same key always has the same bucket, a rising percent never removes a key and a
falling one never adds one.

Two divergences from GrowthBook's JavaScript: text is hashed as UTF-8 (theirs: UTF-16 code units; equal for ASCII),
and a text of more than 1 KiB is first shortened to its BLAKE2b digest. FNV in pure Python takes about 60 ns a byte: a
key of one megabyte would stop the event loop for a twentieth of a second. Long keys are as sticky and as evenly
spread as others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

__all__ = ["BUCKETS", "Arm", "Canary", "bucket"]

BUCKETS: Final = 10_000
_HALF: Final = BUCKETS // 2
_LONG: Final = 1024


@lru_cache(maxsize=4096)  # users come back
def bucket(key: str, *, salt: str) -> int:
    """The bucket of `key`, 0 … 9999. Lone surrogates are welcome: keys come from headers and cookies."""
    text = f"{salt}{key}".encode(errors="surrogatepass")
    if len(text) > _LONG:
        text = blake2b(text, digest_size=16).hexdigest().encode()
    return _fnv1a32(str(_fnv1a32(text)).encode()) % BUCKETS


def _fnv1a32(data: bytes) -> int:
    """http://www.isthe.com/chongo/tech/comp/fnv/."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


class Arm(StrEnum):
    """Which part of the experiment a key is in, whoever answers in the end."""

    CANARY = "canary"
    CONTROL = "control"
    """On legacy, and as many as the canary while there are enough: what the canary is compared with."""
    OUTSIDE = "outside"
    """In neither: on legacy, without a key, or sent somewhere by something else than its bucket."""


@dataclass(frozen=True, slots=True)
class Canary:
    """The covered share of all keys: `percent` of the buckets, in steps of 0.01, from bucket 0 on.

    `salt` is `flag:epoch`; another epoch draws the keys anew, which only an operator should do. `stale`: the percent
    is the last one that was known, for the store that several workers share is away.
    """

    percent: float
    salt: str = "llm-pool:0"
    stale: bool = field(default=False, repr=False)
    covered: int = field(init=False, repr=False, compare=False)
    """How many buckets are covered, 0 … 10000: comparisons are made on integers."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.percent <= 100.0:  # noqa: PLR2004 - a percentage
            raise ValueError(f"percent={self.percent}: must be between 0 and 100")
        object.__setattr__(self, "covered", round(self.percent * 100))

    def bucket(self, key: str) -> int:
        """The bucket of `key` under this canary's salt."""
        return bucket(key, salt=self.salt)

    def covers(self, bucket: int) -> bool:
        """Whether the bucket belongs to the canary."""
        return bucket < self.covered

    def arm(self, bucket: int) -> Arm:
        """Canary and control are asked at the same time, so that a bad hour of the provider is not the canary's fault.

        Up to 50 % the control arm is the first part of the other half, as large as the canary; above, it is all the
        rest. Whom a rising percent takes out of the control arm goes to the canary, and only above 50 %.
        """
        covered = self.covered
        if bucket < covered:
            return Arm.CANARY
        control = _HALF <= bucket < _HALF + covered or covered > _HALF
        return Arm.CONTROL if control else Arm.OUTSIDE

    @property
    def controls(self) -> int:
        """How many buckets the control arm has."""
        return min(self.covered, BUCKETS - self.covered)

    def share(self, bucket: int) -> float:
        """Where the bucket lies inside the covered part: 0 <= share < 1 when covered, else 1.

        While the breaker ramps up it admits the requests with `share < ramp`, so the same keys come back first.
        """
        return bucket / self.covered if self.covers(bucket) else 1.0
