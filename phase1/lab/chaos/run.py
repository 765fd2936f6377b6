"""How do users fare? They ask a pool on real sockets all the while, half of them by streams, and everything is counted.

Users, pool and endpoints are in one process: what counts here is what happens, not how fast.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import openai
from openai.types.chat import ChatCompletionMessageParam

from phase1.doors.manager import LLMManager
from phase1.events import AttemptFinished, Event
from phase1.lab.chaos.faults import FAULTS, RETRY_AFTER
from phase1.lab.chaos.suites import SUITES, Scenario
from phase1.lab.chaos.upstream import Endpoint
from phase1.settings import Settings

__all__ = ["CLOCKS", "Outcome", "Plan", "play", "run_suite"]

CLOCKS: Final[dict[str, object]] = {
    "llm_request_deadline": 10.0,
    "llm_queue_timeout": 10.0,
    "llm_connect_timeout": 1.0,
    "llm_first_token_timeout": 1.5,
    "llm_idle_timeout": 1.5,
}
"""Shorter than the defaults, so that a minute shows what an hour would."""
_MESSAGES: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "hello"}]
_LATE: Final = 0.25
"""Seconds that a busy machine may add to a deadline."""
_GRACE: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`users` at once, asking for `seconds` in each scenario."""

    users: int = 50
    seconds: float = 5.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one scenario.

    `cut`: streams that broke after their first word, which nobody can serve a second time. `late`: requests whose
    answer, or whose failure, came after the deadline. `attempts`: requests that reached an endpoint; `faulty`: those
    that reached the first one. `cooling`: attempts that were begun at a quota domain whose rest was known. `slowest`:
    seconds until an answer or its first word. `leaked`: places, retries, tasks and connections that are left after the
    pool was closed.
    """

    name: str
    requests: int = 0
    answered: int = 0
    cut: int = 0
    late: int = 0
    attempts: int = 0
    faulty: int = 0
    cooling: int = 0
    slowest: float = 0.0
    leaked: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def servable(self) -> int:
        """Requests that somebody could have served."""
        return self.requests - self.cut

    @property
    def success(self) -> float:
        """Of the servable ones, 0 … 1."""
        return self.answered / self.servable if self.servable else 1.0

    @property
    def amplification(self) -> float:
        """Requests to endpoints per request of a user."""
        return self.attempts / self.requests if self.requests else 0.0


class _Cooling:
    """Knows when the pool has learnt that a domain rests, and counts attempts that were begun there all the same."""

    def __init__(self, scenario: Scenario, outcome: Outcome) -> None:
        names = [_name(number) for number in range(len(scenario.nodes))]
        domains = scenario.domains or (None,) * len(names)
        self._domain = {name: domain or name for name, domain in zip(names, domains, strict=True)}
        self._asks = {
            name: RETRY_AFTER if "Retry-After" in fault or "-ms" in fault else 0.0
            for name, fault in zip(names, scenario.nodes, strict=True)
        }
        self._rests: dict[str, tuple[float, float]] = {}
        self._outcome = outcome

    def on_event(self, event: Event, /) -> None:
        if not isinstance(event, AttemptFinished):
            return
        domain, now = self._domain[event.node], time.monotonic()
        known, ends = self._rests.get(domain, (0.0, 0.0))
        self._outcome.cooling += known < now - event.seconds < ends
        if event.kind == "rate_limit" and now >= ends:
            self._rests[domain] = (now, now + self._asks[event.node])


async def run_suite(suite: str, plan: Plan, *, tell: Callable[[Outcome], None]) -> list[Outcome]:
    """Play every scenario of a suite; `tell` hears of each. Raises `KeyError` for an unknown suite."""
    outcomes = []
    for scenario in SUITES[suite]:
        outcomes.append(await play(scenario, plan))
        tell(outcomes[-1])
    return outcomes


async def play(scenario: Scenario, plan: Plan) -> Outcome:
    """Let users ask while the scenario's nodes do what they do."""
    outcome = Outcome(name=scenario.name)
    before = asyncio.all_tasks()
    async with _endpoints(scenario) as endpoints:
        manager = LLMManager(_settings(scenario, endpoints))
        manager.events.subscribe(_Cooling(scenario, outcome))
        async with manager:
            ends_at = time.monotonic() + plan.seconds
            async with asyncio.TaskGroup() as users:
                for number in range(plan.users):
                    users.create_task(_be(manager, outcome, number, ends_at))
            binding = manager.bindings.current()
        outcome.attempts = sum(endpoint.requests for endpoint in endpoints)
        outcome.faulty = endpoints[0].requests
        outcome.leaked = binding.admission.in_flight + binding.admission.waiting
        if binding.pool is not None:
            outcome.leaked += binding.pool.in_flight + binding.pool.budget.in_flight
        outcome.leaked += await _left(endpoints)
    outcome.leaked += len(asyncio.all_tasks() - before)
    return outcome


async def _left(endpoints: list[Endpoint]) -> int:
    """Connections that are open a moment after the pool was closed."""
    ends_at = time.monotonic() + _GRACE
    while any(endpoint.open_connections for endpoint in endpoints) and time.monotonic() < ends_at:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return sum(endpoint.open_connections for endpoint in endpoints)


@asynccontextmanager
async def _endpoints(scenario: Scenario) -> AsyncIterator[list[Endpoint]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Endpoint(FAULTS[fault])) for fault in scenario.nodes]


def _name(number: int) -> str:
    return f"node-{number + 1}"


def _settings(scenario: Scenario, endpoints: list[Endpoint]) -> Settings:
    domains = scenario.domains or (None,) * len(endpoints)
    nodes = [
        {
            "name": _name(number),
            "base_url": endpoint.url,
            "api_key": f"sk-chaos-{number}",
            **({"quota_domain": domain} if domain else {}),
        }
        for number, (endpoint, domain) in enumerate(zip(endpoints, domains, strict=True))
    ]
    return Settings.load(
        enable_llm_pool=True,
        llm_strict_start=True,
        llm_canary_percent=100.0,
        enable_load_balancer=True,
        llm_nodes=json.dumps(nodes),
        llm_nodes_file="",
        **{**CLOCKS, **scenario.settings},
    )


async def _be(manager: LLMManager, outcome: Outcome, number: int, ends_at: float) -> None:
    """One user: asks, waits, asks again; once at least."""
    deadline = manager.settings.llm_request_deadline + _LATE
    asked = number
    await asyncio.sleep(number * 0.002)
    while asked == number or time.monotonic() < ends_at:
        asked += 1
        outcome.requests += 1
        started = time.perf_counter()
        try:
            client = manager.llm(f"user-{number}").client  # without legacy: nobody steps in for the pool
            seconds = await (_stream if asked % 2 else _whole)(client, outcome, started)
        except openai.APIError as error:
            seconds = time.perf_counter() - started
            _note(outcome, error)
            await asyncio.sleep(0.05)  # nobody asks again within no time
        else:
            outcome.slowest = max(outcome.slowest, seconds)
        outcome.late += seconds > deadline


async def _whole(client: openai.AsyncOpenAI, outcome: Outcome, started: float) -> float:
    answer = await client.chat.completions.create(model="m", messages=_MESSAGES)
    outcome.answered += bool(answer.choices[0].message.content)
    return time.perf_counter() - started


async def _stream(client: openai.AsyncOpenAI, outcome: Outcome, started: float) -> float:
    """Until its end; the time is that of its first word."""
    first: float | None = None
    stream = await client.chat.completions.create(model="m", messages=_MESSAGES, stream=True)
    try:
        async for chunk in stream:
            if first is None and chunk.choices and chunk.choices[0].delta.content:
                first = time.perf_counter() - started
    except openai.APIError:
        if first is None:
            raise
        outcome.cut += 1
        return first
    outcome.answered += first is not None
    return time.perf_counter() - started if first is None else first


def _note(outcome: Outcome, error: openai.APIError) -> None:
    status = getattr(error, "status_code", None)
    name = f"{status} {error.code or ''}".strip() if status else type(error).__name__
    outcome.errors[name] = outcome.errors.get(name, 0) + 1
