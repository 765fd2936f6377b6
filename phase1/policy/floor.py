"""Does a stream still flow, or does it only trickle?

A stream that says a word now and then is never silent, and would be waited for as long as it likes. So it is given an
account of seconds: waiting for the upstream takes from it, a token puts in the time that it may take at the floor, and
there is never more in it than `grace`. An account that is empty breaks the stream off. Nothing is taken while the
caller reads slowly: only waiting counts.

Providers count tokens at the end, if at all: until then an event is a token, and one more for every 256 bytes of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["Floor", "tokens_of"]

_BYTES_PER_TOKEN: Final = 256
"""An event of a chat stream has about as many bytes of JSON around its token."""


class Floor:
    """One stream's account: `tokens_per_second` is the floor (> 0), `grace` the seconds that a full account has."""

    __slots__ = ("_grace", "_seconds_per_token", "left")

    def __init__(self, tokens_per_second: float, *, grace: float) -> None:
        self._seconds_per_token = 1.0 / tokens_per_second
        self._grace = grace
        self.left = grace
        """Seconds that may be waited for the next token."""

    def waited(self, seconds: float) -> None:
        """The upstream was waited for."""
        self.left -= seconds

    def came(self, tokens: int) -> None:
        """Something has arrived."""
        self.left = min(self._grace, self.left + tokens * self._seconds_per_token)


def tokens_of(events: Iterable[bytes]) -> int:
    """How many tokens some events count for, at least; comments (keep-alives) for none."""
    return sum(1 + len(event) // _BYTES_PER_TOKEN for event in events if not event.startswith(b":"))
