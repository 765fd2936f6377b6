"""What do the upstream's headers say about its rate limits?

`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, as OpenAI, Azure, Groq and the gateways send them. A limit that
is not positive says nothing. Nobody says per what time a limit holds (a minute at OpenAI, a day for Groq's requests),
but what is gone and when it will be back do: the rate is (limit - remaining) / reset; without them a minute is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Allowance", "Field", "requests_allowed", "tokens_allowed"]

Field = Callable[[str], str | None]

_REQUESTS: Final = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
_TOKENS: Final = ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_DIGITS: Final = 15
_MINUTE: Final = 60.0
_SHORTEST_RESET: Final = 0.05
"""A reset below this is rounded too much to tell a rate."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit: how many units there may be, how many are left, and how fast they come back."""

    limit: float
    remaining: float
    per_second: float


def requests_allowed(field: Field) -> Allowance | None:
    """The limit of requests; `None` = the header fields say nothing of one. `field` gives one by its name."""
    return _allowance(field, *_REQUESTS)


def tokens_allowed(field: Field) -> Allowance | None:
    """The same of tokens."""
    return _allowance(field, *_TOKENS)


def _allowance(field: Field, limit_name: str, remaining_name: str, reset_name: str) -> Allowance | None:
    limit = _number(field(limit_name))
    if not limit:
        return None
    remaining = _number(field(remaining_name))
    remaining = limit if remaining is None else min(limit, remaining)
    reset = _seconds(field(reset_name))
    known = reset >= _SHORTEST_RESET and remaining < limit
    return Allowance(limit, remaining, (limit - remaining) / reset if known else limit / _MINUTE)


def _number(text: str | None) -> float | None:
    if not text:
        return None
    if text.isdecimal() and text.isascii() and len(text) <= _DIGITS:  # nearly always
        return float(text)
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _seconds(text: str | None) -> float:
    """`6m0s`, `20ms`, `1.5`; 0 when it is none of these."""
    text = (text or "").strip()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return _number(text) or 0.0
