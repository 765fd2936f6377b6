"""How does an app fare in a case? The same fault for the app with its pool off and on, side by side."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from phase1.lab.apps import Upstream
from phase1.lab.chaos.cases import Case
from phase1.lab.chaos.crowd import Crowd, End, ask_once, judge
from phase1.lab.chaos.faults import healthy
from phase1.lab.chaos.http import http_client
from phase1.lab.chaos.outside import Vitals, held_requests, live, vitals
from phase1.lab.chaos.scene import Plan, Scene
from phase1.lab.chaos.store import StateStore, state_store
from phase1.lab.chaos.upstream import Endpoint
from phase1.lab.chaos.verdict import RECOVERY, Observation, Problem, problems_of
from phase1.lab.processes import LabError
from phase1.lab.trial import RunningApp, Trial

__all__ = ["Played", "Result", "Tell", "inspect", "play"]

Tell = Callable[[str, str], None]
"""Hears which app is in which phase of a case."""

_KEY: Final = "sk-chaos-{}"
_SLACK: Final = 1.0
"""Seconds that the way there and back may take on a busy machine."""
_CALM: Final = 1.0
"""Seconds that all is well before the fault."""
_SETTLE: Final = 6.0
_POLL: Final = 0.2
_STRAY: Final = 2
"""Sockets more or less that mean nothing: one is just being opened or closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One app in one case. `problems`: what should not have been; none = passed."""

    seen: Observation
    problems: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        """Whether the app has stood the fault."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A case, and what came of it."""

    case: Case
    legacy: Result
    pooled: Result


async def inspect(trial: Trial, plan: Plan) -> bool:
    """Ask the app once, pool off and on, before anything is broken: does a good answer show the endpoints' words?

    Raises `LabError` in one line for an app that cannot be tried.
    """
    whole = []
    for pooled in (False, True):
        async with _endpoints(1) as endpoints, _app(trial, plan, endpoints, pooled=pooled) as app:
            await trial.check(app, asked=_counter(endpoints))
            whole.append(await _shows_words(app))
    return all(whole)


async def play(trial: Trial, case: Case, plan: Plan, *, whole: bool, tell: Tell) -> Played:
    """Both apps at the same time. Raises `LabError` when one of them does not start."""
    try:
        async with asyncio.TaskGroup() as both:
            legacy, pooled = (
                both.create_task(_one(trial, case, plan, pooled=pooled, whole=whole, tell=tell))
                for pooled in (False, True)
            )
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return Played(case=case, legacy=legacy.result(), pooled=pooled.result())


async def _one(trial: Trial, case: Case, plan: Plan, *, pooled: bool, whole: bool, tell: Tell) -> Result:
    async with AsyncExitStack() as stack:
        endpoints = await stack.enter_async_context(_endpoints(case.nodes))
        store = await stack.enter_async_context(state_store()) if case.store else None
        app = await stack.enter_async_context(_app(trial, plan, endpoints, store, pooled=pooled, case=case))
        scene = Scene(app=app, endpoints=endpoints, plan=plan, store=store)
        seen = await _Play(scene, case, whole=whole, tell=tell).run()
    return Result(seen=seen, problems=problems_of(seen, case.allowance(plan.users)))


class _Play:
    """One app in one case, from its first user to its last."""

    def __init__(self, scene: Scene, case: Case, *, whole: bool, tell: Tell) -> None:
        self._scene = scene
        self._case = case
        self._whole = whole
        self._tell = tell
        self._patience = scene.plan.deadline + _SLACK

    async def run(self) -> Observation:
        """Calm, the fault, the time after it; then everybody goes home and what is left is counted."""
        scene, plan = self._scene, self._scene.plan
        before = await self._warm_up()
        asked = sum(endpoint.requests for endpoint in scene.endpoints)
        async with live(scene.app, patience=self._patience) as liveness, self._crowd() as crowd:
            await asyncio.sleep(_CALM)
            self._say("broken")
            await self._case.inflict(scene)
            self._say("recovers")
            recovery = await crowd.served(since=time.monotonic(), within=RECOVERY * plan.deadline)
            self._say("settles")
        held, upstream, after = await self._settled(before)
        ends = crowd.ends
        return Observation(
            deadline=plan.deadline,
            requests=len(crowd.samples),
            answered=ends[End.ANSWERED],
            half=ends[End.HALF],
            late=ends[End.LATE],
            lost=ends[End.LOST],
            errors=dict(Counter(sample.said for sample in crowd.samples if sample.end is End.FAILED)),
            slowest=max((sample.seconds for sample in crowd.samples), default=0.0),
            liveness=liveness.slowest,
            recovery=recovery,
            held=held,
            upstream=upstream,
            sockets=_stray(before, after),
            memory=max(0.0, after.memory - before.memory),
            asked=sum(endpoint.requests for endpoint in scene.endpoints) - asked,
        )

    def _say(self, phase: str) -> None:
        self._tell(self._scene.app.name, phase)

    def _crowd(self) -> Crowd:
        scene = self._scene
        return Crowd(scene.app.url, scene.ask, users=scene.plan.users, patience=self._patience, whole=self._whole)

    async def _warm_up(self) -> Vitals:
        """Everybody is served once, so that what is built and imported on the way is there before it is counted."""
        self._say("warms up")
        async with self._crowd() as crowd:
            served = await crowd.served(since=time.monotonic(), within=3 * self._patience)
        if served is None:
            ends = ", ".join(f"{count} {end}" for end, count in crowd.ends.items())
            self._scene.app.server.require_running()
            raise LabError(
                f"the {self._scene.app.name} does not serve {self._scene.plan.users} users while all is well ({ends});"
                f" fewer may do (--users)"
            )
        await asyncio.sleep(_POLL)
        return self._look()

    async def _settled(self, before: Vitals) -> tuple[int, int, Vitals]:
        """Wait until nothing is under way, but not for ever: what is left then was left behind."""
        ends_at = time.monotonic() + _SETTLE
        while True:
            upstream = sum(endpoint.in_progress for endpoint in self._scene.endpoints)
            held = await held_requests(self._scene.app)
            after = self._look()
            if not (upstream or held or _stray(before, after)) or time.monotonic() > ends_at:
                return held or 0, upstream, after
            await asyncio.sleep(_POLL)

    def _look(self) -> Vitals:
        ports = frozenset(endpoint.port for endpoint in self._scene.endpoints)
        return vitals(self._scene.pid, endpoints=ports)


def _stray(before: Vitals, after: Vitals) -> int:
    """Sockets that are new."""
    new = after.sockets - before.sockets
    return new if new > _STRAY else 0


@asynccontextmanager
async def _endpoints(count: int) -> AsyncIterator[list[Endpoint]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Endpoint(healthy)) for _ in range(count)]


def _first(endpoints: list[Endpoint]) -> Upstream:
    return Upstream(base_url=endpoints[0].url, api_key=_KEY.format(0), mock=True)


def _counter(endpoints: list[Endpoint]) -> Callable[[], Awaitable[int]]:
    async def asked() -> int:
        return sum(endpoint.requests for endpoint in endpoints)

    return asked


async def _shows_words(app: RunningApp) -> bool:
    async with http_client() as client:
        _, text = await ask_once(client, app.url, app.target.ask, 1, patience=30.0)
    return judge(200, text, whole=True) is End.ANSWERED


@asynccontextmanager
async def _app(
    trial: Trial,
    plan: Plan,
    endpoints: list[Endpoint],
    store: StateStore | None = None,
    *,
    pooled: bool,
    case: Case | None = None,
) -> AsyncIterator[RunningApp]:
    settings = {**plan.settings, "ENABLE_LOAD_BALANCER": "true"} if pooled else {}
    settings |= {"LLM_STATE_URL": store.url} if store else {}
    nodes = _nodes(endpoints, case.domains if case else ())
    workers = case.workers if case else 1
    app = await trial.start(pooled=pooled, settings=settings, upstream=_first(endpoints), nodes=nodes, workers=workers)
    try:
        yield app
    finally:
        await asyncio.to_thread(app.stop)  # it takes its time, and somebody else is being measured


def _nodes(endpoints: list[Endpoint], domains: tuple[str | None, ...]) -> list[dict[str, object]]:
    domains = domains or (None,) * len(endpoints)
    return [
        {
            "name": f"node-{number + 1}",
            "base_url": endpoint.url,
            "api_key": _KEY.format(number),
            **({"quota_domain": domain} if domain else {}),
        }
        for number, (endpoint, domain) in enumerate(zip(endpoints, domains, strict=True))
    ]
