"""How does a terminal show what the pool's copies came to? Legacy and pool side by side; a sign beside every colour."""

from __future__ import annotations

from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["shadow_screen"]

_BARS: Final = " ▁▂▃▄▅▆▇█"


def shadow_screen(shadow: dict[str, Any], *, workers: int) -> RenderableType:
    """The `shadow` of a debug page."""
    parts: list[RenderableType] = [_head(shadow, workers)]
    if shadow["compared"]:
        parts += [_sides(shadow), _pairs("status", shadow["statuses"])]
    if shadow["finish_reasons"]:
        parts.append(_pairs("finish reason", shadow["finish_reasons"]))
    if shadow["similarity"]["count"]:
        parts.append(_similarity(shadow["similarity"]))
    return Group(*parts)


def _head(shadow: dict[str, Any], workers: int) -> RenderableType:
    money = shadow["money"]
    caps = f"{money['per_day']:g} a day" + (f", {money['total']:g} in all" if money["total"] is not None else "")
    dropped = ", ".join(f"{reason} {count}" for reason, count in shadow["dropped"].items()) or "none"
    share, limit = f"{shadow['percent']:g} %", shadow["concurrency"]
    return Text(
        f"copies of {share} of the legacy calls, {limit} at once, {shadow['in_flight']} under way\n"
        f"{shadow['sampled']} sampled, {shadow['compared']} compared; dropped: {dropped}\n"
        f"money: {money['spent_today']:.6f} today, {money['spent']:.6f} since the start,"
        f" of {workers} worker(s) with {caps} each"
    )


def _sides(shadow: dict[str, Any]) -> RenderableType:
    table = Table("", "legacy", "pool", box=box.SIMPLE)
    seconds, tokens = shadow["seconds"], shadow["tokens"]
    table.add_row("mean time", *(f"{seconds[side]['sum'] / seconds[side]['count']:.3f} s" for side in seconds))
    for kind in ("input", "output"):
        table.add_row(f"{kind} tokens", *(f"{tokens[side][kind]:,}" for side in seconds))
    return table


def _pairs(what: str, rows: list[dict[str, Any]]) -> RenderableType:
    total = sum(row["count"] for row in rows)
    table = Table(what, "legacy", "pool", "calls", "share", box=box.SIMPLE)
    for row in sorted(rows, key=lambda row: -row["count"]):
        same = row["legacy"] == row["pool"]
        sign = Text("● same", style="green") if same else Text("▲ other", style="yellow")
        table.add_row(sign, row["legacy"], row["pool"], str(row["count"]), f"{row['count'] / total:.1%}")
    return table


def _similarity(found: dict[str, Any]) -> RenderableType:
    top = max(found["counts"])
    bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // top)] for count in found["counts"][:-1])
    return Text(f"words in common: mean {found['sum'] / found['count']:.0%}, 0 to 100 %: |{bars}|")
