"""How does a terminal show a demo? Progress on standard error, results on standard output, plain where nobody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from phase1.lab.figures import HEADINGS, circumstances, rows_of, stress_rows, verdict
from phase1.lab.load import Sample, Summary
from phase1.lab.outage import Moment, Outage
from phase1.lab.result import DemoResult, broken_promises

__all__ = ["TerminalStage", "console_for", "show_comparison", "show_result", "show_stress"]

_WIDTH: Final = 120
"""Columns where there is no terminal: a table in a file is not folded."""


class TerminalStage:
    """A `Stage` on a console: moving bars on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def count(self, text: str, total: int) -> Iterator[Callable[[Sample], None]]:
        """A bar that counts requests; without a terminal one line at the end."""
        timeouts = 0
        columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console) as bars:
            task = bars.add_task(text, total=total, note="")

            def tell(sample: Sample) -> None:
                nonlocal timeouts
                timeouts += sample.timed_out
                bars.update(task, advance=1, note=f"{timeouts} timeouts" if timeouts else "")

            yield tell

    @contextmanager
    def during(self, text: str, seconds: float) -> Iterator[Callable[[Sample], None]]:
        """A bar of the time that a load takes, with what has come of it; without a terminal one line at the end.

        A load without an end in time has a bar that only moves.
        """
        answered = requests = 0
        columns = (TextColumn("{task.description:<44}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console) as bars:
            task = bars.add_task(text, total=seconds or None, note="")

            def tell(sample: Sample) -> None:
                nonlocal answered, requests
                requests, answered = requests + 1, answered + sample.answered
                at = min(seconds, sample.started + sample.seconds)
                bars.update(task, completed=at, note=f"{answered} of {requests} answered")

            yield tell
            bars.update(task, total=seconds or 1, completed=seconds or 1)

    def show(self, moment: Moment) -> None:
        """One line."""
        self.say(f"{moment.seconds:6.1f} s  {moment.breaker:<10} {moment.event}")


def console_for(stream: TextIO) -> Console:
    """A console on `stream`: as wide as the terminal, or wide enough for our tables."""
    console = Console(file=stream)
    if not console.is_terminal:
        console.width = max(_WIDTH, console.width)
    return console


def show_result(result: DemoResult, console: Console) -> None:
    """The tables, and whether the promises were kept."""
    for line in _circumstances(result):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_comparison(result, console))
    if result.outage is not None:
        console.print(_timeline(result.outage, console))
    for line in _conclusion(result):
        console.print(line, highlight=False, soft_wrap=True)


def show_comparison(result: dict[str, Any], console: Console) -> None:
    """A table for each load, and whether the promises were kept."""
    _lines(circumstances(result), console)
    for kind, load in result["loads"].items():
        _lines(["", load["title"]], console)
        table = _table(console, *HEADINGS)
        for row in rows_of(load, kind):
            table.add_row(*row)
        console.print(table)
    _lines(verdict(result), console)


def show_stress(result: dict[str, Any], console: Console) -> None:
    """One table, and whether the promises were kept."""
    _lines([f"{result['target']}: {result['title']}"], console)
    table = _table(console, "", "measured")
    for row in stress_rows(result):
        table.add_row(*row)
    console.print(table)
    _lines([f"not kept: {problem}" for problem in result["broken"]] or ["kept"], console)


def _lines(lines: Iterable[str], console: Console) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _circumstances(result: DemoResult) -> tuple[str, ...]:
    machine, alone = result.machine, result.upstream
    who = "llmock on this machine" if result.mock else result.upstream_url
    libraries = ", ".join(f"{name} {machine[name]}" for name in ("openai", "fastapi", "uvicorn"))
    return (
        f"upstream  {who}: {alone.mean:.2f} s per answer, measured with {alone.requests} at once",
        f"users     {result.users} at once, {_requests(result.rounds)} each; over {result.timeout:g} s is a timeout",
        f"machine   {machine['cores']} cores, {machine['system']}, Python {machine['python']}, {libraries}",
    )


def _comparison(result: DemoResult, console: Console) -> Table:
    table = _table(console, "", "legacy", "pooled", "better by")
    before, after = result.legacy, result.pooled
    rows: tuple[tuple[str, Callable[[Summary], str], str], ...] = (
        ("mean", lambda one: f"{one.mean:.2f} s", _times(before.mean, after.mean)),
        ("p50", lambda one: f"{one.p50:.2f} s", _times(before.p50, after.p50)),
        ("p95", lambda one: f"{one.p95:.2f} s", _times(before.p95, after.p95)),
        ("success", lambda one: f"{one.success:.0%}", _times(after.success, before.success)),
        ("requests/s", lambda one: f"{one.per_second:.2f}", _times(after.per_second, before.per_second)),
        ("timeouts", lambda one: f"{one.timeouts} of {one.requests}", ""),
        ("mean / upstream", lambda one: f"{one.mean / result.upstream.mean:.2f}", ""),
    )
    for name, shown, ratio in rows:
        table.add_row(name, shown(before), shown(after), ratio)
    return table


def _times(more: float, less: float) -> str:
    return f"{more / less:.1f} ×" if less else ""


def _timeline(outage: Outage, console: Console) -> Table:
    table = _table(console, "time", "by\npool", "by\nlegacy", "fell\nback", "failed", "breaker", "what happened")
    table.columns[-1].justify = table.columns[-2].justify = "left"
    table.columns[-1].no_wrap = False
    for at in outage.timeline:
        counts = (at.by_pool, at.by_legacy, at.fell_back, at.failed)
        table.add_row(f"{at.seconds:.1f} s", *map(str, counts), at.breaker, at.event)
    return table


def _table(console: Console, *headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2)
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="right" if position else "left", no_wrap=True)
    return table


def _conclusion(result: DemoResult) -> tuple[str, ...]:
    return tuple(f"not kept: {promise}" for promise in broken_promises(result)) or _kept(result)


def _kept(result: DemoResult) -> tuple[str, ...]:
    factor, outage = result.throughput_factor, result.outage
    more = f"{factor:.0f} × the requests/s" if factor else "legacy answered nobody in time"
    kept = f"kept: no timeouts, a mean of {result.mean_to_upstream:.2f} × the upstream's, {more}"
    around = "kept: everybody was answered around the outage, all {} requests"
    return (kept, around.format(outage.users.requests)) if outage else (kept,)


def _requests(count: int) -> str:
    return f"{count} request{'s' * (count > 1)}"
