"""How does a pool get other nodes while calls are under way?

By name: a node that stays keeps its connections and what is known about it, and takes its new key, weight or limits at
once; calls under way end with the old ones. One that is at another address now, or is gone, gets no new call, and its
clients are closed after their last one. So a key can be changed without a failed request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from phase1.engine.node import Node, NodeSpec

__all__ = ["renewed"]


def renewed(nodes: Iterable[Node], specs: Sequence[NodeSpec], build: Callable[[NodeSpec], Node]) -> tuple[Node, ...]:
    """The nodes for `specs`, as many of `nodes` as can stay; the others are retired. `build` makes a new one."""
    known = {node.name: node for node in nodes}
    fleet = tuple(_renewed(known.get(spec.name), spec, build) for spec in specs)
    for node in known.values():
        if node not in fleet:
            node.retire()
    return fleet


def _renewed(node: Node | None, spec: NodeSpec, build: Callable[[NodeSpec], Node]) -> Node:
    if node is None or node.spec.base_url != spec.base_url:
        return build(spec)
    node.reconfigure(spec)
    return node
