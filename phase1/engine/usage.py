"""How many tokens did the upstream count, and how much has gone by? Read from the bytes, without parsing them.

What is looked for stands in no string of a JSON document: quotes are escaped there. So the last `"usage"` of an answer
is a key.
"""

from __future__ import annotations

import re

__all__ = ["Flow", "tokens_in"]

_NEAR = 4096
"""Bytes at either end of a body."""
_USUAL = re.compile(
    rb'"usage":\s*\{\s*"(?:prompt|input)_tokens":\s*(\d{1,12}),\s*"(?:completion|output)_tokens":\s*(\d{1,12})'
)
_INPUT = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})')
_OUTPUT = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})')
_USAGE_LENGTH = 1000


class Flow:
    """What has gone by of one streamed answer. `tail` are its last two batches, for the usage in them."""

    __slots__ = ("bytes", "chunks", "tail", "tail_before")

    def __init__(self) -> None:
        self.chunks = 0
        self.bytes = 0
        self.tail: list[bytes] = []
        self.tail_before: list[bytes] = []

    def add(self, batch: list[bytes]) -> None:
        """Some more of it."""
        self.chunks += len(batch)
        for event in batch:
            self.bytes += len(event)
        self.tail_before, self.tail = self.tail, batch

    def tokens(self) -> tuple[int | None, int | None]:
        """Input and output, if the stream has said so at its end. The tail is forgotten: it is content."""
        tail, self.tail, self.tail_before = b"".join([*self.tail_before, *self.tail]), [], []
        return tokens_in(tail)


def tokens_in(body: bytes) -> tuple[int | None, int | None]:
    """Input and output tokens that an answer counts near its end, each `None` when it does not."""
    start = body.rfind(b'"usage"', max(0, len(body) - _NEAR))
    if start < 0:
        return None, None
    usual = _USUAL.match(body, start)
    if usual is not None:
        return int(usual[1]), int(usual[2])
    usage = body[start : start + _USAGE_LENGTH]
    return _number(_INPUT, usage), _number(_OUTPUT, usage)


def _number(pattern: re.Pattern[bytes], usage: bytes) -> int | None:
    found = pattern.search(usage)
    return int(found[1]) if found else None
