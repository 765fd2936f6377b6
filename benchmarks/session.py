"""One run: start everything, go round by round through the clients, end everything, and hand back the document.

The clients take turns: in each round every scenario is measured with every client, one after the other, and each round
begins with another client. What slows the machine down for a while hits all of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.document import SCHEMA, Results
from benchmarks.plan import LEAST_ROUNDS, UPSTREAMS, Plan, Scenario
from benchmarks.processes import Broken, Process, Refused, start_client, start_upstream
from benchmarks.rows import Row, python_of, row
from phase1.lab.machine import describe, versions

__all__ = ["Session", "clients", "run_plan", "upstreams"]

_TIMEOUT = 180.0
_MEGABYTE = 1e6
_ASGI = "asgi"

Say = Callable[[str], None]


def run_plan(plan: Plan, say: Say) -> Results:
    """Measure what `plan` says. `say` is told how far it is."""
    began, load_before = time.monotonic(), os.getloadavg()
    with ExitStack() as stack:
        urls = upstreams(stack)
        session = Session(plan, urls, say)
        session.start(stack)
        session.measure()
        session.measure_memory()
        session.measure_app()
    return Results(
        {
            "schema": SCHEMA,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "plan": plan.name,
            "rounds": session.rounds,
            "seconds": round(time.monotonic() - began, 1),
            "machine": describe() | {"load_before": load_before[0], "load_after": os.getloadavg()[0]},
            "versions": versions(),
            "upstreams": {name: dict(options) for name, options in UPSTREAMS.items()},
            **session.document(),
        }
    )


def upstreams(stack: ExitStack) -> dict[str, str]:
    """Start all of them; they end with `stack`."""
    urls = {}
    for name, options in UPSTREAMS.items():
        process, urls[name] = start_upstream(name, options)
        stack.enter_context(process)
    return urls


def clients(names: tuple[str, ...], stack: ExitStack, skip: Callable[[str, str], None]) -> dict[str, Process]:
    """Start the clients' processes side by side; those that cannot run are told to `skip`, with the reason."""
    started: dict[str, Process] = {}
    for name in names:
        try:
            started[name] = stack.enter_context(_process_of(row(name)))
        except Refused as exc:
            skip(name, str(exc))
    return started


def _process_of(each: Row) -> Process:
    return start_client(each.name, python_of(each), each.client, each.variant)


class Session:
    """The clients that run, and what they have been measured at."""

    def __init__(self, plan: Plan, urls: dict[str, str], say: Say) -> None:
        self._plan = plan
        self._urls = urls
        self._say = say
        self.rounds = 0
        self._running: dict[str, Process] = {}
        self._versions: dict[str, dict[str, str]] = {}
        self._samples: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        self._skipped: dict[str, dict[str, str]] = defaultdict(dict)
        """Why: by row, by scenario (`*` = all of them)."""

    def start(self, stack: ExitStack) -> None:
        """Start every client that this machine has."""
        self._say("starting the clients")
        for name, process in clients(self._plan.rows, stack, lambda name, why: self._skip(name, "*", why)).items():
            with self._skipping(name, "*"):
                self._versions[name] = process.hear()["versions"]
                self._running[name] = process

    def _skip(self, name: str, what: str, why: str) -> None:
        if why not in self._skipped[name].values():
            self._say(f"skipped: {name}{'' if what == '*' else f', {what}'}: {why}")
        self._skipped[name][what] = why

    @contextlib.contextmanager
    def _skipping(self, name: str, what: str) -> Iterator[None]:
        """One client that fails stops nobody else."""
        try:
            yield
        except (Refused, Broken) as exc:
            self._skip(name, what, str(exc))

    def measure(self) -> None:
        """All rounds of all that takes turns."""
        began = time.monotonic()
        for number in range(self._plan.rounds):
            if number >= LEAST_ROUNDS and time.monotonic() - began > self._plan.budget:
                self._say(f"no time for more than {number} rounds")
                break
            self.rounds += 1
            for scenario in self._plan.scenarios:
                if scenario.memory or (scenario.rounds is not None and number >= scenario.rounds):
                    continue
                self._say(f"round {number + 1} of {self._plan.rounds}: {scenario.title}")
                for name in _from(number, scenario.rows):
                    self._measure(scenario, name)

    def _measure(self, scenario: Scenario, name: str) -> None:
        process = self._running.get(name)
        if process is None or scenario.name in self._skipped[name]:
            return
        with self._skipping(name, scenario.name):
            order = {"do": "load", "load": asdict(scenario.load), "upstreams": self._urls}
            self._samples[scenario.name][name].append(process.ask(order, timeout=_TIMEOUT))

    def measure_memory(self) -> None:
        """Each in a fresh process: what was allocated before would hide what is needed now."""
        for scenario in self._plan.scenarios:
            if scenario.memory:
                self._say(scenario.title)
                for name in scenario.rows:
                    if name in self._running:
                        self._measure_memory(scenario, name)

    def _measure_memory(self, scenario: Scenario, name: str) -> None:
        with self._skipping(name, scenario.name), _process_of(row(name)) as process:
            process.hear()
            order = {"do": "memory", "load": asdict(scenario.load), "upstreams": self._urls}
            found = process.ask(order, timeout=_TIMEOUT)
            megabytes = found["bytes"] / _MEGABYTE / (found["calls"] / 1000)
            self._samples[scenario.name][name].append({"mb": megabytes, "notes": found["notes"]})

    def measure_app(self) -> None:
        """What phase1 adds to a request of an app."""
        if not self._plan.asgi_rounds:
            return
        self._say("app requests")
        client = "benchmarks.clients.ours"  # its imports are those of an app with phase1
        with self._skipping(_ASGI, "*"), start_client(_ASGI, Path(sys.executable), client, "") as process:
            process.hear()
            found = process.ask({"do": "asgi", "rounds": self._plan.asgi_rounds}, timeout=_TIMEOUT)
            self._samples[_ASGI].update(found)

    def document(self) -> dict[str, Any]:
        """What was found."""
        rows = {name: {"title": row(name).title, "versions": self._versions.get(name, {})} for name in self._plan.rows}
        titles = {scenario.name: scenario.title for scenario in self._plan.scenarios}
        return {
            "rows": rows,
            "scenarios": titles,
            "skipped": {name: why for name, why in self._skipped.items() if why},
            "samples": {scenario: dict(found) for scenario, found in self._samples.items()},
        }


def _from(start: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """The same names, beginning with another one."""
    at = start % len(names) if names else 0
    return names[at:] + names[:at]
