"""What is a task called? 128 random bits and a tag: an id that we did not make dies before anything is looked up.

The id is no authorisation: whose task it is stands in the journal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

__all__ = ["Signer"]

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = 22
"""Base-62 digits of 128 bits."""
_TAG: Final = 11
"""Base-62 digits of 64 bits."""


class Signer:
    """Makes and checks what carries a tag: ids, cookies, queue messages. `secret` is at least 16 bytes."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new_id(self, *, prefix: str = "t", randomness: Callable[[int], int] = secrets.randbits) -> str:
        """A fresh id, 34 letters and digits. `prefix` is one letter: where the task lives."""
        body = prefix + _base62(randomness(128), _BODY)
        return body + self.tag("id", body)

    def is_ours(self, text: str) -> bool:
        """Whether `new_id` of somebody with the same secret has made it."""
        if len(text) != 1 + _BODY + _TAG or not text.isascii() or not text.isalnum():
            return False
        return hmac.compare_digest(text[-_TAG:], self.tag("id", text[:-_TAG]))

    def tag(self, purpose: str, text: str) -> str:
        """64 bits that nobody without the secret can make; a tag for one purpose is none for another."""
        digest = hmac.digest(self._secret, f"{purpose}\0{text}".encode(), hashlib.sha256)
        return _base62(int.from_bytes(digest[:8]), _TAG)

    def verify(self, purpose: str, text: str, tag: str) -> bool:
        """Whether `tag` is that of `text`."""
        return hmac.compare_digest(tag.encode(), self.tag(purpose, text).encode())


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
