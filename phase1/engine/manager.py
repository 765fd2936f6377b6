"""May this call use the pool, what did it come to, and what does the breaker learn from it?

    permit (breaker) → a place (admission) → the pool's failover loop → one verdict → permit and place given back

The manager owns what outlives a loop: settings, breaker, canary, events, numbers. Everything with a connection is in
`binding`. Doors ask `select` once per app request and `send` once per API call.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from phase1.engine.admission import Admission
from phase1.engine.answers import MemoryStore, Store
from phase1.engine.attempt import Attempt, Clocks
from phase1.engine.binding import Binding, Bindings
from phase1.engine.call import Answer, AnswerStream, Call
from phase1.engine.homes import DEFAULT_BASE_URL, Homes
from phase1.engine.log import DecisionLog, OperatorLog
from phase1.engine.node import Node, NodeSpec
from phase1.engine.nodes_watch import NodesWatch
from phase1.engine.pool import Pool, PoolResult
from phase1.engine.repeats import Repeats, Rules
from phase1.engine.reporting import reporting
from phase1.engine.tally import Tally
from phase1.engine.targeting import targets_of
from phase1.engine.tokens import model_of
from phase1.engine.transport import Transport
from phase1.engine.transport.choice import transport_factory
from phase1.engine.upkeep import apply_nodes, look, on_loop, take_care
from phase1.engine.usage import Flow, tokens_in
from phase1.events import BreakerChanged, CallFinished, Events, Rejected, Routed, StreamBroken
from phase1.exceptions import CircuitOpen, DeadlineExceeded, PoolClosed, PoolError, UnknownNode, UpstreamError
from phase1.policy.balancer import balancer_of
from phase1.policy.breaker import Permit, PoolBreaker, Rejection, Transition
from phase1.policy.canary import Canary
from phase1.policy.classify import Kind, Outcome, Verdict, judge
from phase1.policy.selection import Route, Selection, Switches, select
from phase1.settings import LoadBalanceStrategy, Settings

__all__ = ["LEGACY_THREADS", "Manager", "TransportFactory", "reporting"]

LEGACY_THREADS = 64
"""Calls to a synchronous legacy client that may run at once: its own bounded threads, never the loop's default ones."""

_ANSWERS_AT_LEAST = 16
"""A cache holds as many at least: none is kept that would take more than its part."""

TransportFactory = Callable[[int, float], Transport]
"""`(connections, connect_timeout) -> Transport`."""


class Manager:
    """The engine of one app in one process. `nodes` empty = there is no pool, every selection is legacy."""

    def __init__(
        self,
        settings: Settings,
        nodes: tuple[NodeSpec, ...],
        *,
        transport: TransportFactory | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
        events: Events | None = None,
        store: Store | None = None,
    ) -> None:
        self.settings = settings
        self.nodes = nodes
        self.tally = Tally()
        self.events = events or Events(self.tally, DecisionLog() if settings.llm_pool_debug else OperatorLog())
        self.homes = Homes(self)
        self.door_clients: dict[str, object] = {}
        """What the doors have made once for this manager, by their own names."""
        self.canary = Canary(settings.llm_canary_percent)
        self.targets = targets_of(settings)
        self.breaker = PoolBreaker(
            failure_threshold=settings.llm_failure_threshold,
            # A unary answer's first token is its whole body: a probe may take as long as any request.
            probe_lease=settings.llm_request_deadline,
            clock=clock,
            rng=rng,
            on_transition=self._on_transition,
        )
        self.switches = Switches(
            enabled=settings.enable_llm_pool,
            force_legacy=settings.force_legacy_llm,
            disable_pool=settings.disable_pool,
            emergency=settings.emergency_mode,
            ready=bool(nodes),
        )
        self.drained: frozenset[str] = frozenset()
        """Names of the nodes that `drain` has taken out."""
        self.nodes_watch: NodesWatch | None = None
        """Looks for other nodes on disk, where there is a list to look at."""
        self.bindings = Bindings(self._bind)
        self._transport = transport or transport_factory(settings.llm_transport)
        self.clock = clock
        self._rng = rng
        self._store = store
        self.repeats = self._repeats()
        """Keeps and shares answers, where the operator wants it."""

    def _repeats(self) -> Repeats | None:
        settings = self.settings
        if not (settings.llm_cache_seconds or settings.llm_single_flight):
            return None
        largest, entries = settings.llm_cache_max_bytes, settings.llm_cache_max_entries
        self._store = self._store or MemoryStore(max_bytes=largest, max_entries=entries, clock=self.clock)
        rules = Rules(
            seconds=settings.llm_cache_seconds,
            shares=settings.llm_single_flight,
            by_user=settings.llm_cache_scope == "user",
            everything=settings.llm_cache_nondeterministic,
            largest=largest // _ANSWERS_AT_LEAST,
            deadline=settings.llm_request_deadline,
        )
        return Repeats(rules, self._store, ask=self.send, nodes=lambda: self.nodes, events=self.events)

    def _on_transition(self, change: Transition) -> None:
        self.events.notify(
            BreakerChanged(
                before=change.from_,
                after=change.to,
                generation=change.generation,
                reason=change.reason,
                enforced=change.enforced,
            )
        )

    def _bind(self) -> Binding:
        pool = self._build_pool() if self.pool_wanted else None
        settings = self.settings
        admission = Admission(capacity=pool.capacity if pool else 1, queue_size=settings.llm_queue_size)
        legacy = Admission(capacity=LEGACY_THREADS, queue_size=settings.llm_queue_size)
        binding = Binding(pool=pool, admission=admission, legacy=legacy)
        if pool is not None:
            pool.on_capacity(lambda: admission.resize(pool.capacity))
            pool.on_refused = lambda: look(self, self.nodes_watch)
            binding.caretaker = take_care(self, binding, pool)
        return binding

    @property
    def public_url(self) -> str:
        """The first node's address without what must not be shown."""
        parts = urlsplit(self.nodes[0].base_url if self.nodes else DEFAULT_BASE_URL)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def initialized(self) -> bool:
        """Whether `start` has been done and `aclose` not yet, on some loop."""
        return self.bindings.peek() is not None

    @property
    def pool_wanted(self) -> bool:
        """Whether the switches want a pool with connections (`FORCE_LEGACY_LLM` keeps it warm)."""
        switches = self.switches
        return switches.enabled and switches.ready and not (switches.disable_pool or switches.emergency)

    def _build_pool(self) -> Pool:
        settings = self.settings
        strategy = settings.load_balance_strategy if settings.enable_load_balancer else LoadBalanceStrategy.LEAST_BUSY
        return Pool(
            [self.build_node(spec) for spec in self.nodes],
            balancer=balancer_of(strategy, rng=self._rng),
            clocks=Clocks(
                first_token=settings.llm_first_token_timeout,
                idle=settings.llm_idle_timeout,
                floor=settings.llm_stream_floor,
            ),
            max_attempts=settings.openai_max_retries + 1,
            events=self.events,
            rng=self._rng,
            clock=self.clock,
            hedge_quantile=settings.llm_hedge_quantile if settings.llm_hedge else None,
        )

    def build_node(self, spec: NodeSpec) -> Node:
        """A node with its connections, for the running loop."""
        concurrency = self.settings.llm_client_concurrency
        make = partial(self._transport, concurrency, self.settings.llm_connect_timeout)
        transports = [make() for _ in range(spec.pool_size)]
        node = Node(spec, transports, client_concurrency=concurrency, clock=self.clock, rng=self._rng, make=make)
        if spec.name in self.drained:
            node.drain()
        return node

    def drain(self, node: str) -> None:
        """Send no new call to the node of that name, until `revive`; calls under way go on. Raises `UnknownNode`."""
        self._require(node)
        self.drained |= {node}
        self._on_every_loop(lambda found: found.drain(), node)

    def revive(self, node: str) -> None:
        """Ask the node of that name again at once, whatever kept it from being asked. Raises `UnknownNode`."""
        self._require(node)
        self.drained -= {node}
        self._on_every_loop(lambda found: found.revive(), node)

    def _require(self, name: str) -> None:
        names = [spec.name for spec in self.nodes]
        if name not in names:
            raise UnknownNode(f"there is no node {name!r}; there are: {', '.join(names) or 'none'}")

    def _on_every_loop(self, change: Callable[[Node], None], name: str) -> None:
        for loop, binding in self.bindings.open():
            if binding.pool is not None:
                on_loop(loop, partial(_change, binding.pool, change, name))

    def renew(self, specs: tuple[NodeSpec, ...]) -> None:
        """Work with these nodes from now on. Those that stay keep their connections; nothing under way is cut."""
        self.nodes = specs
        self.homes = self.homes.renewed()
        for loop, binding in self.bindings.open():
            if binding.pool is not None:
                on_loop(loop, partial(apply_nodes, self, binding.pool))

    def home_of(self, base_url: str, api_key: str, *, trusted: bool) -> Manager | None:
        """Whose nodes serve a client with this address and key; `None` = nobody's: leave the client alone."""
        return self.homes.of(base_url, api_key, trusted=trusted)

    def sibling(self, *specs: NodeSpec, settings: Settings | None = None, events: Events | None = None) -> Manager:
        """A manager for other nodes of the same app: own breaker and connections, the same switches and events."""
        return Manager(
            settings or self.settings,
            specs,
            transport=self._transport,
            clock=self.clock,
            rng=self._rng,
            events=events or self.events,
            store=self._store,
        )

    def select(self, key: str | None, *, wanted: Route | None = None) -> Selection:
        """The route for one app request. Ask once per request and keep the answer. `wanted`: by a signed header."""
        selection = self.look(key, wanted=wanted)
        self.events.notify(Routed(selection.route, selection.reason))
        return selection

    def look(self, key: str | None, *, wanted: Route | None = None) -> Selection:
        """Which way a request of `key` would go now. Nothing is counted."""
        return select(
            switches=self.switches,
            canary=self.canary,
            breaker=self.breaker,
            key=key,
            rng=self._rng,
            targets=self.targets,
            wanted=wanted,
        )

    async def start(self) -> None:
        """Build the pool for the running loop; again after `aclose`. Idempotent."""
        self.bindings.reopen()
        self.homes.reopen()
        self.bindings.current()

    async def aclose(self, *, drain: float | None = None) -> None:
        """Admit nobody new, let calls in flight finish, close every connection.

        `drain`: seconds to wait for them; default = the request deadline.
        """
        seconds = self.settings.llm_request_deadline if drain is None else drain
        await asyncio.gather(self.bindings.aclose(drain=seconds), self.homes.aclose(drain=seconds))
        if self._store is not None:
            await self._store.aclose()

    async def send(self, call: Call, *, key: str | None = None, share: float = 0.0, fresh: bool = False) -> Answer:
        """Send one call through the pool.

        `key` is whose turn it is in the queue, `share` where the key stands in the canary's population (0 to 1): a
        ramping breaker admits the low ones first. `fresh`: not from what is kept or under way. Returns the upstream's
        answer, whatever its status. Raises `Refused` when nothing was sent, `UpstreamError` when no HTTP answer came,
        `DeadlineExceeded` when time ran out.
        """
        if self.repeats is not None and not fresh:
            return await self.repeats.send(call, key=key, share=share)
        permit = self.breaker.acquire(share)
        if isinstance(permit, Rejection):
            self._report(Outcome(Kind.REFUSED, retry_after=permit.retry_after))
            self.events.notify(Rejected(CircuitOpen.__name__))
            raise CircuitOpen("the pool is switched off by its breaker", retry_after=permit.retry_after)
        record = _Record(self, permit, call)
        try:
            pool, admission = self._at_work()
            seconds = self.settings.llm_request_deadline if call.timeout is None else call.timeout
            expires_at = asyncio.get_running_loop().time() + seconds
            if not admission.enter_at_once():
                await admission.enter(key, timeout=self._patience(pool, seconds))
            record.entered(admission)
            result = await pool.send(call, expires_at=expires_at, key=key)
            record.answered(result)
            return self._answer(record, result)
        except PoolError as exc:
            record.refusal = type(exc).__name__
            record.settle(Outcome(Kind.REFUSED))  # a refusal; what came from upstream has settled already
            raise
        except Exception:
            record.settle(Outcome(Kind.BUG))
            raise
        except BaseException:  # cancelled, or closed together with its loop
            record.settle(Outcome(Kind.CANCELLED))
            raise

    def _at_work(self) -> tuple[Pool, Admission]:
        binding = self.bindings.current()
        if binding.pool is None or self.switches.force_legacy:
            raise PoolClosed("the pool is switched off")
        return binding.pool, binding.admission

    def _patience(self, pool: Pool, seconds: float) -> float:
        """How long a call may wait for its place. An answer takes its time too: who gets in too late is told now."""
        return min(self.settings.llm_queue_timeout, seconds, seconds - pool.typical_seconds())

    def _answer(self, record: _Record, result: PoolResult) -> Answer:
        attempt = result.attempt
        if attempt.stream is not None:
            self._report(attempt.outcome)
            record.committed()
            record.flow = Flow()
            stream = AnswerStream(attempt.stream, record.settle, record.flow)
            return Answer(attempt.status or 0, attempt.headers, attempt.outcome, stream=stream)
        record.settle(attempt.outcome)
        if attempt.error is not None:
            raise _as_pool_error(attempt.outcome) from attempt.error
        return Answer(attempt.status or 0, attempt.headers, attempt.outcome, body=attempt.body)

    def _report(self, outcome: Outcome) -> None:
        if (outcomes := reporting.get()) is not None:
            outcomes.append(outcome)

    def __repr__(self) -> str:
        binding = self.bindings.peek()
        if binding is None or binding.pool is None:
            return f"<{type(self).__name__} breaker={self.breaker.state} no pool>"
        up = sum(node.up for node in binding.pool.nodes)
        return (
            f"<{type(self).__name__} nodes={up}/{len(binding.pool.nodes)} up breaker={self.breaker.state}"
            f" in_flight={binding.admission.in_flight} waiting={binding.admission.waiting}>"
        )


class _Record:
    """One call on its way through the manager: what it holds, given back exactly once, by `settle`."""

    __slots__ = (
        "_admission",
        "_call",
        "_first_at",
        "_manager",
        "_permit",
        "_queued",
        "_result",
        "_settled",
        "_started",
        "flow",
        "refusal",
    )

    def __init__(self, manager: Manager, permit: Permit, call: Call) -> None:
        self._manager = manager
        self._permit = permit
        self._call = call
        self.flow: Flow | None = None
        """What has gone by, of a stream."""
        self.refusal: str | None = None
        """The name of the refusal, when nothing was sent."""
        self._started = time.perf_counter()
        self._queued = 0.0
        self._admission: Admission | None = None
        self._result: PoolResult | None = None
        self._first_at: float | None = None
        self._settled = False

    def entered(self, admission: Admission) -> None:
        """It has a place."""
        self._admission = admission
        self._queued = time.perf_counter() - self._started

    def answered(self, result: PoolResult) -> None:
        """The failover loop is over; the node is held until the end of the answer."""
        self._result = result
        if result.attempt.error is None:
            self._first_at = time.perf_counter() - self._started

    def committed(self) -> None:
        """A stream has begun. For a probe that is the proof: its lease must not wait for the last token."""
        if self._permit.probe:
            self._permit.release(Verdict.SUCCESS)

    def settle(self, outcome: Outcome) -> None:
        """Give back permit, place and node, and tell what the call came to. Only the first time counts."""
        if self._settled:
            return
        self._settled = True
        self._permit.release(self._verdict(outcome))
        if self._result is not None:
            self._result.release(outcome)
        if self._admission is not None:
            self._admission.leave()
        finished = self._finished(outcome)
        if not finished.streamed:  # of a stream its beginning was reported; it ends wherever, in anybody's context
            self._manager._report(outcome)  # noqa: SLF001
        self._manager.events.notify(finished)
        if outcome.kind is Kind.BROKEN_AFTER_TOKEN:
            self._manager.events.notify(StreamBroken(outcome.code if outcome.code in {"idle", "floor"} else "upstream"))

    def _verdict(self, outcome: Outcome) -> Verdict:
        """For the breaker. A stream that breaks midway could not be tried elsewhere.

        Where other nodes are well, it says something about its node only: one bad node of three must not disable the
        pool.
        """
        if outcome.kind is Kind.BROKEN_AFTER_TOKEN and self._result is not None and self._result.spared():
            return Verdict.NEUTRAL
        return judge(outcome.kind).pool or Verdict.NEUTRAL

    def _finished(self, outcome: Outcome) -> CallFinished:
        result, flow, call = self._result, self.flow, self._call
        attempt = result.attempt if result else None
        tokens_of_input, tokens_of_output = self._tokens(attempt)
        return CallFinished(  # by position: names would cost twice the time
            outcome.kind,
            attempt.status if attempt else None,
            result.attempts if result else 0,
            self._queued,
            time.perf_counter() - self._started,
            self._first_at,
            flow is not None,
            call.path,
            (result.model if result else call.model or model_of(call.body)) or None,
            self.refusal,
            result.trail if result else (),
            self._started,
            len(call.body),
            flow.bytes if flow else len(attempt.body) if attempt else 0,
            tokens_of_input,
            tokens_of_output,
            flow.chunks if flow else 0,
        )

    def _tokens(self, attempt: Attempt | None) -> tuple[int | None, int | None]:
        if self.flow is not None:
            return self.flow.tokens()
        return tokens_in(attempt.body) if attempt and attempt.outcome.kind is Kind.OK else (None, None)


def _change(pool: Pool, change: Callable[[Node], None], name: str) -> None:
    for node in pool.nodes:
        if node.name == name:
            change(node)
    pool.changed()


def _as_pool_error(outcome: Outcome) -> UpstreamError | DeadlineExceeded:
    if outcome.kind is Kind.TIMEOUT:
        return DeadlineExceeded("the request's deadline ran out before an answer came")
    return UpstreamError(f"no answer from the upstream ({outcome.kind})", kind=outcome.kind)
