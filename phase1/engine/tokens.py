"""How many tokens does a call use, and which model does it name? Read from the bytes, without parsing them.

An estimate for the quota before the call: a token per four bytes of the request, and what it allows for the answer; the
upstream's `usage` afterwards. A string inside a message cannot be taken for the field: its quotes are escaped.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Final

from phase1.engine.call import StreamSource
from phase1.policy.classify import Outcome

__all__ = ["MeteredStream", "estimate", "model_of", "used"]

_BYTES_PER_TOKEN: Final = 4
_USUAL_ANSWER: Final = 256
"""Tokens of an answer for which the request sets no bound."""
_MODEL: Final = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
_BOUND: Final = re.compile(rb'"max_(?:completion_|output_)?tokens"\s*:\s*([0-9]{1,9})')
_TOTAL: Final = re.compile(rb'"total_tokens"\s*:\s*([0-9]{1,9})')


def model_of(body: bytes) -> str:
    """The model that a request names; empty when it names none."""
    start = body.find(b'"model"')
    match = _MODEL.search(body, start) if start >= 0 else None
    return match[1].decode(errors="replace") if match else ""


def estimate(body: bytes) -> float:
    """Tokens that a request will use."""
    start = body.find(b'"max_')
    match = _BOUND.search(body, start) if start >= 0 else None
    return len(body) / _BYTES_PER_TOKEN + (int(match[1]) if match else _USUAL_ANSWER)


def used(answer: bytes) -> int | None:
    """Tokens that an answer says were used; `None` when it does not say."""
    start = answer.rfind(b'"total_tokens"')
    match = _TOTAL.match(answer, start) if start >= 0 else None
    return int(match[1]) if match else None


class MeteredStream:
    """A stream that tells `on_usage` once what it has used, if it says so."""

    __slots__ = ("_on_usage", "_source")

    def __init__(self, source: StreamSource, on_usage: Callable[[int], None]) -> None:
        self._source = source
        self._on_usage = on_usage

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """What the stream yields."""
        told = False
        async for batch in self._source.batches():
            if not told and (tokens := used(b"".join(batch))) is not None:
                self._on_usage(tokens)
                told = True
            yield batch

    @property
    def begun(self) -> list[bytes]:
        """The stream's."""
        return self._source.begun

    @property
    def ended(self) -> bool:
        """The stream's."""
        return self._source.ended

    @property
    def outcome(self) -> Outcome:
        """The stream's."""
        return self._source.outcome

    async def aclose(self) -> None:
        """Close it."""
        await self._source.aclose()
