"""How do several loops of a process hear the same word? Each from a queue of its own, for as long as it listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["Broadcast"]


class Broadcast:
    """Words for whoever listens now; who comes later has missed them."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[str]] = set()

    def tell(self, word: str) -> None:
        """To all of them, without waiting."""
        for listener in self._listeners:
            listener.put_nowait(word)

    async def listen(self) -> AsyncIterator[str]:
        """Word by word, until the iterator is closed."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)
