"""Which chores does a pool need, by the settings, and what does a new list of nodes mean for it?"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from phase1.engine.caretaker import Caretaker
from phase1.engine.chores import Scaling, check_health, close_idle
from phase1.engine.fleet import renewed
from phase1.engine.nodes_watch import NodesWatch
from phase1.policy.breaker import BreakerState
from phase1.policy.scaling import PERIOD

if TYPE_CHECKING:
    from phase1.engine.binding import Binding
    from phase1.engine.manager import Manager
    from phase1.engine.pool import Pool

__all__ = ["apply_nodes", "look", "on_loop", "take_care"]

_LOOK = 1.0
"""Seconds between two looks at the files that list the nodes."""


def take_care(manager: Manager, binding: Binding, pool: Pool) -> Caretaker:
    """Start the chores of one binding."""
    caretaker, settings = Caretaker(), manager.settings
    interval = settings.pool_cleanup_interval
    caretaker.every(interval, lambda: close_idle(pool, before=manager.clock() - interval))
    if settings.auto_scaling:
        caretaker.every(PERIOD, partial(_scale, manager, binding, Scaling(pool, clock=manager.clock)))
    if settings.enable_load_balancer:
        caretaker.every(settings.llm_health_check_interval, lambda: check_health(pool))
    if manager.nodes_watch is not None:
        caretaker.every(_LOOK, lambda: look(manager, manager.nodes_watch))
    return caretaker


def _scale(manager: Manager, binding: Binding, scaling: Scaling) -> None:
    frozen = manager.breaker.state is not BreakerState.ACTIVE or (
        binding.pool is not None and binding.pool.quotas.cooling()
    )
    scaling.adjust(waiting=binding.admission.waiting, frozen=frozen)


def look(manager: Manager, watch: NodesWatch | None) -> None:
    """Take the new nodes, if there are some, in every binding."""
    specs = watch.look() if watch is not None else None
    if specs is not None:
        manager.renew(specs)


def apply_nodes(manager: Manager, pool: Pool) -> None:
    """Let `pool` work with the manager's nodes as they are now. On the pool's own loop."""
    nodes = renewed(pool.nodes, manager.nodes, manager.build_node)
    for node in nodes:
        if node.drained and node.name not in manager.drained:
            node.revive()
        elif node.name in manager.drained:
            node.drain()
    pool.renew(nodes)


def on_loop(loop: asyncio.AbstractEventLoop, work: partial[None]) -> None:
    """Do it now if this is the running loop, else as soon as that one can."""
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        work()
    else:
        loop.call_soon_threadsafe(work)
