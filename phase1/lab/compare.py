"""What does the pool change for the users of an app? The same app with the pool off and on, in turns, measured.

Every leg has a fresh process of the app, so that nothing waits in it for users of the leg before who have left; the
order turns round from round to round, so that neither side always has the quieter machine.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Protocol

from phase1.exceptions import ConfigurationError
from phase1.lab.apps import Upstream
from phase1.lab.load import Sample, Target
from phase1.lab.measure import KINDS, Load, Measured, measure, warm_up
from phase1.lab.mock.server import mocked
from phase1.lab.target import TargetApp
from phase1.lab.trial import RunningApp, Trial, open_trial

__all__ = ["Comparison", "Leg", "Plan", "Quiet", "Stage", "compare_app", "target_of"]

_IMPATIENCE: Final = 10
"""Latencies of the upstream after which a user gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do; times are seconds.

    `duration`: for each of the loads `users` and `arrivals`, divided among the `rounds`; `latency`: of the mock
    upstream; `timeout`: after which a user gives up, `None` = ten latencies; `rate`: arrivals per second, `None` = half
    of what `users` could ask if they were all answered at once; `burst`: requests at once. Raises `ConfigurationError`.
    """

    users: int = 20
    duration: float = 60.0
    rounds: int = 2
    latency: float = 2.0
    timeout: float | None = None
    rate: float | None = None
    burst: int = 50
    kinds: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ConfigurationError(f"--loads {','.join(unknown)}: must be some of {','.join(KINDS)}")
        _ = self.loads  # what is wrong with one of them is said now

    @property
    def patience(self) -> float:
        """Seconds after which a user gives up."""
        return self.timeout or _IMPATIENCE * self.latency

    @property
    def loads(self) -> tuple[Load, ...]:
        """What is put on the app in each round."""
        seconds = self.duration / self.rounds
        rate = self.rate or self.users / (2 * self.latency)
        every = {
            "users": Load(kind="users", users=self.users, seconds=seconds, timeout=self.patience),
            "arrivals": Load(kind="arrivals", users=self.users, seconds=seconds, rate=rate, timeout=self.patience),
            "burst": Load(kind="burst", users=self.burst),
        }
        return tuple(every[kind] for kind in KINDS if kind in self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One load on one side, once."""

    load: Load
    pooled: bool
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All legs. `integrated`: phase1 was in the app already. `mock`: the upstream was the lab's own."""

    target: TargetApp
    plan: Plan
    integrated: bool
    mock: bool
    legs: tuple[Leg, ...]


class Stage(Protocol):
    """Where the audience sees what goes on."""

    def say(self, text: str) -> None:
        """Tell what comes next."""

    def during(self, text: str, seconds: float) -> AbstractContextManager[Callable[[Sample], None]]:
        """Show a load that takes about so many seconds, while the block runs."""


class Quiet:
    """A stage without audience."""

    def say(self, text: str) -> None:
        """Nothing."""

    def during(self, text: str, seconds: float) -> AbstractContextManager[Callable[[Sample], None]]:  # noqa: ARG002
        """Nothing."""
        return nullcontext(lambda _: None)


async def compare_app(
    app: TargetApp | str,
    plan: Plan | None = None,
    *,
    upstream: Upstream | None = None,
    environment: Mapping[str, str] | None = None,
    stage: Stage | None = None,
) -> Comparison:
    """Measure `app` with the pool off and on. `upstream`: who answers in the end, `None` = a mock on this machine.

    Raises `LabError` and `ConfigurationError` for an app that cannot be measured, before any load.
    """
    target, plan, stage = TargetApp.of(app), plan or Plan(), stage or Quiet()
    found = os.environ if environment is None else environment
    async with (
        mocked(plan.latency, found, upstream) as (asked, there),
        open_trial(target, there, environment=found) as trial,
    ):
        await _check(trial, asked, stage)
        legs = [
            leg
            for number in range(plan.rounds)
            for load in plan.loads
            for leg in await _both(trial, load, turned=bool(number % 2), stage=stage)
        ]
        integrated = await trial.integrated()
    return Comparison(target=target, plan=plan, integrated=integrated, mock=upstream is None, legs=tuple(legs))


async def _check(trial: Trial, asked: Callable[[], Awaitable[int]] | None, stage: Stage) -> None:
    stage.say(f"checking {trial.target.app}: one request to {trial.target.ask.route} with the pool off, and on")
    for pooled in (False, True):
        app = await trial.start(pooled=pooled)
        await trial.check(app, asked=asked)
        app.stop()


async def _both(trial: Trial, load: Load, *, turned: bool, stage: Stage) -> list[Leg]:
    return [await _leg(trial, load, pooled=pooled, stage=stage) for pooled in sorted((False, True), reverse=turned)]


async def _leg(trial: Trial, load: Load, *, pooled: bool, stage: Stage) -> Leg:
    app = await trial.start(pooled=pooled)
    try:
        target = target_of(app)
        await warm_up(target)
        with stage.during(f"{load.title}, {'pool on' if pooled else 'pool off'}", load.seconds) as tell:
            measured = await measure(load, target, app.server, tell)
    finally:
        app.stop()
    return Leg(load=load, pooled=pooled, measured=measured)


def target_of(app: RunningApp) -> Target:
    """What to ask a running app."""
    return Target(url=app.url, ask=app.target.ask)
