"""The process of one client: it takes orders on stdin and answers on stdout, a line of JSON each; it ends with stdin.

    python -m benchmarks.worker --client benchmarks.clients.stock --variant stock

Started by `benchmarks.processes`, in the environment that the client needs.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import importlib
import json
import os
import pstats
import sys
import traceback
from collections.abc import Sequence
from typing import Any, TextIO, cast

from benchmarks.clients.base import Opener, Unavailable
from benchmarks.load import Load, measure, measure_memory
from phase1.lab.loops import run
from phase1.lab.machine import pin, raise_open_files, versions

__all__ = ["main"]


class Worker:
    """One client and its orders."""

    def __init__(self, opened: Opener, variant: str) -> None:
        self._opened = opened
        self._variant = variant

    async def obey(self, order: dict[str, Any]) -> object:
        """Do what `order` says, and return what came of it."""
        match order.pop("do"):
            case "load":
                sample = await measure(self._opened, self._variant, Load(**order["load"]), order["upstreams"])
                return sample.as_json()
            case "memory":
                return await measure_memory(self._opened, self._variant, Load(**order["load"]), order["upstreams"])
            case "profile":
                return await self._profile(Load(**order["load"]), order["upstreams"])
            case "asgi":
                from benchmarks.asgi import overhead  # noqa: PLC0415 - not in every environment

                return await overhead(**order)
            case unknown:
                raise ValueError(f"no such order: {unknown}")

    async def _profile(self, load: Load, upstreams: dict[str, str]) -> object:
        profile = cProfile.Profile()
        sample = await measure(self._opened, self._variant, load, upstreams, profile)
        return {"sample": sample.as_json(), "functions": _functions(profile)}


def _functions(profile: cProfile.Profile) -> list[dict[str, object]]:
    stats = cast("Any", pstats.Stats(profile)).stats
    return [
        {"file": file, "line": line, "name": name, "calls": calls, "own": own, "all": everything}
        for (file, line, name), (_, calls, own, everything, _) in stats.items()
    ]


async def serve(worker: Worker, answers: TextIO) -> None:
    """Obey until stdin ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await _answer(worker, json.loads(line))), file=answers, flush=True)
        gc.collect()  # what one measurement leaves behind is not the next one's burden


async def _answer(worker: Worker, order: dict[str, Any]) -> dict[str, object]:
    try:
        return {"ok": await worker.obey(order)}
    except Exception as exc:  # noqa: BLE001 - whatever a client does, the others are still measured
        error = _first(exc)
        if isinstance(error, Unavailable):
            return {"unavailable": str(error)}
        traceback.print_exception(exc, file=sys.stderr)
        return {"failed": f"{type(error).__name__}: {error}"}


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(argv: Sequence[str] | None = None) -> int:
    """Say that the client is there, then obey."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--client", required=True, help="the client's module")
    parser.add_argument("--variant", default="", help="what the module makes of it")
    parser.add_argument("--core", type=int, default=None, help="the core to stay on")
    args = parser.parse_args(argv)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not end up between our lines
    raise_open_files()
    try:
        worker = Worker(importlib.import_module(args.client).opened, args.variant)
    except ImportError as exc:
        print(json.dumps({"unavailable": str(exc)}), file=answers, flush=True)
        return 1
    pin(args.core)  # only now: several clients may be imported at once
    print(json.dumps({"ok": {"versions": versions(), "pid": os.getpid()}}), file=answers, flush=True)
    run(serve(worker, answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
