"""Which metrics are there? Each with its labels and its help: the one table behind the exposition and the dashboards.

The first four are OpenTelemetry's GenAI client metrics under the names that its Prometheus exporter gives them, so that
one dashboard serves both. Labels never hold a user, a prompt, a request id or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from phase1.doors.shadow.report import LIKENESS
from phase1.engine.histogram import SECONDS, SHORT_SECONDS, TOKENS

__all__ = ["BY_NAME", "FAMILIES", "Family"]

_CALL: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "server_address")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A counter is called `<name>_total` where it is read.

    `bounds`: of a histogram. `merge`: what several workers' gauges are together.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Literal["sum", "max", "min"] = "sum"


FAMILIES: Final = (
    Family(
        "gen_ai_client_operation_duration_seconds",
        "histogram",
        "Calls through the pool, from the queue to the last byte, after failover",
        (*_CALL, "error_type"),
        SECONDS,
    ),
    Family(
        "gen_ai_client_token_usage",
        "histogram",
        "Tokens per call, as the upstream counted them",
        (*_CALL, "gen_ai_token_type"),
        TOKENS,
    ),
    Family(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "histogram",
        "Streams: time until the first content, queue included",
        _CALL,
        SECONDS,
    ),
    Family(
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        "histogram",
        "Streams: time between two chunks after the first; each stream's mean, once per chunk",
        _CALL,
        SECONDS,
    ),
    Family("phase1_enabled", "gauge", "Whether the toggle is on", merge="max"),
    Family("phase1_canary_percent", "gauge", "Percent of the keys that go to the pool", merge="max"),
    Family("phase1_kill_switch", "gauge", "Whether an operator has switched to legacy at run time", merge="max"),
    Family("phase1_state_generation", "gauge", "Generation of the shared state that every worker applies", merge="min"),
    Family("phase1_state_age_seconds", "gauge", "Seconds since a worker last heard the shared state", merge="max"),
    Family("phase1_state_problem", "gauge", "Whether state or rollout file cannot be followed", merge="max"),
    Family("phase1_state_errors", "counter", "Rounds in which the state store did not answer"),
    Family("phase1_rollout_leaders", "gauge", "Workers that lead the rollout: one"),
    Family("phase1_rollout_phase", "gauge", "1 for the phase that the rollout is in", ("phase",), merge="max"),
    Family(
        "phase1_rollout_log_e",
        "gauge",
        "Evidence that the canary is worse, or not worse: log e of each metric",
        ("metric", "test"),
        merge="max",
    ),
    Family("phase1_rollout_threshold", "gauge", "The log e that decides", merge="max"),
    Family("phase1_route", "counter", "App requests by route and reason", ("route", "reason")),
    Family("phase1_tester_headers", "counter", "Signed headers of testers, by what they came to", ("result",)),
    Family("phase1_legacy_calls", "counter", "Calls through the legacy client by result", ("result",)),
    Family("phase1_fallbacks", "counter", "Calls that legacy answered instead of the pool", ("reason",)),
    Family("phase1_pool_requests_in_flight", "gauge", "Calls on a node", ("node",)),
    Family("phase1_pool_capacity_requests", "gauge", "Calls that a node may have in flight", ("node",)),
    Family("phase1_pool_queue_depth", "gauge", "Calls waiting for a place"),
    Family("phase1_pool_queue_wait_seconds", "histogram", "How long calls waited for a place", (), SECONDS),
    Family("phase1_pool_rejections", "counter", "Calls that the pool refused before sending anything", ("reason",)),
    Family("phase1_attempts", "counter", "Attempts at nodes", ("node", "kind", "outcome")),
    Family(
        "phase1_attempt_duration_seconds",
        "histogram",
        "Attempts: time until the answer (of a stream: its first content) or the failure",
        ("node", "outcome"),
        SECONDS,
    ),
    Family("phase1_shadow_sampled", "counter", "Legacy calls of which a copy was to go to the pool"),
    Family("phase1_shadow_dropped", "counter", "Sampled calls that were not compared", ("reason",)),
    Family(
        "phase1_shadow_compared",
        "counter",
        "Calls that both sides have answered, by what was compared, and whether it was the same",
        ("what", "result"),
    ),
    Family("phase1_shadow_duration_seconds", "histogram", "Compared calls: time of each side", ("route",), SECONDS),
    Family(
        "phase1_shadow_similarity", "histogram", "Compared calls: words that both answers have in common", (), LIKENESS
    ),
    Family("phase1_shadow_tokens", "counter", "Tokens of compared calls, as each side counted", ("route", "type")),
    Family("phase1_shadow_cost", "counter", "Money that copies have cost, in the currency of LLM_SHADOW_PRICES"),
    Family("phase1_shadow_in_flight", "gauge", "Copies under way"),
    Family(
        "phase1_streams_broken",
        "counter",
        "Streams that broke after their first content: by the upstream, or by our clocks idle and floor",
        ("reason",),
    ),
    Family("phase1_cache_lookups", "counter", "Calls that were looked up in the cache of answers", ("result",)),
    Family("phase1_abandoned_calls", "counter", "Upstream calls cancelled because the app's own client had gone"),
    Family(
        "phase1_hedges",
        "counter",
        "Nodes that were late: another one was asked and won or lost, or none could be asked",
        ("result",),
    ),
    Family("phase1_retry_budget_exhausted", "counter", "Retries and hedges that the budget refused"),
    Family("phase1_breaker_state", "gauge", "1 for the state that a breaker is in", ("scope", "state"), merge="max"),
    Family("phase1_breaker_transitions", "counter", "Changes of a breaker", ("scope", "to")),
    Family("phase1_node_healthy", "gauge", "Whether a node is up and not ejected", ("node",), merge="max"),
    Family(
        "phase1_request_stage_duration_seconds",
        "histogram",
        "Stages of app requests with an LLM call",
        ("stage",),
        SECONDS,
    ),
    Family("phase1_event_loop_lag_seconds", "histogram", "How late the event loop ran a timer", (), SHORT_SECONDS),
    Family(
        "phase1_blocking_calls", "counter", "Calls that blocked the event loop, by file and line of the app", ("site",)
    ),
    Family(
        "phase1_overhead_seconds",
        "histogram",
        "What phase1 adds to a call that one attempt answered: all but queue and upstream",
        (),
        SHORT_SECONDS,
    ),
    Family("phase1_observer_failures", "counter", "Observers that raised; requests never notice"),
    Family("phase1_workers", "gauge", "Worker processes behind these numbers"),
)

BY_NAME: Final = {family.name: family for family in FAMILIES}
