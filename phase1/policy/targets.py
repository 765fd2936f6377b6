"""Which keys have a route of their own, whatever the percent says? The operator's allow list and deny list.

Only digests are kept: a list may be written as digests (`sha256:` and 64 hex digits, what `printf %s KEY | sha256sum`
says), so that no file, page or memory dump has the users' names in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

__all__ = ["Targets", "digests_of"]

_DIGEST: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LONGEST: Final = 1024


@dataclass(frozen=True, slots=True, repr=False)
class Targets:
    """The keys that always go to the pool, and those that never do. A key on both lists is denied."""

    allowed: frozenset[bytes] = frozenset()
    denied: frozenset[bytes] = frozenset()

    def goes_to_pool(self, key: str) -> bool | None:
        """Whether `key` goes to the pool; `None` = it is on no list."""
        digest = _digest(key)
        if digest in self.denied:
            return False
        return True if digest in self.allowed else None

    def __repr__(self) -> str:
        return f"<Targets {len(self.allowed)} allowed, {len(self.denied)} denied>"


def digests_of(listed: str) -> frozenset[bytes]:
    """A list as it is written: keys, or digests of keys, separated by commas.

    Raises `ValueError`, which names the entry by its place: what stands there may be a user.
    """
    return frozenset(_entry(number, text.strip()) for number, text in enumerate(listed.split(","), start=1))


def _entry(number: int, text: str) -> bytes:
    if not text:
        raise ValueError(f"entry {number} is empty; allowed: keys or sha256:DIGEST, separated by commas")
    if not text.startswith("sha256:"):
        return _key(number, text)
    if (found := _DIGEST.fullmatch(text)) is None:
        raise ValueError(f"entry {number} must be sha256: and 64 hex digits (printf %s KEY | sha256sum)")
    return bytes.fromhex(found[1])


def _key(number: int, text: str) -> bytes:
    if len(text) > _LONGEST:
        raise ValueError(f"entry {number} must be at most {_LONGEST} characters long; a digest may stand for it")
    return _digest(text)


@lru_cache(maxsize=4096)  # users come back
def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()
