"""How much does the lab's load generator take itself, and how punctual is it? Open loop against the mock for load.

    python -m benchmarks.generator --rates 50,200,500,1000 --seconds 5 --json generator.json

`late` is by how much requests left after they were due; `over` is how much longer they took than the mock's latency:
all that generator, sockets and mock add. A comparison of an app can be no more exact than that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phase1.lab.load import Target, arrive, evenly, percentile
from phase1.lab.machine import describe, load_average
from phase1.lab.mock.server import FastMock
from phase1.lab.target import Ask

LATENCY = 0.1  # seconds


async def measure(target: Target, rate: float, seconds: float) -> dict[str, Any]:
    """One rate."""
    spent, begun = time.process_time(), time.perf_counter()
    run = await arrive(target, arrivals=evenly(rate, seconds), users=100, timeout=30)
    spent, wall = time.process_time() - spent, time.perf_counter() - begun
    late = sorted(sample.late * 1000 for sample in run.samples)
    over = sorted((sample.seconds - LATENCY) * 1000 for sample in run.samples)
    sent = max(sample.started + sample.late for sample in run.samples)
    return {
        "rate": rate,
        "sent_per_second": len(run.samples) / max(sent + 1 / rate, 1e-9),
        "failed": sum(not sample.answered for sample in run.samples),
        "cpu_us_per_request": spent / len(run.samples) * 1e6,
        "cores": spent / wall,
        "late_ms": {name: percentile(late, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "over_ms": {name: percentile(over, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
    }


async def main(argv: Sequence[str] | None = None) -> int:
    """Measure every rate."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generator", description=__doc__)
    parser.add_argument("--rates", default="50,200,500,1000", help="arrivals per second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate")
    parser.add_argument("--json", type=Path, help="where to write it")
    args = parser.parse_args(argv)
    body = {"model": "m", "messages": [{"role": "user", "content": "What is a fraction?"}]}
    ask = Ask(route="/v1/chat/completions", body=json.dumps(body))
    rows = []
    with (
        TemporaryDirectory() as folder,
        FastMock(folder=Path(folder), latency=LATENCY, environment=os.environ) as mock,
    ):
        target = Target(url=mock.url + ask.route, ask=ask)
        await arrive(target, arrivals=evenly(50, 0.5), users=10, timeout=30)
        for rate in map(float, args.rates.split(",")):
            rows.append(await measure(target, rate, args.seconds))
            print(
                "{rate:>6g}/s wanted {sent_per_second:>7.1f}/s sent  late p50 {late_ms[p50]:.2f} p99 {late_ms[p99]:.2f}"
                " ms  over p50 {over_ms[p50]:.2f} p99 {over_ms[p99]:.2f} ms  {cpu_us_per_request:.0f} µs a request"
                "  {cores:.2f} cores  {failed} failed".format(**rows[-1])
            )
    if args.json:
        result = {"machine": describe() | {"load_average": load_average()}, "latency": LATENCY, "rates": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
