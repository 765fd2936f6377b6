"""Who may be asked for this call, and who of them is?

A model has a route: the nodes that have it, in tiers of equal priority. The first tier with a node that takes calls,
has room, and whose quota is not used up is asked; the strategy chooses in it. When there is none, the one that will be
ready first is waited for, if that is a matter of quota, and otherwise asked all the same: rather than nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf

from phase1.engine.call import Call
from phase1.engine.node import Node
from phase1.engine.tokens import estimate
from phase1.events import AttemptFinished
from phase1.exceptions import NoNode
from phase1.policy.balancer import SCAN_ALL, Balancer, two_of
from phase1.policy.quota import QuotaDomain, Quotas

__all__ = ["Picker", "Progress", "Tiers"]

_MANY = 1000
_DRAWS = 4
_PREFIX = 512
"""Bytes of a request that tell its conversation: the first messages stay the same."""

Tiers = tuple[tuple[Node, ...], ...]
"""Nodes in the order in which they are asked: those of one tier are equal."""


@dataclass(slots=True, eq=False)
class Progress:
    """One call on its way. `key`: whose it is; `expires_at`: its deadline in the loop's time."""

    call: Call
    expires_at: float
    key: str | None
    model: str
    tiers: Tiers
    asked: set[Node] = field(default_factory=set)
    attempts: int = 0
    waits: int = 0
    repeats: int = 0
    estimated: float = 0.0
    refers: bool = False
    """Whether it may be about something that one account has."""
    searches: bool = False
    """Whether it names something of which nobody knows where it is."""
    trail: list[AttemptFinished] = field(default_factory=list)

    @property
    def tokens(self) -> float:
        """The estimate for the quota."""
        if not self.estimated:
            self.estimated = estimate(self.call.body)
        return self.estimated

    @property
    def conversation(self) -> bytes:
        """What prompt caches go by."""
        return self.key.encode(errors="surrogatepass") if self.key else self.call.body[:_PREFIX]

    def nodes(self) -> Iterator[Node]:
        """Every node of the route."""
        return (node for tier in self.tiers for node in tier)

    def tier_of(self, node: Node) -> tuple[Node, ...]:
        """The tier that `node` is in; empty when it is no longer there."""
        return next((tier for tier in self.tiers if node in tier), ())

    def unasked(self, nodes: Iterable[Node]) -> Iterator[Node]:
        """Those of `nodes` that have not been asked."""
        return (node for node in nodes if node not in self.asked)


class Picker:
    """The choice between `nodes`. `clock` is monotonic, `rng` gives numbers in [0, 1)."""

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        balancer: Balancer,
        quotas: Quotas,
        clock: Callable[[], float],
        rng: Callable[[], float],
    ) -> None:
        self._balancer = balancer
        self._quotas = quotas
        self._clock = clock
        self._rng = rng
        self._routes: dict[str, Tiers] = {}
        self._nodes = tuple(nodes)

    def renew(self, nodes: Sequence[Node]) -> None:
        """Choose between other nodes from now on."""
        self._nodes = tuple(nodes)
        self._routes.clear()

    def route(self, model: str) -> Tiers:
        """The nodes that have `model`, by priority."""
        tiers = self._routes.get(model)
        if tiers is None:
            if len(self._routes) >= _MANY:
                self._routes.clear()  # names come with requests
            tiers = self._routes[model] = _tiers(_route(self._nodes, model))
        return tiers

    def quota(self, node: Node, progress: Progress) -> QuotaDomain:
        """Whose limits a call of this kind meets at `node`."""
        shared = node.spec.quota_domain is not None
        model = "" if shared else node.model_here(progress.model)
        return self._quotas.domain(node.account(progress.call), model, node.limits)

    def usable(self, node: Node, progress: Progress) -> bool:
        """Whether it takes a call that its quota allows, now."""
        now = self._clock()
        return node.takes(now) and self._is_free(node, progress, now)

    def _is_free(self, node: Node, progress: Progress, now: float) -> bool:
        quota = self.quota(node, progress)
        return quota.free(now, tokens=progress.tokens if quota.counts_tokens else 1.0)

    def choose(self, progress: Progress) -> tuple[Node, QuotaDomain] | None:
        """A node that can be asked at once, its quota booked; `None` = there is none."""
        now = self._clock()
        for tier in progress.tiers:
            candidates = self._candidates(tier, progress, now)
            while candidates:
                node = candidates[0] if len(candidates) == 1 else self._pick(candidates, progress, now)
                quota = self.quota(node, progress)
                if quota.try_book(now, tokens=progress.tokens if quota.counts_tokens else 1.0):
                    return node, quota
                candidates = [other for other in candidates if other is not node]
        return None

    def _pick(self, usable: Sequence[Node], progress: Progress, now: float) -> Node:
        key = b"" if self._balancer.compares else progress.conversation
        return self._balancer.pick(usable, now=now, key=key)

    def _candidates(self, tier: Sequence[Node], progress: Progress, now: float) -> Sequence[Node]:
        if len(tier) > SCAN_ALL and self._balancer.compares:
            for _ in range(_DRAWS):
                found = _roomy(two_of(tier, self._rng), progress, now)
                if any(self._is_free(node, progress, now) for node in found):
                    return found
        return _roomy(tier, progress, now)

    async def find(self, progress: Progress) -> tuple[Node, QuotaDomain] | float:
        """The node to ask, its quota booked; or the seconds that are too long to wait for one.

        Raises `NoNode` when every node of the route is drained.
        """
        while True:
            chosen = self.choose(progress)
            if chosen is not None:
                return chosen
            node, wait = self._soonest(progress)
            if wait >= progress.expires_at - asyncio.get_running_loop().time():
                return wait
            quota = self.book(node, progress)
            if wait and not await self._waited(node, quota, progress, wait):
                progress.tiers = self.route(progress.model)  # there may be other nodes by now
                continue
            return node, quota

    async def _waited(self, node: Node, quota: QuotaDomain, progress: Progress, wait: float) -> bool:
        """Wait for what was booked. Whether it still holds: another 429 may have come meanwhile."""
        try:
            await asyncio.sleep(wait)
        except BaseException:
            quota.give_back(tokens=progress.tokens)
            raise
        if quota.cooldown.until <= self._clock() and not (node.rests() or node.drained):
            return True
        quota.give_back(tokens=progress.tokens)
        return False

    def book(self, node: Node, progress: Progress) -> QuotaDomain:
        """Book one request at the node's quota."""
        quota = self.quota(node, progress)
        quota.book(self._clock(), tokens=progress.tokens if quota.counts_tokens else 1.0)
        return quota

    def _soonest(self, progress: Progress) -> tuple[Node, float]:
        left = [node for node in progress.nodes() if not node.drained]
        if not left:
            raise NoNode("every node that has this model is drained")
        fresh = [node for node in left if node not in progress.asked] or left
        available = [node for node in fresh if node.available]
        if available:
            waits = {node: self.wait(node, progress) for node in available}
            node = min(available, key=lambda node: (waits[node], node.spec.priority, node.in_flight / node.share))
            return node, waits[node]
        node = min(fresh, key=lambda node: max(node.off_for(), node.ejected_for(), self.wait(node, progress)))
        return node, self.wait(node, progress)

    def wait(self, node: Node, progress: Progress) -> float:
        """Seconds until the node's quota allows the call and the rest that it has asked for is over."""
        quota = self.quota(node, progress)
        tokens = progress.tokens if quota.counts_tokens else 1.0
        return max(node.rests(), quota.wait(self._clock(), tokens=tokens))

    def first_reset(self, nodes: Iterable[Node], progress: Progress) -> float | None:
        """Seconds until the first of those that are available may be asked; `None` when one need not wait."""
        shortest = min((self.wait(node, progress) for node in nodes if node.available), default=inf)
        return shortest if 0.0 < shortest < inf else None


def _roomy(nodes: Sequence[Node], progress: Progress, now: float) -> Sequence[Node]:
    """Those that take the call and have room for it."""
    return [
        node for node in nodes if node.in_flight < node.limit.value and node.takes(now) and node not in progress.asked
    ]


def _route(nodes: Sequence[Node], model: str) -> Sequence[Node]:
    """Those that declare the model, and those that declare none; `vendor/model` is for those that declare it."""
    declaring = [node for node in nodes if node.models.declares(model)]
    if declaring and "/" in model:
        return declaring
    return [node for node in nodes if not node.models or node in declaring] or nodes


def _tiers(nodes: Sequence[Node]) -> Tiers:
    ordered = sorted(nodes, key=_priority)
    return tuple(tuple(tier) for _, tier in groupby(ordered, key=_priority))


def _priority(node: Node) -> int:
    return node.spec.priority
