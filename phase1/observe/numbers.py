"""What stands in the metrics now? Every family's values by their labels, of one worker; and of several in one.

Values of a histogram are its counts per bucket and its sum. Known label values are there at 0 from the start: a rate
over a series that has just appeared would miss its first event.

May be asked from any thread: what the loop counts on meanwhile is copied (one step for the interpreter) before it is
gone through.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from phase1.engine.histogram import Histogram
from phase1.observe.families import BY_NAME, FAMILIES
from phase1.observe.shadowed import count_shadow
from phase1.policy.breaker import BreakerState
from phase1.policy.classify import Fallback, Kind, judge
from phase1.policy.override import OverrideFault
from phase1.policy.rollout import RolloutPhase
from phase1.policy.rollout_plan import METRICS
from phase1.policy.selection import Reason, Route

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.engine.pool import Pool

__all__ = ["Numbers", "Value", "from_json", "merged", "numbers_of", "to_json"]

Labels = tuple[str, ...]
Value = float | tuple[list[int], float]
Numbers = dict[str, dict[Labels, Value]]

_ROUTES: Final = [
    (Route.POOL.value, Reason.SPLIT.value),
    (Route.POOL.value, Reason.STALE.value),
    (Route.POOL.value, Reason.DEFAULT.value),
    *((Route.LEGACY.value, reason.value) for reason in Reason),
]
_OF_ATTEMPTS: Final = [kind.value for kind in Kind if kind not in {Kind.REFUSED, Kind.STALL, Kind.BROKEN_AFTER_TOKEN}]
_OF_FALLBACKS: Final = [kind.value for kind in Kind if judge(kind).fallback is not Fallback.NEVER]
_WAYS: Final = ("primary", "retry", "hedge")
_REFUSALS: Final = ("CircuitOpen", "NoNode", "PoolClosed", "QueueFull", "QueueTimeout")
_MERGES: Final[Mapping[str, Callable[[float, float], float]]] = {"sum": operator.add, "max": max, "min": min}
_OF_ROLLOUT: Final = (
    "phase1_kill_switch",
    "phase1_state_generation",
    "phase1_state_age_seconds",
    "phase1_state_problem",
    "phase1_state_errors",
    "phase1_rollout_leaders",
    "phase1_rollout_threshold",
)
_OF_HEADERS: Final = ("accepted", *(fault.value for fault in OverrideFault))
_AZURE: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


def numbers_of(manager: LLMManager) -> Numbers:
    """Those of this worker, now."""
    numbers: Numbers = {family.name: {} for family in FAMILIES}
    binding = manager.bindings.peek()
    pool = binding.pool if binding else None
    _count(numbers, manager, [node.name for node in pool.nodes] if pool else [spec.name for spec in manager.nodes])
    _calls(numbers, manager)
    _gauges(numbers, manager)
    if binding is not None and pool is not None:
        numbers["phase1_pool_queue_depth"][()] = float(binding.admission.waiting)
        _nodes(numbers, pool)
    numbers["phase1_retry_budget_exhausted"][()] = float(pool.budget.exhausted if pool else 0)
    if manager.shadow is not None:
        count_shadow(numbers, manager.shadow)
    return numbers


def _count(numbers: Numbers, manager: LLMManager, nodes: Iterable[str]) -> None:
    tally = manager.tally
    _fill(numbers, "phase1_route", dict.fromkeys(_ROUTES, 0) | dict(tally.routes))
    known = {(node, kind, outcome): 0 for node in nodes for kind in _WAYS for outcome in _OF_ATTEMPTS}
    _fill(numbers, "phase1_attempts", known | dict(tally.attempts))
    _fill_words(numbers, "phase1_fallbacks", _OF_FALLBACKS, tally.fallbacks)
    _fill_words(numbers, "phase1_tester_headers", _OF_HEADERS, manager.tester_headers)
    _fill_words(numbers, "phase1_legacy_calls", ("ok",), tally.legacy)
    _fill_words(numbers, "phase1_pool_rejections", _REFUSALS, tally.rejections)
    _fill_words(numbers, "phase1_cache_lookups", ("hit", "shared", "miss", "bypass", "error"), tally.cache)
    _fill_words(numbers, "phase1_hedges", ("won", "lost", "no_node", "no_budget"), tally.hedges)
    _fill_words(numbers, "phase1_streams_broken", ("upstream", "idle", "floor"), tally.broken_streams)
    _fill_words(numbers, "phase1_blocking_calls", (), tally.blocking_sites)
    transitions = dict.fromkeys((str(state) for state in BreakerState), 0) | dict(tally.transitions)
    _fill(numbers, "phase1_breaker_transitions", {("pool", to): count for to, count in transitions.items()})
    numbers["phase1_abandoned_calls"][()] = float(tally.abandoned)
    numbers["phase1_observer_failures"][()] = float(manager.events.failures)


def _fill(numbers: Numbers, family: str, values: Mapping[Any, int]) -> None:
    numbers[family] = {tuple(map(str, labels)): float(value) for labels, value in values.items()}


def _fill_words(numbers: Numbers, family: str, known: Iterable[str], values: Mapping[str, int]) -> None:
    _fill(numbers, family, {(word,): count for word, count in (dict.fromkeys(known, 0) | dict(values)).items()})


def _calls(numbers: Numbers, manager: LLMManager) -> None:
    tally = manager.tally
    for (operation, model, server, error), histogram in dict(tally.operations).items():
        labels = (operation, _provider(server), model, server, error)
        numbers["gen_ai_client_operation_duration_seconds"][labels] = _values(histogram)
    for (operation, model, server, kind), histogram in dict(tally.tokens).items():
        numbers["gen_ai_client_token_usage"][operation, _provider(server), model, server, kind] = _values(histogram)
    for name, streams in (("first", tally.first_chunks), ("per_output", tally.output_chunks)):
        family = f"gen_ai_client_operation_time_{'to_' if name == 'first' else ''}{name}_chunk_seconds"
        for (operation, model, server), histogram in dict(streams).items():
            numbers[family][operation, _provider(server), model, server] = _values(histogram)
    for attempt, histogram in dict(tally.attempt_seconds).items():
        numbers["phase1_attempt_duration_seconds"][tuple(map(str, attempt))] = _values(histogram)
    for stage, histogram in tally.stages.items():
        numbers["phase1_request_stage_duration_seconds"][stage,] = _values(histogram)
    numbers["phase1_pool_queue_wait_seconds"][()] = _values(tally.queue_wait)
    numbers["phase1_overhead_seconds"][()] = _values(tally.overhead)
    numbers["phase1_event_loop_lag_seconds"][()] = _values(tally.loop_lag)


def _values(histogram: Histogram) -> Value:
    return list(histogram.counts), histogram.total


def _provider(server: str) -> str:
    """OpenTelemetry's name of whose API it is: by the protocol that is spoken, wherever it is served."""
    return "azure.ai.openai" if server.endswith(_AZURE) else "openai"


def _gauges(numbers: Numbers, manager: LLMManager) -> None:
    numbers["phase1_enabled"][()] = float(manager.switches.enabled)
    numbers["phase1_canary_percent"][()] = manager.canary.percent
    numbers["phase1_workers"][()] = 1.0
    for family in _OF_ROLLOUT:
        numbers[family][()] = 0.0
    numbers["phase1_rollout_phase"] |= {(phase.value,): float(phase is RolloutPhase.IDLE) for phase in RolloutPhase}
    numbers["phase1_rollout_log_e"] |= {
        (metric.value, test): 0.0 for metric, test in product(METRICS, ("worse", "not_worse"))
    }
    if manager.rollout is not None:
        for family, labels, value in manager.rollout.numbers():
            numbers[family][labels] = value
    state = manager.breaker.snapshot().state
    for each in BreakerState:
        numbers["phase1_breaker_state"]["pool", str(each)] = float(each == state)


def _nodes(numbers: Numbers, pool: Pool) -> None:
    for node in pool.nodes:
        numbers["phase1_pool_requests_in_flight"][node.name,] = float(node.in_flight)
        numbers["phase1_pool_capacity_requests"][node.name,] = float(node.capacity)
        numbers["phase1_node_healthy"][node.name,] = float(node.available)


def merged(live: Iterable[Numbers], gone: Iterable[Numbers] = ()) -> Numbers:
    """Several workers' numbers as one. Of those that are gone the counts stay (they never fall), the gauges do not."""
    together: Numbers = {family.name: {} for family in FAMILIES}
    for numbers in live:
        for name, values in numbers.items():
            _add(together, name, values)
    for numbers in gone:
        for name, values in numbers.items():
            if name in BY_NAME and BY_NAME[name].kind != "gauge":
                _add(together, name, values)
    return together


def _add(together: Numbers, name: str, values: Mapping[Labels, Value]) -> None:
    family = BY_NAME.get(name)
    if family is None:
        return  # of a worker that runs another version, during a deployment
    own = together[name]
    for labels, value in values.items():
        own[labels] = _sum(own[labels], value, family.merge) if labels in own else value


def _sum(one: Value, other: Value, merge: str) -> Value:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one[0]) == len(other[0]):
        return [a + b for a, b in zip(one[0], other[0], strict=True)], one[1] + other[1]
    if isinstance(one, tuple) or isinstance(other, tuple):
        return one  # of a version with other buckets
    return _MERGES[merge](one, other)


def to_json(numbers: Numbers) -> dict[str, list[list[object]]]:
    """As JSON has it: no tuples as keys."""
    return {
        name: [[list(labels), list(value) if isinstance(value, tuple) else value] for labels, value in values.items()]
        for name, values in numbers.items()
    }


def from_json(document: Mapping[str, list[list[object]]]) -> Numbers:
    """What `to_json` has written. Raises `ValueError`, `TypeError` or `AttributeError` for anything else."""
    return {
        name: {tuple(map(str, labels)): _value(value) for labels, value in values}  # type: ignore[call-overload]
        for name, values in document.items()
    }


def _value(value: object) -> Value:
    if isinstance(value, list):
        counts, total = value
        return [int(count) for count in counts], float(total)
    return float(value)  # type: ignore[arg-type]
