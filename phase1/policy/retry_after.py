"""How long does the upstream ask us to wait?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

__all__ = ["retry_after_seconds"]

_PLAIN_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """How many seconds the upstream asks us to wait; `None` if it does not say, or says nothing sensible.

    `retry-after-ms` (OpenAI, Azure) wins over `retry-after` (seconds or an HTTP date). `headers` is looked up in
    lower case; `now` is the wall clock in Unix time. A date in the past says nothing about when to come back (the
    clocks differ, or a cache answered): `None`, as for a negative number, so that the reader's own back-off applies.
    `0` stays `0.0`. How long a wait is believed is the quota's business.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after")
    seconds = _number(value)
    return _until_date(value, now) if seconds is None else seconds


def _number(value: str | None) -> float | None:
    if value is None or not _PLAIN_NUMBER.fullmatch(value.strip()):
        return None
    number = float(value)
    return number if isfinite(number) else None


def _until_date(value: str | None, now: float) -> float | None:
    date = _http_date(value or "")
    wait = -1.0 if date is None else date.timestamp() - now
    return wait if wait >= 0.0 else None


def _http_date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):  # what email.utils raises on junk
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
