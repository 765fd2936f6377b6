"""What can be said about a manager? Dictionaries for pages, metrics and the log: numbers, states, no content.

May be asked from any thread: counters are copied before they are gone through.
"""

from __future__ import annotations

import hashlib
import os
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.engine.node import Node, NodeSpec

__all__ = ["SCHEMA", "metrics", "status", "summary_line"]

SCHEMA = "phase1.llm-system/v1"


def status(manager: LLMManager) -> dict[str, object]:
    """The whole state."""
    return {
        "schema": SCHEMA,
        "time": time.time(),
        "version": _version(),
        "pid": os.getpid(),
        "system_status": {
            "phase1_available": True,
            "phase1_initialized": manager.initialized,
            "legacy_client_exists": manager.legacy.exists,
        },
        "mode": mode(manager),
        "problem": manager.problem,
        "nodes_problem": manager.nodes_watch.problem if manager.nodes_watch is not None else None,
        "switches": {
            "enabled": manager.switches.enabled,
            "force_legacy": manager.switches.force_legacy,
            "disable_pool": manager.switches.disable_pool,
            "emergency": manager.switches.emergency,
        },
        "canary": {"percent": manager.canary.percent, "salt": manager.canary.salt, **_targets(manager)},
        "rollout": manager.rollout.status() if manager.rollout is not None else None,
        "shadow": manager.shadow.document() if manager.shadow is not None else None,
        "breaker": _breaker(manager),
        "pool": _pool(manager),
        "nodes": _nodes(manager),
        "cache": manager.repeats.store.describe() if manager.repeats is not None else None,
        "metrics": metrics(manager),
        "settings": manager.settings.describe(),
    }


def metrics(manager: LLMManager) -> dict[str, object]:
    """The numbers."""
    tally = manager.tally
    binding = manager.bindings.peek()
    return {
        "status": mode(manager),
        "routes": [{"route": route, "reason": reason, "count": n} for (route, reason), n in dict(tally.routes).items()],
        "calls": dict(tally.calls),
        "attempts": [
            {"node": node, "kind": kind, "outcome": outcome, "count": n}
            for (node, kind, outcome), n in dict(tally.attempts).items()
        ],
        "fallbacks": dict(tally.fallbacks),
        "legacy_calls": dict(tally.legacy),
        "blocking_sites": dict(tally.blocking_sites),
        "breaker_transitions": dict(tally.transitions),
        "rejections": dict(tally.rejections),
        "tester_headers": dict(manager.tester_headers),
        "broken_streams": dict(tally.broken_streams),
        "hedges": dict(tally.hedges),
        "abandoned": tally.abandoned,
        "cache": dict(tally.cache),
        "finished": tally.finished,
        "failed": tally.failed,
        "tokens": tally.token_count,
        "retry_budget_exhausted": binding.pool.budget.exhausted if binding and binding.pool else 0,
        "in_flight": binding.admission.in_flight if binding else 0,
        "waiting": binding.admission.waiting if binding else 0,
        "capacity": binding.admission.capacity if binding and binding.pool else 0,
        "legacy_in_flight": binding.legacy.in_flight if binding else 0,
        "seconds": tally.latency(),
        "observer_failures": manager.events.failures,
    }


def mode(manager: LLMManager) -> str:
    """`pool`, or `legacy_mode` while nothing can go to the pool."""
    switches = manager.switches
    killed = switches.force_legacy or switches.disable_pool or switches.emergency
    return "pool" if switches.enabled and switches.ready and not killed else "legacy_mode"


def summary_line(manager: LLMManager) -> str:
    """One line for the log."""
    legacy = "a legacy client" if manager.legacy.exists else "no legacy client"
    why = f" ({manager.problem})" if manager.problem else ""
    return f"LLM system: {mode(manager)}{why}, canary {manager.canary.percent:g} %, {legacy}, {manager!r}"


def _targets(manager: LLMManager) -> dict[str, int]:
    targets = manager.targets
    return {"allowed": len(targets.allowed) if targets else 0, "denied": len(targets.denied) if targets else 0}


def _breaker(manager: LLMManager) -> dict[str, object]:
    snapshot = manager.breaker.snapshot()
    return {
        "state": snapshot.state,
        "mode": snapshot.mode,
        "generation": snapshot.generation,
        "consecutive_failures": snapshot.consecutive_failures,
        "until_in": snapshot.until_in,
        "ramp": snapshot.ramp,
        "window": {"requests": snapshot.window_requests, "success_rate": snapshot.window_success_rate},
    }


def _pool(manager: LLMManager) -> dict[str, object]:
    binding = manager.bindings.peek()
    pool = binding.pool if binding else None
    if binding is None or pool is None:
        return {"open": False, "clients": 0, "capacity": 0, "in_flight": 0, "waiting": 0}
    return {
        "open": True,
        "clients": sum(len(node.clients) for node in pool.nodes),
        "capacity": binding.admission.capacity,
        "in_flight": binding.admission.in_flight,
        "waiting": binding.admission.waiting,
        "retries_in_flight": pool.budget.in_flight,
    }


def _nodes(manager: LLMManager) -> list[dict[str, object]]:
    binding = manager.bindings.peek()
    if binding is None or binding.pool is None:
        return [_spec(spec) for spec in manager.nodes]
    pool = binding.pool
    return [{**_spec(node.spec), **_live(node), "cooling_for": pool.cooling_for(node)} for node in pool.nodes]


def _spec(spec: NodeSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "base_url": _public(spec.base_url),
        "api_key": _fingerprint(spec.api_key),
        "pool_size": spec.pool_size,
        "weight": spec.weight,
        "priority": spec.priority,
        "region": spec.region,
        "quota_domain": spec.quota_domain,
        "models": spec.models,
        "rpm": spec.rpm,
        "tpm": spec.tpm,
    }


def _version() -> str:
    try:
        return version("phase1")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def _fingerprint(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()[:8] if key else "the client's own"


def _live(node: Node) -> dict[str, object]:
    return {
        "up": node.up,
        "drained": node.drained,
        "state": node.state,
        "off_for": node.off_for(),
        "ejected_for": node.ejected_for(),
        "in_flight": node.in_flight,
        "limit": node.limit.value,
        "capacity": node.capacity,
    }


def _public(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
