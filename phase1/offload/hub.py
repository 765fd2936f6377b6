"""How does a process hear of many journals? Over one connection, which subscribes as readers come and go.

A notification may be lost: with the connection, or because a reader is slow. Then its readers are told to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Self

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from phase1.offload.journal import Cursor, Entry
from phase1.offload.redis_client import RedisClient

__all__ = ["Hub"]

_log = logging.getLogger("phase1")

_KEPT: Final = 64
"""Entries that are kept for a slow reader; the journal has them all."""
_CONFIRM: Final = 2.0
_QUIET: Final = 5.0
"""Seconds without a word after which the connection is asked whether it is there; twice as long: it is not."""
_PAUSE: Final = 0.2


class Hub:
    """The subscriptions of one process. `run` it in a task."""

    def __init__(self, client: RedisClient, control: str) -> None:
        self._client = client
        self._control = control
        self._watches: dict[str, set[_Watch]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._listeners: set[asyncio.Queue[str]] = set()
        self._pubsub: PubSub | None = None

    async def run(self) -> None:
        """Until cancelled. A lost connection is made anew; whatever was missed meanwhile is read from the journals."""
        while True:
            try:
                await self._connection()
            except (RedisError, OSError, TimeoutError) as error:
                _log.debug("offload: notifications are interrupted (%s)", type(error).__name__)
            self._look()
            await asyncio.sleep(_PAUSE)

    async def _connection(self) -> None:
        async with self._client.listener() as redis, redis.pubsub() as pubsub:
            await pubsub.subscribe(self._control, *self._watches)
            self._pubsub = pubsub
            self._look()
            try:
                await self._listen(pubsub)
            finally:
                self._pubsub = None

    async def _listen(self, pubsub: PubSub) -> None:
        heard_at = asked_at = time.monotonic()
        while True:
            message = await pubsub.get_message(timeout=1.0)
            now = time.monotonic()
            if message is not None:
                heard_at = now
                self._heard(message)
            elif now - heard_at > 2 * _QUIET:
                raise TimeoutError
            elif now - max(heard_at, asked_at) > _QUIET:
                asked_at = now
                await pubsub.ping()

    def _heard(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        if message["type"] == "message":
            if channel == self._control:
                for listener in self._listeners:
                    listener.put_nowait(message["data"])
            else:
                self._notify(channel, message["data"])
        elif message["type"] == "subscribe" and channel in self._confirmed:
            self._confirmed[channel].set()

    def _notify(self, channel: str, data: str) -> None:
        watches = self._watches.get(channel)
        if not watches:
            return
        place, _, frame = data.partition(" ")
        cursor = Cursor.parse(place)
        for watch in watches:
            watch.put(Entry(cursor, frame) if cursor else None)

    def _look(self) -> None:
        """To all readers: something may have been missed."""
        for watches in self._watches.values():
            for watch in watches:
                watch.put(None)

    def watch(self, channel: str) -> _Watch:
        """A listener, to be entered."""
        return _Watch(self, channel)

    async def join(self, watch: _Watch) -> None:
        """From its return on nothing is missed; without a connection its reader looks by itself."""
        first = watch.channel not in self._watches
        self._watches.setdefault(watch.channel, set()).add(watch)
        if first:
            self._confirmed[watch.channel] = asyncio.Event()
            await self._say("subscribe", watch.channel)
        if self._pubsub is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONFIRM):
                    await self._confirmed[watch.channel].wait()

    async def leave(self, watch: _Watch) -> None:
        """The last one of a channel unsubscribes."""
        watches = self._watches.get(watch.channel, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(watch.channel, None)
            self._confirmed.pop(watch.channel, None)
            await self._say("unsubscribe", watch.channel)

    async def _say(self, verb: str, channel: str) -> None:
        if self._pubsub is not None:
            with contextlib.suppress(RedisError, OSError):  # the loop of `run` finds out, and subscribes anew
                await getattr(self._pubsub, verb)(channel)

    async def cancellations(self) -> AsyncIterator[str]:
        """See `Journal`."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)


class _Watch:
    """What one reader has heard and not taken yet."""

    def __init__(self, hub: Hub, channel: str) -> None:
        self._hub = hub
        self.channel = channel
        self._heard: deque[Entry] = deque()
        self._look = False
        self._something = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._hub.join(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._hub.leave(self)

    def put(self, entry: Entry | None) -> None:
        """`None`, or one too many: what is kept is dropped, the journal has it."""
        if entry is None or len(self._heard) >= _KEPT:
            self._heard.clear()
            self._look = True
        elif not self._look:
            self._heard.append(entry)
        self._something.set()

    async def next(self, timeout: float) -> Sequence[Entry] | None:
        """See `Watch`."""
        if not self._something.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._something.wait()
            except TimeoutError:
                return None
        heard = () if self._look else tuple(self._heard)
        self._heard.clear()
        self._look = False
        self._something.clear()
        return heard
