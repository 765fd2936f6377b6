"""Does a request bring a tester's signed header, `X-LLM-Canary`, and which route does it name (`policy.override`)?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from phase1.policy.override import OverrideFault, read_override

if TYPE_CHECKING:
    from starlette.types import Scope

    from phase1.policy.selection import Route
    from phase1.settings import Settings

__all__ = ["HEADER", "Testers", "testers_of"]

HEADER: Final = "X-LLM-Canary"
_NAME: Final = HEADER.lower().encode()


class Testers:
    """Reads the headers of one app. `seen` counts them: `accepted`, or what was wrong with them."""

    def __init__(self, secret: bytes, seen: Counter[str], *, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._seen = seen
        self._clock = clock

    def route_of(self, scope: Scope) -> Route | None:
        """The route that is asked for; `None` = by nobody, or by a header that does not count: as if it were not there.

        One header only: a second one, which a proxy may have added, makes both malformed.
        """
        lines = [value for name, value in scope["headers"] if name == _NAME]
        if not lines:
            return None
        found = self._read(lines)
        self._seen["accepted" if not isinstance(found, OverrideFault) else found.value] += 1
        return None if isinstance(found, OverrideFault) else found

    def _read(self, lines: list[bytes]) -> Route | OverrideFault:
        if len(lines) > 1:
            return OverrideFault.MALFORMED
        return read_override(lines[0].decode("latin-1").strip(), secret=self._secret, now=self._clock())

    def __repr__(self) -> str:
        return f"<Testers {dict(self._seen)}>"


def testers_of(settings: Settings, seen: Counter[str]) -> Testers | None:
    """`None` without `LLM_CANARY_SECRET`: then no request is looked at."""
    secret = settings.llm_canary_secret
    return Testers(secret.get_secret_value().encode(), seen) if secret is not None else None
