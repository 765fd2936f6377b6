"""Is anything wrong with the app? In one line each, worst first; none = all is well."""

from __future__ import annotations

from typing import Any

__all__ = ["findings", "headline"]


def headline(document: dict[str, Any]) -> str:
    """What the app does now, in a few words."""
    switches = document["switches"]
    if document["problem"]:
        return "the pool cannot start, legacy answers"
    if not switches["enabled"]:
        return "the pool is off, legacy answers"
    for name, text in (
        ("emergency", "emergency mode"),
        ("disable_pool", "the pool is closed"),
        ("force_legacy", "legacy is forced"),
    ):
        if switches[name]:
            return f"{text}, legacy answers"
    if document["breaker"]["state"] == "disabled":
        return "the breaker is open, legacy answers"
    return f"the pool is on, {document['canary']['percent']:g} % of the keys"


def findings(document: dict[str, Any]) -> list[str]:
    """What an operator should look at."""
    found = [document["problem"]] if document["problem"] else []
    found += _of_rollout(document.get("rollout") or {})
    if document["breaker"]["state"] != "active":
        found.append(f"the breaker is {document['breaker']['state'].replace('_', ' ')}")
    if (site := document.get("loop", {}).get("standing_at")) is not None:
        found.append(f"the event loop stands still at {site}")
    nodes = [node for node in document["nodes"] if "up" in node]
    found += [f"node {node['name']} is {_state(node)}" for node in nodes if not node["up"]]
    if nodes and not any(node["up"] for node in nodes):
        found.append("no node is up")
    if document["metrics"]["observer_failures"]:
        found.append(f"{document['metrics']['observer_failures']} failures of observers, see the log")
    return found


def _of_rollout(rollout: dict[str, Any]) -> list[str]:
    found = [rollout["problem"]] if rollout.get("problem") else []
    if rollout.get("phase") in {"rolled_back", "inconclusive"}:
        found.append(f"the rollout is {rollout['phase'].replace('_', ' ')}")
    return found


def _state(node: dict[str, Any]) -> str:
    return "drained" if node.get("drained") else "off"
