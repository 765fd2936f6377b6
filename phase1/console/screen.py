"""How does a terminal show the state? The same JSON as the page, as rich's tables; a sign beside every colour."""

from __future__ import annotations

import time
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from phase1.console.findings import findings, headline

__all__ = ["screen", "settings_table"]

_SIGNS: Final = {"green": "●", "yellow": "▲", "red": "■", "dim": "○"}
_BARS: Final = "▁▂▃▄▅▆▇█"
_WINDOW: Final = 60
_RECENT: Final = 10
_LINE: Final = 40
_BREAKER: Final = {"active": "green", "disabled": "red"}


def screen(document: dict[str, Any], *, width: int) -> RenderableType:
    """Everything on one screen."""
    parts: list[RenderableType] = [_head(document), _tiles(document, width)]
    if document["nodes"]:
        parts.append(_nodes(document))
    parts.append(_pairs(document))
    if document["metrics"]["blocking_sites"]:
        parts.append(_sites(document))
    if document["errors"]:
        parts.append(_errors(document))
    if len(document["workers"]) > 1:
        parts.append(_workers(document))
    return Group(*parts)


def _signed(style: str, text: str) -> Text:
    return Text(f"{_SIGNS[style]} {text}", style=style)


def _head(document: dict[str, Any]) -> RenderableType:
    found = findings(document)
    style = "green" if document["mode"] == "pool" and not found else "red" if found else "yellow"
    workers = len(document["workers"])
    who = f"{workers} workers" if workers > 1 else f"worker {document['pid']}"
    lines = [_signed(style, headline(document)), *(_signed("red", text) for text in found)]
    return Panel(
        Group(*lines), title="phase1", title_align="left", subtitle=f"{who} · {document['version']}", box=box.ROUNDED
    )


def _tiles(document: dict[str, Any], width: int) -> RenderableType:
    metrics, columns, points = document["metrics"], document["history"]["columns"], document["history"]["points"]
    past = {name: [point[index] for point in points] for index, name in enumerate(columns)}
    finished = sum(past["finished"][-_WINDOW:])
    recent = past["finished"][-_RECENT:]
    mean = sum(past["seconds"][-_WINDOW:]) / finished if finished else None
    pool = metrics["seconds"]["pool"] if metrics["seconds"]["pool"]["count"] else metrics["seconds"]["legacy"]
    table = Table(box=None, show_header=False, pad_edge=False)
    line = max(10, min(_LINE, width - 62))
    rows = (
        (
            "calls/s",
            f"{sum(recent) / max(1, len(recent)):.1f}",
            f"{metrics['finished']} since the start",
            past["finished"],
        ),
        (
            "mean",
            _seconds(mean),
            f"p50 {_seconds(pool['p50'])}  p95 {_seconds(pool['p95'])}  p99 {_seconds(pool['p99'])}",
            past["seconds"],
        ),
        (
            "errors",
            f"{sum(past['failed'][-_WINDOW:]) / finished:.1%}" if finished else "–",
            "of the last minute",
            past["failed"],
        ),
        (
            "in flight",
            str(metrics["in_flight"] + metrics["legacy_in_flight"]),
            f"of {metrics['capacity']} places, {metrics['waiting']} waiting",
            past["in_flight"],
        ),
        (
            "tokens/min",
            f"{sum(past['tokens'][-_WINDOW:]) / max(1, len(points[-_WINDOW:])) * 60:.0f}",
            f"{metrics['tokens']} since the start",
            past["tokens"],
        ),
        (
            "loop lag",
            _seconds(document["loop"]["lag"]),
            f"at most {_seconds(max(past['lag'][-_WINDOW:], default=0.0))}",
            past["lag"],
        ),
    )
    for name, value, note, values in rows:
        table.add_row(
            Text(name, style="dim"), Text(value, style="bold"), note, Text(_sparkline(values[-line:]), style="cyan")
        )
    return table


def _sparkline(values: list[float]) -> str:
    top = max(values, default=0.0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * (len(_BARS) - 1) + 0.5))] for value in values)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 0.001:  # noqa: PLR2004 - a millisecond
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _nodes(document: dict[str, Any]) -> RenderableType:
    table = _table("node", "state", "in flight", "attempts", "success", "p95", "429", "last error")
    for node in document["nodes"]:
        stats, last = node["stats"], node["stats"]["last_error"]
        table.add_row(
            node["name"],
            _node_state(node),
            f"{node['in_flight']}/{node['capacity']}" if "capacity" in node else "–",
            str(stats["attempts"]),
            f"{stats['ok'] / stats['attempts']:.1%}" if stats["attempts"] else "–",
            _seconds(stats["seconds"]["p95"]),
            str(stats["rate_limited"]),
            f"{last['kind']} {last['status'] or ''} {_clock(last['time'])}" if last else "none",
        )
    return table


def _node_state(node: dict[str, Any]) -> Text:
    if "up" not in node:
        return _signed("dim", "not open")
    if node.get("drained"):
        return _signed("yellow", "drained")
    if not node["up"]:
        return _signed("red", f"off {_seconds(node['off_for'])}")
    if node.get("state", "up") != "up":
        return _signed("yellow", node["state"])
    return (
        _signed("yellow", f"rests {_seconds(node['cooling_for'])}") if node["cooling_for"] else _signed("green", "up")
    )


def _pairs(document: dict[str, Any]) -> RenderableType:
    metrics, breaker = document["metrics"], document["breaker"]
    state = breaker["state"]
    table = Table(box=None, show_header=False, pad_edge=False)
    routes = ", ".join(f"{row['route']} ({row['reason']}) {row['count']}" for row in metrics["routes"])
    rows: tuple[tuple[str, RenderableType], ...] = (
        (
            "breaker",
            _signed(
                _BREAKER.get(state, "yellow"),
                f"{state.replace('_', ' ')}, {breaker['consecutive_failures']} failures in a row",
            ),
        ),
        ("routes", routes or "none yet"),
        ("fallbacks", _counts(metrics["fallbacks"])),
        ("refused", _counts(metrics["rejections"])),
        *((name, _counts(metrics[name])) for name in ("hedges", "cache") if metrics.get(name)),
    )
    for name, value in rows:
        table.add_row(Text(name, style="dim"), value)
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _sites(document: dict[str, Any]) -> RenderableType:
    stalled = document["loop"]["stalled_seconds"]
    table = _table("line that blocks the event loop", "times", "seconds")
    for site, count in sorted(document["metrics"]["blocking_sites"].items(), key=lambda item: -stalled.get(item[0], 0)):
        table.add_row(site, str(count), f"{stalled[site]:.2f}" if site in stalled else "–")
    return table


def _errors(document: dict[str, Any]) -> RenderableType:
    table = _table("error at", "node", "what", "status", "upstream's request id")
    for error in document["errors"][:5]:
        table.add_row(
            _clock(error["time"]), error["node"], error["kind"], str(error["status"] or "–"), error["request_id"] or "–"
        )
    return table


def _workers(document: dict[str, Any]) -> RenderableType:
    table = _table("worker", "mode", "breaker", "percent", "in flight", "calls", "failed", "lag")
    for worker in document["workers"]:
        names = ("pid", "mode", "breaker", "percent", "in_flight", "finished", "failed")
        table.add_row(*(str(worker[name]) for name in names), _seconds(worker["lag"]))
    return table


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def settings_table(described: dict[str, Any]) -> RenderableType:
    """Every setting with its value and where it comes from; what differs from the default is bold."""
    table = _table("setting", "value", "from")
    for name, setting in described.items():
        style = "" if setting["source"] == "default" else "bold"
        value = (
            "–"
            if setting["value"] is None
            else str(setting["value"]).lower()
            if isinstance(setting["value"], bool)
            else str(setting["value"])
        )
        table.add_row(Text(name, style=style), Text(value, style=style), setting["source"])
    return table
