"""What does phase1 change for an app that blocks its event loop? The same file before and after, 50 users at once.

    python -m benchmarks.unblock --rounds 3 --json unblock.json

Real uvicorn processes on loopback in front of an upstream that takes 0.2 s. The target: a burst takes at most 1.6 times
the upstream's latency, plus what the stock async app takes above that latency; the event loop is late by less than
20 ms (p99 of a sampler inside the app, during the bursts).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.processes import Broken, Process, start_upstream
from phase1.lab.machine import describe, versions

__all__ = ["Figure", "Variant", "main"]

USERS = 50
LATENCY = 0.2  # seconds
FACTOR = 1.6
LAG_LIMIT = 20.0  # ms
ROUTES = ("direct", "deep", "stream", "embeddings")
_EVENTS = 50
_TIMEOUT = 60.0
_POOLED = {"ENABLE_LLM_POOL": "true"}
_UNTOUCHED = "benchmarks.apps.untouched:app"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the app. `once`: a burst takes so long that one round of it must do."""

    name: str
    target: str
    environment: dict[str, str] = field(default_factory=dict)
    once: bool = False

    @property
    def pooled(self) -> bool:
        """Has it phase1, and so a target to meet?"""
        return bool(self.environment)


STOCK = Variant("stock async", "benchmarks.apps.stock_async:app")
VARIANTS = (
    Variant("plain", _UNTOUCHED, once=True),
    Variant("phase1 run", "phase1.asgi.shim:app", _POOLED | {"PHASE1_APP": _UNTOUCHED}),
    Variant("two lines", "benchmarks.apps.two_lines:app", _POOLED),
    STOCK,
)


@dataclass(slots=True)
class Figure:
    """What was measured of one route of one variant: the wall time of each burst, and every sample of the lag."""

    walls: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Seconds for a burst: the median of the rounds."""
        return statistics.median(self.walls)

    @property
    def lag(self) -> float:
        """Milliseconds by which the event loop was late: p99, by the nearest rank."""
        return 1000 * sorted(self.lags)[math.ceil(0.99 * len(self.lags)) - 1] if self.lags else math.nan


Figures = dict[tuple[str, str], Figure]


class App:
    """One variant as a server."""

    def __init__(self, variant: Variant, process: Process, port: int) -> None:
        self.variant = variant
        self._process = process
        self._port = port

    def started(self) -> None:
        """Wait until its start is done. Raises `Broken` with its last words."""
        self._process.hear()

    async def listening(self) -> None:
        """Wait until it can be reached, a moment after its start. Raises `TimeoutError`."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                try:
                    await self.get("lag")
                except ConnectionError:
                    await asyncio.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        """End its process."""
        self._process.stop()

    async def get(self, route: str) -> bytes:
        """The body of a successful answer, on a connection of its own. Raises `Broken` for any other answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"GET /{route} HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if not head.startswith(b"HTTP/1.1 200"):
            raise Broken(f"{self.variant.name}, /{route}: {head[:60]!r} {body[:200]!r}")
        return body

    async def burst(self, route: str, expected: bytes, figure: Figure) -> None:
        """All users at once; every answer must be the `expected` one."""
        await self.get("lag")
        begun = time.perf_counter()
        async with asyncio.timeout(_TIMEOUT):
            bodies = await asyncio.gather(*(self.get(route) for _ in range(USERS)))
        figure.walls.append(time.perf_counter() - begun)
        await asyncio.sleep(0.03)  # a sample that was delayed to the very end is written down too
        figure.lags += json.loads(await self.get("lag"))
        if set(bodies) != {expected}:
            raise Broken(f"{self.variant.name}, /{route}: the answers differ")


def start_app(variant: Variant, upstream: str) -> App:
    """Uvicorn with `variant` on a free port."""
    port = _free_port()
    arguments = [variant.target, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    credentials = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "sk-benchmark"}
    python = Path(sys.executable)
    return App(variant, Process(variant.name, python, "uvicorn", arguments, credentials | variant.environment), port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def measure(apps: Sequence[App], rounds: int) -> Figures:
    """One warm-up request per route, then `rounds` in which the variants take turns, each time another one first."""
    expected = await _warm_up(apps)
    figures: Figures = {(route, app.variant.name): Figure() for route in ROUTES for app in apps}
    for number in range(rounds):
        first = number % len(apps)
        for route in ROUTES:
            for app in (*apps[first:], *apps[:first]):
                if number == 0 or not app.variant.once:
                    await app.burst(route, expected[route], figures[route, app.variant.name])
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return figures


async def _warm_up(apps: Sequence[App]) -> dict[str, bytes]:
    """What each route answers; all variants must agree. Raises `Broken`."""
    for app in apps:
        await app.listening()
    expected = {}
    for route in ROUTES:
        bodies = {await app.get(route) for app in apps}
        if len(bodies) != 1:
            raise Broken(f"/{route}: the variants answer differently")
        expected[route] = bodies.pop()
    return expected


def rows(figures: Figures) -> list[dict[str, object]]:
    """The table: `allowed` seconds for a burst, what was needed, and whether that meets the targets."""
    return [_row(route, variant, figures) for route in ROUTES for variant in VARIANTS]


def _row(route: str, variant: Variant, figures: Figures) -> dict[str, object]:
    figure = figures[route, variant.name]
    allowed = FACTOR * LATENCY + max(0.0, figures[route, STOCK.name].wall - LATENCY)
    return {
        "route": route,
        "variant": variant.name,
        "wall": figure.wall,
        "walls": figure.walls,
        "allowed": allowed,
        "wall_met": figure.wall <= allowed,
        "lag_p99_ms": figure.lag,
        "lag_samples": len(figure.lags),
        "lag_met": figure.lag < LAG_LIMIT if variant.pooled else None,
    }


def table(found: Sequence[dict[str, object]]) -> str:
    """`found` as Markdown."""
    head = f"| route | variant | wall s | / allowed | ≤ 1 | lag p99 ms | < {LAG_LIMIT:g} |"
    return "\n".join([head, "|---" * 7 + "|", *(_line(row) for row in found)])


def _line(row: dict[str, object]) -> str:
    ratio = float(str(row["wall"])) / float(str(row["allowed"]))
    lag_met = row["lag_met"]
    cells = (
        f"{row['route']}",
        f"{row['variant']}",
        f"{row['wall']:.3f}",
        f"{ratio:.2f}",
        _verdict(met=bool(row["wall_met"])),
        f"{row['lag_p99_ms']:.1f}",
        "" if lag_met is None else _verdict(met=bool(lag_met)),
    )
    return f"| {' | '.join(cells)} |"


def _verdict(*, met: bool) -> str:
    return "met" if met else "not met"


def main(argv: Sequence[str] | None = None) -> int:
    """0 = measured; 2 = it could not be measured; 130 = interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unblock", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; `plain` once")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there as well")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _measure(max(1, args.rounds), args.json)
    except KeyboardInterrupt:
        return 130
    except (Broken, OSError, ValueError) as exc:  # a timeout is an OSError
        print(f"error: {str(exc) or 'no answer in time'}", file=sys.stderr)
        return 2
    return 0


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _measure(rounds: int, path: Path | None) -> None:
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        upstream, url = start_upstream("0.2 s", {"latency": LATENCY, "events": _EVENTS})
        stack.callback(upstream.stop)
        apps = []
        for variant in VARIANTS:
            app = start_app(variant, url)
            stack.callback(app.stop)
            apps.append(app)
        for app in apps:
            app.started()
        found = rows(asyncio.run(measure(apps, rounds)))
    about = f"{USERS} users, {rounds} rounds (plain: 1), load average {load:.1f}"
    print(f"{about}; allowed = {FACTOR} × {LATENCY} s + stock async's time above {LATENCY} s\n\n{table(found)}")
    if path is not None:
        document = {"machine": describe(), "versions": versions(), "load": load, "rounds": rounds, "rows": found}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
