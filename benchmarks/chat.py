"""What do the chat helpers change? Real uvicorn processes in front of an upstream that takes its time.

    python -m benchmarks.chat endpoint     # the example's /chat, 50 ms a query, 1 s a model: where the time goes
    python -m benchmarks.chat langgraph    # examples/langgraph_chat.py before and after, 50 users at once

`endpoint`: reading takes at most 1.3 times one query, although there are two; the whole at most the longest query plus
the model plus 10 %; the parts add up to the time that the caller measures within 5 %. With `--users 20` the same under
load. `langgraph`: the wall time of a burst; `before` answers one user after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from benchmarks.processes import Broken, Process, start_upstream

QUERY = 0.05  # seconds, told to the app
MODEL = 1.0  # seconds
QUICK_MODEL = 0.2
BURST = 50
_TIMEOUT = 120.0
_PARTS = ("db_fetch_time", "llm_response_time", "db_save_time")


def start_app(stack: ExitStack, target: str, environment: dict[str, str], *more: str) -> str:
    """Uvicorn with `target` on a free port; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = [target, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", *more]
    stack.callback(Process(target, Path(sys.executable), "uvicorn", arguments, environment).stop)
    return f"http://127.0.0.1:{port}"


async def ready(browser: httpx.AsyncClient, path: str) -> None:
    """Wait until it answers. Raises `TimeoutError`."""
    async with asyncio.timeout(_TIMEOUT):
        while True:
            try:
                await browser.get(path)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


# --- the endpoint -----------------------------------------------------------------------------------------------------


async def endpoint(url: str, users: int, rounds: int) -> list[dict[str, float]]:
    """What `/chat` says of itself, and how long the caller waited (`wall`), for each request."""
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, trust_env=False) as browser:
        await ready(browser, "/health")
        projects = {user: await _project(browser, user) for user in range(users)}
        await asyncio.gather(*(_chat(browser, user, project) for user, project in projects.items()))  # warm
        found: list[dict[str, float]] = []
        for _ in range(rounds):
            found += await asyncio.gather(*(_chat(browser, user, project) for user, project in projects.items()))
    return found


async def _project(browser: httpx.AsyncClient, user: int) -> int:
    answer = await browser.post("/projects", json={"name": "Bridge"}, headers=_user(user))
    return int(_checked(answer)["id"])


async def _chat(browser: httpx.AsyncClient, user: int, project: int) -> dict[str, float]:
    started = time.perf_counter()
    answer = await browser.post("/chat", json={"message": "Why?", "project_id": project}, headers=_user(user))
    wall = time.perf_counter() - started
    return {"wall": wall, **_checked(answer).get("performance_metrics", {})}


def _user(number: int) -> dict[str, str]:
    return {"authorization": f"Bearer demo-{number}"}


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise Broken(f"{answer.request.url.path}: {answer.status_code} {answer.text[:200]}")
    body: dict[str, Any] = answer.json()
    return body


def verdicts(found: Sequence[dict[str, float]]) -> list[tuple[str, float, float]]:
    """What was measured (medians, in seconds) and what is allowed."""
    median = {name: statistics.median(one[name] for one in found) for name in ("wall", "total_time", *_PARTS)}
    apart = statistics.median(abs(sum(one[part] for part in _PARTS) - one["wall"]) / one["wall"] for one in found)
    return [
        ("db_fetch_time, for 1.3 × one query", median["db_fetch_time"], 1.3 * QUERY),
        ("total_time, for max(db) + model + 10 %", median["total_time"], 1.1 * (QUERY + MODEL)),
        ("the parts' sum beside the caller's wall time", apart, 0.05),
    ]


def measure_endpoint(users: int, rounds: int) -> int:
    """Print the table; 1 if something is over what is allowed."""
    with ExitStack() as stack:
        upstream, url = start_upstream("1 s", {"latency": MODEL})
        stack.callback(upstream.stop)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        common = {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "sk-benchmark",
            "RATE_LIMIT": "0",
            "ENABLE_LLM_POOL": "true",
            "QUERY_SECONDS": str(QUERY),
        }
        rows = {}
        for name, switch in (("own code", "false"), ("optimized", "true")):
            environment = {
                **common,
                "DATABASE_URL": f"sqlite:///{folder}/{switch}.sqlite3",
                "USE_OPTIMIZED_CHAT": switch,
            }
            app = start_app(stack, "benchmarks.apps.slow_queries:app", environment)
            rows[name] = asyncio.run(endpoint(app, users, rounds))
    print(f"{users} users at once, {rounds} rounds, {QUERY * 1000:g} ms a query, {MODEL:g} s a model, load {_load()}\n")
    print("| way | caller waits | db_fetch | llm | db_save | total |\n|---|---|---|---|---|---|")
    for name, found in rows.items():
        cells = [
            f"{statistics.median(one[part] for one in found):.3f} s" if part in found[0] else "–"
            for part in ("wall", *_PARTS, "total_time")
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    met = True
    print()
    for what, measured, allowed in verdicts(rows["optimized"]):
        met = met and measured <= allowed
        print(f"{'met' if measured <= allowed else 'NOT MET'}: {what}: {measured:.3f}, allowed {allowed:.3f}")
    return 0 if met else 1


# --- LangGraph --------------------------------------------------------------------------------------------------------


async def burst(url: str) -> float:
    """Seconds until all users of a burst are answered."""
    limits = httpx.Limits(max_connections=BURST)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, trust_env=False, limits=limits) as browser:
        await ready(browser, "/docs")
        _checked(await browser.post("/api/chat", json={"message": "warm"}))
        started = time.perf_counter()
        for answer in await asyncio.gather(
            *(browser.post("/api/chat", json={"message": "Hello"}) for _ in range(BURST))
        ):
            _checked(answer)
        return time.perf_counter() - started


def measure_langgraph() -> int:
    """Print the table."""
    ways = (
        ("before: llm.invoke", "examples.langgraph_chat:create_before", ("--factory",), "false"),
        ("after: llm.ainvoke, pool off", "examples.langgraph_chat:app", (), "false"),
        ("after: llm.ainvoke, on the pool", "examples.langgraph_chat:app", (), "true"),
    )
    print(f"{BURST} users at once, {QUICK_MODEL:g} s a model, load {_load()}")
    print("\n| way | burst | ÷ one answer |\n|---|---|---|")
    for name, target, more, pool in ways:
        with ExitStack() as stack:
            upstream, url = start_upstream("0.2 s", {"latency": QUICK_MODEL})
            stack.callback(upstream.stop)
            environment = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-benchmark", "ENABLE_LLM_POOL": pool}
            seconds = asyncio.run(burst(start_app(stack, target, environment, *more)))
        print(f"| {name} | {seconds:.2f} s | {seconds / QUICK_MODEL:.1f} |", flush=True)
    return 0


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """0 = measured, and within what is allowed; 1 = over it; 2 = it could not be measured; 130 = interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("endpoint", "langgraph"))
    parser.add_argument("--users", type=int, default=1, help="endpoint: users at once")
    parser.add_argument("--rounds", type=int, default=5, help="endpoint: requests of each user")
    args = parser.parse_args(argv)
    try:
        return (
            measure_endpoint(max(1, args.users), max(1, args.rounds))
            if args.what == "endpoint"
            else measure_langgraph()
        )
    except KeyboardInterrupt:
        return 130
    except (Broken, OSError, httpx.HTTPError) as exc:
        print(f"error: {str(exc) or 'no answer in time'}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
