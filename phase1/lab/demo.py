"""What does the pool change for twenty users? A legacy app and the same app with the pool, before and after, measured.

The users arrive within half an upstream's latency, not all in the same instant, and each asks a few times. They give up
after fifteen latencies: a legacy app that answers one after the other keeps twenty users waiting for twenty.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Protocol

import httpx

from phase1.lab.apps import Faults, Upstream, chat_target, mock_server, require_libraries, start_app, upstream_target
from phase1.lab.load import Sample, Summary, Target, drive, summarize
from phase1.lab.outage import Moment, Outage, show_outage
from phase1.lab.processes import LabError, Server
from phase1.lab.result import DemoResult
from phase1.validation import public_url

__all__ = ["Plan", "Stage", "demo"]

_LIBRARIES: Final = ("phase1", "openai", "httpx", "starlette", "fastapi", "uvicorn")

_PATIENCE: Final = 15
"""Latencies after which a user gives up."""
_LEAST_PATIENCE: Final = 2.0
"""Seconds: the user's own upstream may stand next door and answer in milliseconds; his app does not always."""
_LONGEST_PATIENCE: Final = 60.0
"""Seconds after which nearly every load balancer gives up."""
_SPREAD: Final = 0.5
"""Latencies within which all users arrive."""
_FEW: Final = 3
"""Requests to a real upstream that tell its latency."""
_A_MOMENT: Final = 0.5
"""Seconds between a process's last word on the network and its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. `latency`: of the mock upstream, in seconds; `port`: of the pooled app, 0 = any free one.

    `rounds`: requests of each user; `None` = 2, and 1 where they may cost something.
    """

    users: int = 20
    rounds: int | None = None
    latency: float = 1.0
    port: int = 0


class Stage(Protocol):
    """Where the audience sees what goes on."""

    def say(self, text: str) -> None:
        """Tell what comes next."""

    def count(self, text: str, total: int) -> AbstractContextManager[Callable[[Sample], None]]:
        """Show how many of `total` requests are over, while the block runs."""

    def show(self, moment: Moment) -> None:
        """Show a moment of the outage."""


@asynccontextmanager
async def demo(plan: Plan, *, environment: Mapping[str, str], stage: Stage) -> AsyncIterator[DemoResult]:
    """Do it all. Inside the block the pooled app still runs; with the block everything ends.

    Raises `MissingExtraError`, and `LabError` when a process does not run or the upstream does not answer.
    """
    real = Upstream.real(environment)
    require_libraries(mock=real is None)
    with TemporaryDirectory(prefix="phase1-demo-") as folder, ExitStack() as processes:
        lab = _Lab(plan, Path(folder), environment, stage, processes)
        try:
            result = await lab.run(real)
        except httpx.HTTPError:
            await asyncio.sleep(_A_MOMENT)
            lab.require_running()
            raise
        yield result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    users: int
    rounds: int
    timeout: float
    spread: float


class _Lab:
    """The processes of one demo, and what is done with them."""

    def __init__(
        self, plan: Plan, folder: Path, environment: Mapping[str, str], stage: Stage, processes: ExitStack
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._environment = environment
        self._stage = stage
        self._processes = processes
        self._servers: list[Server] = []

    async def run(self, real: Upstream | None) -> DemoResult:
        """The whole demo."""
        upstream, mock = (real, None) if real else self._mock_upstream()
        legacy, pooled = await self._start_apps(upstream)
        alone = await self._upstream_alone(upstream)
        await asyncio.gather(*(_warm_up(app) for app in (legacy, pooled)))
        rounds = self._plan.rounds or (2 if mock else 1)
        timeout = _patience(self._plan.latency) if mock else max(_LEAST_PATIENCE, _patience(alone.mean))
        load = _Load(users=self._plan.users, rounds=rounds, timeout=timeout, spread=_SPREAD * alone.mean)
        before = await self._drive("legacy app", chat_target(legacy), load)
        self._dismiss(legacy)  # or it would go on asking the upstream for users who have left
        after = await self._drive("pooled app", chat_target(pooled), load)
        outage = await self._outage(pooled, mock, timeout=timeout) if mock else None
        return DemoResult(
            machine=_machine(mock=upstream.mock),
            upstream_url=public_url(upstream.base_url),
            mock=upstream.mock,
            users=self._plan.users,
            rounds=rounds,
            timeout=timeout,
            upstream=alone,
            legacy=before,
            pooled=after,
            outage=outage,
            debug_url=f"{pooled.url}/debug/llm-system",
        )

    def require_running(self) -> None:
        """Raise `LabError` if a process has ended."""
        for server in self._servers:
            server.require_running()

    def _keep(self, server: Server) -> Server:
        self._servers.append(server)
        return self._processes.enter_context(server)

    def _dismiss(self, server: Server) -> None:
        self._servers.remove(server)
        server.stop()

    def _mock_upstream(self) -> tuple[Upstream, Server]:
        mock = self._keep(mock_server(self._folder, self._environment, latency=self._plan.latency))
        return Upstream.mocked(mock), mock

    async def _start_apps(self, upstream: Upstream) -> tuple[Server, Server]:
        self._stage.say(_starting(upstream))
        legacy = self._keep(start_app(self._folder, self._environment, upstream, pooled=False))
        pooled = self._keep(start_app(self._folder, self._environment, upstream, pooled=True, port=self._plan.port))
        for server in self._servers:
            self._stage.say(f"  {server.url}  {server.name}")
        for server in self._servers:
            await server.healthy()
        return legacy, pooled

    async def _upstream_alone(self, upstream: Upstream) -> Summary:
        """As many at once as there will be; at a real upstream a few. Raises `LabError` unless it answers them all."""
        users = self._plan.users if upstream.mock else min(_FEW, self._plan.users)
        spread = _SPREAD * self._plan.latency if upstream.mock else 0.0
        load = _Load(users=users, rounds=1, timeout=_LONGEST_PATIENCE, spread=spread)
        alone = await self._drive("upstream alone", upstream_target(upstream), load)
        if alone.answered < alone.requests:
            said = ", ".join(f"{count} × {outcome}" for outcome, count in sorted(alone.outcomes.items()))
            raise LabError(f"the upstream {public_url(upstream.base_url)} does not answer as it should: {said}")
        return alone

    async def _outage(self, pooled: Server, mock: Server, *, timeout: float) -> Outage:
        self._stage.say("and when the upstream answers the pool with 503? The users go on asking the pooled app")
        plan = self._plan
        return await show_outage(
            pooled, Faults(mock), users=plan.users, timeout=timeout, latency=plan.latency, tell=self._stage.show
        )

    async def _drive(self, name: str, target: Target, load: _Load) -> Summary:
        with self._stage.count(name, load.users * load.rounds) as tell:
            run = await drive(
                target,
                users=load.users,
                timeout=load.timeout,
                spread=load.spread,
                goes_on=lambda asked: asked < load.rounds,
                tell=tell,
            )
        return summarize(run)


async def _warm_up(app: Server) -> None:
    """One answer, so that what is imported with an app's first one is measured in none."""
    await drive(chat_target(app), users=1, timeout=_LONGEST_PATIENCE, goes_on=lambda asked: asked < 1)


def _starting(upstream: Upstream) -> str:
    if upstream.mock:
        return "starting llmock as the upstream, the legacy app and the pooled app"
    return (
        f"starting the legacy app and the pooled app; OPENAI_API_KEY or OPENAI_BASE_URL is set, so the upstream is"
        f" {public_url(upstream.base_url)} (with both empty it is a mock, which can also be made to fail)"
    )


def _patience(latency: float) -> float:
    return min(_LONGEST_PATIENCE, _PATIENCE * latency)


def _machine(*, mock: bool) -> dict[str, str | int | None]:
    libraries = (*_LIBRARIES, "llmock") if mock else _LIBRARIES
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }
