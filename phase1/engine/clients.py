"""Which of a node's clients takes the call, and how many are there?

A client is one transport with its own connections. A call takes the one with the fewest calls in flight (of many, of
two drawn by lot). Their number can change while calls are under way: one that has to go takes no new call, and is
closed after its last one. One that nobody has used for a while gives its connections back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from phase1.engine.transport import Transport

__all__ = ["Client", "Clients"]

_SCAN_ALL = 8


@dataclass(slots=True, eq=False)
class Client:
    """One transport of a node, and how many calls are on it. `idle_since`: when it had its last call."""

    transport: Transport
    in_flight: int = 0
    idle_since: float = 0.0
    leaving: bool = False
    fresh: bool = True
    """Whether nobody has used it since its connections were made or given back."""


class Clients:
    """The clients of one node. `make` makes a transport; without it their number is fixed."""

    __slots__ = ("_active", "_closing", "_make", "_rng")

    def __init__(
        self, transports: Sequence[Transport], *, make: Callable[[], Transport] | None, rng: Callable[[], float]
    ) -> None:
        self._active = [Client(transport) for transport in transports]
        self._make = make
        self._rng = rng
        self._closing: set[asyncio.Future[None]] = set()

    def __iter__(self) -> Iterator[Client]:
        return iter(self._active)

    def __len__(self) -> int:
        return len(self._active)

    def __getitem__(self, position: int) -> Client:
        return self._active[position]

    def take(self) -> Client:
        """The client with the fewest calls in flight, one more now. Give it back with `give_back`."""
        active = self._active
        client = min(active, key=_in_flight) if len(active) <= _SCAN_ALL else self._less_busy_of_two()
        client.in_flight += 1
        client.fresh = False
        return client

    def _less_busy_of_two(self) -> Client:
        active, count = self._active, len(self._active)
        first = int(self._rng() * count)
        second = (first + 1 + int(self._rng() * (count - 1))) % count
        return min(active[first], active[second], key=_in_flight)

    def give_back(self, client: Client, now: float) -> None:
        """The call on `client` is over."""
        client.in_flight -= 1
        client.idle_since = now
        if client.leaving and not client.in_flight:
            self._close(client.transport)

    def resize(self, count: int) -> None:
        """Be `count` clients from now on; calls on those that leave go on."""
        while self._make is not None and len(self._active) < count:
            self._active.append(Client(self._make()))
        while len(self._active) > count:
            client = min(self._active, key=_in_flight)
            self._active.remove(client)
            client.leaving = True
            if not client.in_flight:
                self._close(client.transport)

    def close_idle(self, *, before: float) -> int:
        """Give back the connections of clients whose last call was over `before`; how many clients did."""
        idle = [client for client in self._active if not (client.in_flight or client.fresh)]
        idle = [client for client in idle if client.idle_since <= before] if self._make is not None else []
        for client in idle:
            self._close(client.transport)
            client.transport, client.fresh = self._make(), True  # type: ignore[misc]  # not None: see above
        return len(idle)

    def _close(self, transport: Transport) -> None:
        closing = asyncio.ensure_future(_close_quietly(transport))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all of them, also those that are leaving."""
        async with AsyncExitStack() as stack:  # one that fails does not keep the others open
            for client in self._active:
                stack.push_async_callback(client.transport.aclose)
            while self._closing:
                await asyncio.wait(tuple(self._closing))


async def _close_quietly(transport: Transport) -> None:
    with contextlib.suppress(Exception):  # nobody is left who could do anything about it
        await transport.aclose()


def _in_flight(client: Client) -> int:
    return client.in_flight
