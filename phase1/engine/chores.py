"""What is done for a pool now and then: clients that follow the load, idle connections, checks of health.

Health is what calls show. The check in between asks for the list of models, which costs nothing; it can take a node out
that nobody has asked lately, and never brings one back: only a real answer does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from phase1.engine.call import Call
from phase1.engine.node import Node
from phase1.engine.pool import Pool
from phase1.engine.transport import TransportError
from phase1.policy.scaling import Scaler

__all__ = ["Scaling", "check_health", "close_idle"]

_CHECK = Call("GET", "/models", headers=[("accept", "application/json")])
_PATIENCE = 10.0
_FAULTY = range(500, 600)


def close_idle(pool: Pool, *, before: float) -> None:
    """Give back the connections of clients that had no call since `before`."""
    for node in pool.nodes:
        node.clients.close_idle(before=before)


class Scaling:
    """The number of clients of every node of a pool, between one and what is configured."""

    def __init__(self, pool: Pool, *, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        self._scalers: dict[Node, Scaler] = {}

    def adjust(self, *, waiting: int, frozen: bool) -> None:
        """Decide for every node. `waiting` calls have no place yet: they count as load, by the nodes' places."""
        pool = self._pool
        places = sum(node.capacity for node in pool.nodes)
        self._scalers = {node: self._scaler(node) for node in pool.nodes}
        for node, scaler in self._scalers.items():
            load = node.in_flight + waiting * node.capacity / places
            now = len(node.clients)
            wanted = scaler.decide(self._clock(), current=now, utilisation=load / node.capacity, frozen=frozen)
            if wanted != now:
                node.resize(wanted)
                pool.changed()

    def _scaler(self, node: Node) -> Scaler:
        return self._scalers.get(node) or Scaler(maximum=node.spec.pool_size)


async def check_health(pool: Pool) -> None:
    """Ask every node that has a key of its own for its list of models, and take note of those that fail."""
    await asyncio.gather(*(_check(pool, node) for node in pool.nodes if node.has_key and not node.drained))


async def _check(pool: Pool, node: Node) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            response = await node.clients[0].transport.send(node.aim(_CHECK))
            try:
                await response.read()
            finally:
                await response.aclose()
    except (TimeoutError, TransportError):
        healthy = False
    else:
        healthy = response.status not in _FAULTY
    pool.checked(node, healthy=healthy)
