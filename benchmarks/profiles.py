"""Where does the time of one client's calls go? The standard library's profiler around the loaded loop.

It makes small functions look dearer than they are, by about a microsecond a call: read the order, not the sums.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.plan import scenario
from benchmarks.processes import ROOT, Refused
from benchmarks.report import table
from benchmarks.session import clients, upstreams

__all__ = ["profile"]

_TIMEOUT = 180.0
_PACKAGE = re.compile(r".*/site-packages/([^/]+)")
_STDLIB = re.compile(r".*/lib/python3\.\d+/([^/]+)")
_SECONDS = 4.0
_Function = dict[str, Any]


def profile(name: str, scenario_name: str, *, top: int = 30) -> str:
    """The `top` functions by their own time, and what each package takes, per call or chunk. Raises `Refused`."""
    load = replace(scenario(scenario_name).load, seconds=_SECONDS)
    with ExitStack() as stack:
        urls = upstreams(stack)
        running = clients((name,), stack, _refuse)
        running[name].hear()
        order = {"do": "profile", "load": asdict(load), "upstreams": urls}
        found = running[name].ask(order, timeout=_TIMEOUT)
    return _text(found["functions"], found["sample"]["units"], top)


def _refuse(name: str, why: str) -> None:
    raise Refused(f"{name}: {why}")


def _text(functions: list[_Function], units: int, top: int) -> str:
    total = sum(each["own"] for each in functions)
    functions.sort(key=lambda each: -each["own"])
    packages: dict[str, float] = defaultdict(float)
    for each in functions:
        packages[_package(each["file"])] += each["own"]
    return "\n\n".join(
        [
            f"{units} units, {total / units * 1e6:.1f} µs each under the profiler",
            _functions(functions[:top], units, total),
            "Of phase1 alone:",
            _functions([each for each in functions if _package(each["file"]) == "phase1"][:top], units, total),
            table(["package", "own µs", "share"], [_package_line(*each, units, total) for each in _dearest(packages)]),
        ]
    )


def _functions(functions: list[_Function], units: int, total: float) -> str:
    head = ["function", "own µs", "share", "calls", "with callees µs"]
    return table(head, [_line(each, units, total) for each in functions])


def _line(each: _Function, units: int, total: float) -> list[str]:
    return [
        _place(each),
        f"{each['own'] / units * 1e6:.1f}",
        f"{each['own'] / total:.1%}",
        f"{each['calls'] / units:.2f}",
        f"{each['all'] / units * 1e6:.1f}",
    ]


def _dearest(packages: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(packages.items(), key=lambda each: -each[1])[:15]


def _package_line(name: str, own: float, units: int, total: float) -> list[str]:
    return [name, f"{own / units * 1e6:.1f}", f"{own / total:.0%}"]


def _place(each: _Function) -> str:
    if each["file"] == "~":
        return str(each["name"])
    path = Path(each["file"])
    return f"{path.parent.name}/{path.name}:{each['line']} {each['name']}"


def _package(file: str) -> str:
    if file == "~":
        return "built-in"
    if match := _PACKAGE.match(file):
        return match[1]
    if match := _STDLIB.match(file):
        return f"stdlib {match[1].removesuffix('.py')}"
    return next((name for name in ("phase1", "benchmarks") if file.startswith(f"{ROOT / name}/")), file)
