"""How is a stream broken off that falls below a floor of tokens per second? What counts is `policy.floor`'s to say."""

from __future__ import annotations

import asyncio
from typing import Protocol

from phase1.engine.transport import WireResponse
from phase1.policy.classify import Outcome
from phase1.policy.floor import Floor, tokens_of

__all__ = ["BelowFloor", "Paced", "Source"]


class BelowFloor(TimeoutError):
    """The stream trickles."""


class Source(Protocol):
    """The rest of a stream, as `engine.attempt` reads it."""

    response: WireResponse
    held: list[bytes]

    @property
    def last_word(self) -> bytes | None:
        """What is said where it broke, if there is a way to say it."""

    @property
    def said(self) -> Outcome | None:
        """What it came to by its own words."""

    async def more(self) -> list[bytes]:
        """What came next; empty at the end."""

    def final(self) -> Outcome:
        """What it came to, at its end."""


class Paced:
    """A source that raises `BelowFloor` when it falls below `floor`."""

    def __init__(self, source: Source, floor: Floor) -> None:
        self._source = source
        self._floor = floor
        self._clock = asyncio.get_running_loop().time
        self.response = source.response
        self.held = source.held
        self.last_word = source.last_word

    @property
    def said(self) -> Outcome | None:
        """The source's."""
        return self._source.said

    async def more(self) -> list[bytes]:
        """The source's."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._floor.left) as clock:
                events = await self._source.more()
        except TimeoutError as exc:
            if not clock.expired():
                raise
            raise BelowFloor from exc
        self._floor.waited(self._clock() - began)
        self._floor.came(tokens_of(events))
        return events

    def final(self) -> Outcome:
        """The source's."""
        return self._source.final()
