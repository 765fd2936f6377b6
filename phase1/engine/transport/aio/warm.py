"""Which connections are at hand? Those that have just been used, by their destination: the next call takes the last.

Giving a connection back to aiohttp's pool, getting it again, and a parser for each answer are a third of an exchange.
So a connection stays here for a moment with its parser, and goes to aiohttp's pool, which knows how long it may be
kept, when nobody has wanted it for a second.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakValueDictionary, ref

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection

__all__ = ["Shelf", "Warm", "is_usable"]

_MOMENT: Final = 1.0
"""Seconds that a connection stays here; two at most."""


class Shelf:
    """The connections to one destination."""

    __slots__ = ("__weakref__", "_kept", "_time", "_warm")

    def __init__(self, warm: Warm) -> None:
        self._warm = warm
        self._time = asyncio.get_running_loop().time
        self._kept: deque[tuple[Connection, float]] = deque()

    def take(self) -> Connection | None:
        """The one that was used last, if it can be used again; `None` = there is none."""
        while self._kept:
            connection, _ = self._kept.pop()
            if is_usable(cast("ResponseHandler", connection.protocol)):
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """An exchange is over; its connection may have an end too."""
        protocol = connection.protocol
        if protocol is None or protocol.should_close:
            connection.close()
        else:
            self._kept.append((connection, self._time()))
            self._warm.filled(self)

    def tidy(self, *, before: float) -> bool:
        """Leave to aiohttp those that nobody has used since. Whether there are others."""
        while self._kept and self._kept[0][1] <= before:
            self._kept.popleft()[0].release()
        return bool(self._kept)

    def forget(self) -> None:
        """Let go of all without closing them."""
        for connection, _ in self._kept:
            connection._protocol = None  # noqa: SLF001 - else it is closed when it is collected
        self._kept.clear()


class Warm:
    """The connections at hand on the running loop."""

    __slots__ = ("__weakref__", "_filled", "_loop", "_shelves", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._shelves: WeakValueDictionary[ConnectionKey, Shelf] = WeakValueDictionary()
        self._filled: set[Shelf] = set()
        self._timer: asyncio.TimerHandle | None = None

    def shelf(self, key: ConnectionKey) -> Shelf:
        """Where the connections to one destination are."""
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf(self)
        return shelf

    def filled(self, shelf: Shelf) -> None:
        """There is something on it: tidy up later."""
        self._filled.add(shelf)
        self._tidy_later()

    def _tidy_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_MOMENT, _tidy, ref(self), context=Context())

    def tidy(self, *, before: float) -> None:
        """Leave to aiohttp those that nobody has used since `before`, in the loop's time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._filled = {shelf for shelf in self._filled if shelf.tidy(before=before)}
        if self._filled:
            self._tidy_later()

    def forget(self) -> None:
        """Let go of all without closing them."""
        for shelf in self._filled:
            shelf.forget()


def _tidy(warm: ref[Warm]) -> None:
    if (found := warm()) is not None:
        found.tidy(before=asyncio.get_running_loop().time() - _MOMENT)


def is_usable(protocol: ResponseHandler) -> bool:
    """Whether a connection that was idle is not at its end, and nothing was said that nobody had asked for."""
    return not protocol.should_close and protocol.is_connected() and not _is_readable(protocol)


def _is_readable(protocol: ResponseHandler) -> bool:
    poll = select.poll()
    poll.register(cast("asyncio.Transport", protocol.transport).get_extra_info("socket"), select.POLLIN)
    return bool(poll.poll(0))
