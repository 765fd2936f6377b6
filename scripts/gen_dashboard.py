#!/usr/bin/env python
"""What stands on the Grafana dashboard? One line per panel here; Grafana's JSON is made of it.

    python scripts/gen_dashboard.py     writes deploy/grafana/dashboards/phase1.json; a test says when it was forgotten

The rules of Grafana's dashboard-linter hold: a templated data source, matchers for job and instance in every query,
a title, a description and a unit for every panel, `$__rate_interval` in every rate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).parent.parent / "deploy" / "grafana" / "dashboards" / "phase1.json"

_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF = 'job=~"$job", instance=~"$instance"'
_SAME = 'result="same"'
_FIRST = 'kind="primary"'
_CALLS = "gen_ai_client_operation_duration_seconds"
_WRONG = (
    'error_type!~"|asyncio.CancelledError|openai.BadRequestError|openai.NotFoundError|openai.ConflictError'
    '|openai.UnprocessableEntityError"'
)


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: expression → legend. `kind`: `stat`, `timeseries`, `state-timeline` …; `width` of 24."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    thresholds: tuple[tuple[float | None, str], ...] = ()


def rate(name: str, by: str = "", labels: str = "") -> str:
    """The sum of a counter's rate, by labels."""
    matchers = f"{_OF}, {labels}" if labels else _OF
    return (
        f"sum by ({by}) (rate({name}{{{matchers}}}[$__rate_interval]))"
        if by
        else (f"sum(rate({name}{{{matchers}}}[$__rate_interval]))")
    )


def quantile(share: float, name: str, by: str = "") -> str:
    """A percentile of a histogram."""
    return f"histogram_quantile({share}, {rate(name + '_bucket', f'{by}, le' if by else 'le')})"


def mean(name: str) -> str:
    """A histogram's mean."""
    return f"{rate(name + '_sum')} / ({rate(name + '_count')} > 0)"


def percentiles(name: str) -> dict[str, str]:
    """Three of them."""
    return {quantile(0.5, name): "p50", quantile(0.95, name): "p95", quantile(0.99, name): "p99"}


def gauge(name: str, by: str = "", labels: str = "", how: str = "sum") -> str:
    """The sum (or else) of a gauge, by labels."""
    matchers = f"{_OF}, {labels}" if labels else _OF
    return f"{how} by ({by}) ({name}{{{matchers}}})" if by else f"{how}({name}{{{matchers}}})"


def _stat(title: str, description: str, unit: str, query: str, *thresholds: tuple[float | None, str]) -> Panel:
    return Panel(title, description, unit, {query: ""}, "stat", 4, 4, thresholds=thresholds or ((None, "blue"),))


ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        _stat("LLM RPS", "Calls through the pool per second.", "reqps", rate(f"{_CALLS}_count")),
        _stat(
            "Mean response time",
            "From the queue to the last byte, after failover. The target is 5 s.",
            "s",
            mean(_CALLS),
            (None, "green"),
            (5, "red"),
        ),
        _stat(
            "Error rate",
            "Calls that failed after failover, without what callers did wrong. The target is at most 10 %.",
            "percentunit",
            f"({rate(_CALLS + '_count', labels=_WRONG)} or vector(0)) / ({rate(_CALLS + '_count')} > 0)",
            (None, "green"),
            (0.1, "red"),
        ),
        _stat(
            "Pool utilisation",
            "Places of the pool that are taken.",
            "percentunit",
            f"{gauge('phase1_pool_requests_in_flight')} / {gauge('phase1_pool_capacity_requests')}",
            (None, "green"),
            (0.7, "yellow"),
            (0.9, "red"),
        ),
        _stat(
            "Canary", "Percent of the keys that go to the pool.", "percent", gauge("phase1_canary_percent", how="max")
        ),
        _stat(
            "Nodes up",
            "Nodes that may be asked now.",
            "short",
            f"sum({gauge('phase1_node_healthy', 'node', how='max')})",
            (None, "red"),
            (1, "green"),
        ),
    ],
    "Traffic": [
        Panel(
            "App requests by route",
            "Pool or legacy, once per app request.",
            "reqps",
            {rate("phase1_route_total", "route"): "{{route}}"},
            stacked=True,
        ),
        Panel(
            "Why legacy",
            "Reasons for which app requests went to legacy from the start.",
            "reqps",
            {rate("phase1_route_total", "reason", 'route="legacy"'): "{{reason}}"},
            stacked=True,
        ),
        Panel(
            "Fallbacks",
            "Calls that legacy answered instead of the pool, by what happened to the pool's attempt.",
            "reqps",
            {rate("phase1_fallbacks_total", "reason"): "{{reason}}"},
            stacked=True,
        ),
        Panel(
            "Calls by model",
            "Calls through the pool by the model that was asked for; after twenty models the rest are `other`.",
            "reqps",
            {rate(f"{_CALLS}_count", "gen_ai_request_model"): "{{gen_ai_request_model}}"},
            stacked=True,
        ),
        Panel(
            "Tokens",
            "Tokens per second, as the upstream counted them.",
            "short",
            {rate("gen_ai_client_token_usage_sum", "gen_ai_token_type"): "{{gen_ai_token_type}}"},
            stacked=True,
        ),
        Panel(
            "Testers",
            "Requests with a signed header that asks for a route, by what it came to.",
            "reqps",
            {rate("phase1_tester_headers_total", "result"): "{{result}}"},
            stacked=True,
        ),
        Panel(
            "Legacy calls",
            "Calls through the legacy client by result.",
            "reqps",
            {rate("phase1_legacy_calls_total", "result"): "{{result}}"},
            stacked=True,
        ),
    ],
    "Latency": [
        Panel("Calls", "From the queue to the last byte, after failover.", "s", percentiles(_CALLS)),
        Panel(
            "Streams: time to the first content",
            "What a reader waits for.",
            "s",
            percentiles("gen_ai_client_operation_time_to_first_chunk_seconds"),
        ),
        Panel(
            "Streams: time per chunk",
            "Between two chunks after the first.",
            "s",
            percentiles("gen_ai_client_operation_time_per_output_chunk_seconds"),
        ),
        Panel(
            "Waiting for a place",
            "Time in the pool's queue.",
            "s",
            percentiles("phase1_pool_queue_wait_seconds"),
        ),
        Panel(
            "Where app requests spend their time",
            "Mean seconds per stage, of app requests that asked an LLM.",
            "s",
            {
                f"{rate('phase1_request_stage_duration_seconds_sum', 'stage')}"
                f" / ({rate('phase1_request_stage_duration_seconds_count', 'stage')} > 0)": "{{stage}}"
            },
        ),
        Panel("phase1 itself", "What phase1 adds to a call.", "s", percentiles("phase1_overhead_seconds")),
    ],
    "Shadow": [
        Panel(
            "Copies",
            "Legacy calls that were sampled, and those of them that were not compared, by reason.",
            "reqps",
            {
                rate("phase1_shadow_sampled_total"): "sampled",
                rate("phase1_shadow_dropped_total", "reason"): "dropped: {{reason}}",
            },
        ),
        Panel(
            "Same answers",
            "Share of the compared calls in which the pool said the same as legacy: status, finish reason; and the mean"
            " share of words in common.",
            "percentunit",
            {
                f"{rate('phase1_shadow_compared_total', 'what', _SAME)}"
                f" / ({rate('phase1_shadow_compared_total', 'what')} > 0)": "{{what}}",
                mean("phase1_shadow_similarity"): "words in common",
            },
        ),
        Panel(
            "Compared calls: p50 and p95",
            "Time of each side.",
            "s",
            {
                quantile(0.5, "phase1_shadow_duration_seconds", "route"): "{{route}} p50",
                quantile(0.95, "phase1_shadow_duration_seconds", "route"): "{{route}} p95",
            },
        ),
        Panel(
            "Tokens of compared calls",
            "As each side has counted them.",
            "short",
            {rate("phase1_shadow_tokens_total", "route, type"): "{{route}} {{type}}"},
        ),
        Panel(
            "What copies cost",
            "Money per hour, in the currency of the prices that were given.",
            "short",
            {f"3600 * {rate('phase1_shadow_cost_total')}": "per hour"},
        ),
        Panel("Copies under way", "At once, over all workers.", "short", {gauge("phase1_shadow_in_flight"): "copies"}),
    ],
    "Nodes": [
        Panel(
            "Load balancing",
            "Attempts per second at each node.",
            "reqps",
            {rate("phase1_attempts_total", "node"): "{{node}}"},
            stacked=True,
        ),
        Panel(
            "Utilisation",
            "Calls in flight at each node, of those that it may have.",
            "percentunit",
            {
                f"{gauge('phase1_pool_requests_in_flight', 'node')}"
                f" / {gauge('phase1_pool_capacity_requests', 'node')}": "{{node}}"
            },
        ),
        Panel(
            "Attempts: p95",
            "Until the answer (of a stream: its first content) or the failure.",
            "s",
            {quantile(0.95, "phase1_attempt_duration_seconds", "node"): "{{node}}"},
        ),
        Panel(
            "Attempts that failed",
            "By node and outcome.",
            "reqps",
            {rate("phase1_attempts_total", "node, outcome", 'outcome!="ok"') + " > 0": "{{node}}: {{outcome}}"},
            stacked=True,
        ),
        Panel(
            "Health",
            "1: the node may be asked.",
            "short",
            {gauge("phase1_node_healthy", "node", how="max"): "{{node}}"},
            "state-timeline",
        ),
        Panel("Queue", "Calls waiting for a place.", "short", {gauge("phase1_pool_queue_depth"): "waiting"}),
    ],
    "Failures and protection": [
        Panel(
            "Errors",
            "Calls that failed after failover, by the exception that callers get.",
            "reqps",
            {rate(f"{_CALLS}_count", "error_type", 'error_type!=""'): "{{error_type}}"},
            stacked=True,
        ),
        Panel(
            "Rejections",
            "Calls that the pool refused before sending anything.",
            "reqps",
            {rate("phase1_pool_rejections_total", "reason"): "{{reason}}"},
            stacked=True,
        ),
        Panel(
            "Breaker",
            "The state that the breaker is in; of several workers, each state that one of them is in.",
            "short",
            {gauge("phase1_breaker_state", "scope, state", how="max") + " > 0": "{{scope}}: {{state}}"},
            "state-timeline",
        ),
        Panel(
            "Breaker transitions",
            "How often the breaker moved.",
            "short",
            {f"sum by (to) (increase(phase1_breaker_transitions_total{{{_OF}}}[$__rate_interval]))": "to {{to}}"},
        ),
        Panel(
            "Retry amplification",
            "Attempts per call. The retry budget holds it near 1.2 under load.",
            "short",
            {
                f"{rate('phase1_attempts_total')}"
                f" / ({rate('phase1_attempts_total', labels=_FIRST)} > 0)": "attempts per call"
            },
        ),
        Panel(
            "Retries that the budget refused",
            "Each is a call that failed though another node might have answered.",
            "reqps",
            {rate("phase1_retry_budget_exhausted_total"): "refused"},
        ),
        Panel(
            "Cache",
            "Calls that were looked up in the cache of answers, by what was found.",
            "reqps",
            {rate("phase1_cache_lookups_total", "result"): "{{result}}"},
            stacked=True,
        ),
        Panel(
            "Abandoned calls",
            "Upstream calls that were cancelled because the app's own client had gone.",
            "reqps",
            {rate("phase1_abandoned_calls_total"): "abandoned"},
        ),
        Panel(
            "Hedges",
            "Nodes that were late, and what came of asking another one.",
            "reqps",
            {rate("phase1_hedges_total", "result"): "{{result}}"},
            stacked=True,
        ),
        Panel(
            "Broken streams",
            "Streams that broke after their first content: by the upstream, or by our clocks (idle, floor).",
            "reqps",
            {rate("phase1_streams_broken_total", "reason"): "{{reason}}"},
            stacked=True,
        ),
    ],
    "Process": [
        Panel(
            "Event loop lag",
            "How late the event loop answers a knock, ten times a second.",
            "s",
            percentiles("phase1_event_loop_lag_seconds"),
        ),
        Panel(
            "Blocking calls",
            "Lines of the app that blocked the event loop.",
            "reqps",
            {f"topk(10, {rate('phase1_blocking_calls_total', 'site')})": "{{site}}"},
        ),
        Panel(
            "Rollout",
            "Evidence for a roll-back (worse) and for a promotion (not worse), by metric, and the log e that decides.",
            "short",
            {
                gauge("phase1_rollout_log_e", "metric, test", how="max"): "{{metric}}: {{test}}",
                gauge("phase1_rollout_threshold", how="max"): "decides",
            },
        ),
        Panel(
            "Rollout: phase",
            "How far it is, whether the kill switch is on, and the workers that lead: one.",
            "short",
            {
                gauge("phase1_rollout_phase", "phase", how="max"): "{{phase}}",
                gauge("phase1_kill_switch", how="max"): "kill switch",
                gauge("phase1_rollout_leaders", how="max"): "leaders",
            },
        ),
        Panel(
            "Shared state",
            "Its generation as the slowest worker applies it, its age, what cannot be followed, and failed rounds.",
            "short",
            {
                gauge("phase1_state_generation", how="min"): "generation",
                gauge("phase1_state_age_seconds", how="max"): "age in seconds",
                gauge("phase1_state_problem", how="max"): "problem",
                rate("phase1_state_errors_total"): "failed rounds per second",
            },
        ),
        Panel(
            "Workers and toggle",
            "Worker processes behind the numbers, and whether the pool is enabled.",
            "short",
            {
                gauge("phase1_workers", "instance"): "workers of {{instance}}",
                gauge("phase1_enabled", "instance", how="max"): "enabled on {{instance}}",
            },
        ),
        Panel(
            "Observer failures",
            "Observers that raised. Requests never notice; the log has the first of each.",
            "reqps",
            {rate("phase1_observer_failures_total"): "failures"},
        ),
    ],
}


def main() -> int:
    """Write the file."""
    DASHBOARD.write_text(render(), encoding="utf-8")
    return 0


def render() -> str:
    """Return the text of the file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def dashboard() -> dict[str, Any]:
    """Grafana's model of it."""
    return {
        "uid": "phase1",
        "title": "phase1: LLM system",
        "description": "A pool of LLM endpoints inside a FastAPI or Starlette app.",
        "tags": ["llm", "phase1"],
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}
    for name, query in (
        ("job", "label_values(phase1_enabled, job)"),
        ("instance", 'label_values(phase1_enabled{job=~"$job"}, instance)'),
    ):
        yield {
            "name": name,
            "label": name,
            "type": "query",
            "datasource": _SOURCE,
            "query": query,
            "definition": query,
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".+",
            "current": {"text": "All", "value": "$__all"},
        }


def _panels() -> Iterator[dict[str, Any]]:
    number = y = 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _at(0, y, 24, 1),
        }
        x, y, high = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y, high = 0, y + high, 0
            number += 1
            yield _panel(panel, number, _at(x, y, panel.width, panel.height))
            x, high = x + panel.width, max(high, panel.height)
        y += high


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for value, color in panel.thresholds or ((None, "green"),)]
    custom = {"fillOpacity": 25 if panel.stacked else 8, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        defaults |= {"custom": custom, "min": 0}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {"refId": chr(65 + index), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
            for index, (query, legend) in enumerate(panel.queries.items())
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


if __name__ == "__main__":
    raise SystemExit(main())
