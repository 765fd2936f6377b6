"""How does a tester ask for a route? With a signed line that ends by itself: `pool.1764190000.9c1f…`.

    route "." second at which it ends (Unix time) "." HMAC-SHA256 of both under the operator's secret, in hex

Whoever holds the line holds the route until then, and nothing else: it names no user and opens no page. Every line
dies with the secret.
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from typing import Final

from phase1.policy.selection import Route

__all__ = ["LONGEST_SECONDS", "OverrideFault", "read_override", "sign_override"]

LONGEST_SECONDS: Final = 30 * 86_400
"""A line is a stick in somebody's browser: it is not made for longer than a month."""

_FORM: Final = re.compile(r"(pool|legacy)\.([1-9][0-9]{0,14})\.([0-9a-f]{64})")
_PURPOSE: Final = "phase1 route override"
"""Signed too: what the same secret signs elsewhere is no override."""


class OverrideFault(StrEnum):
    """Why a line does not count."""

    MALFORMED = "malformed"
    FORGED = "forged"
    EXPIRED = "expired"


def sign_override(route: Route, *, secret: bytes, now: float, seconds: float) -> str:
    """A line for `route`, good for `seconds` from `now` on. Raises `ValueError`: more than 0, at most 30 days."""
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError(f"{seconds:g} seconds: must be more than 0 and at most {LONGEST_SECONDS}")
    ends = int(now + seconds)
    return f"{route}.{ends}.{_signature(route, str(ends), secret)}"


def read_override(line: str, *, secret: bytes, now: float) -> Route | OverrideFault:
    """The route that `line` asks for, or why it does not count. Compared in constant time; forged before expired."""
    found = _FORM.fullmatch(line)
    if found is None:
        return OverrideFault.MALFORMED
    route, ends, signature = found.groups()
    if not hmac.compare_digest(signature, _signature(route, ends, secret)):
        return OverrideFault.FORGED
    return Route(route) if now < int(ends) else OverrideFault.EXPIRED


def _signature(route: str, ends: str, secret: bytes) -> str:
    return hmac.digest(secret, f"{_PURPOSE}\n{route}\n{ends}".encode(), "sha256").hex()
