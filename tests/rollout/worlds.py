"""What do the tests of the agent build their worlds from? Workers of one store, in one process, round by round."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from phase1.doors.unit import Unit, current_unit
from phase1.events import CallFinished, Event, LegacyFinished
from phase1.policy.canary import Arm
from phase1.policy.kinds import Kind
from phase1.policy.rollout_plan import Plan, Step
from phase1.rollout.agent import Agent
from phase1.rollout.operator import Operator
from phase1.rollout.store import MemoryStore, StoreUnavailable
from tests.doors.bench import Bench, Clock, SyncLegacy

__all__ = ["PLAN", "SharedStore", "Worker", "World", "finished"]

PLAN = Plan(
    steps=(
        Step(percent=10, min_duration=5, min_samples=10),
        Step(percent=50, min_duration=5, min_samples=10),
        Step(percent=100),
    ),
    interval=5,
)


class SharedStore(MemoryStore):
    """One that several workers of this process share; it may be taken away."""

    shared = True
    name = "shared:"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.away = False
        self.closed = 0

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailable("shared: does not answer (TimeoutError)")

    def read(self) -> str | None:
        self._require()
        return super().read()

    def swap(self, before: str | None, after: str, audit: str) -> bool:
        self._require()
        return super().swap(before, after, audit)

    def forget(self, worker: str) -> None:
        self._require()
        super().forget(worker)

    def write(self, text: str | None) -> None:
        """As somebody who knows no rules."""
        self._record = text

    def close(self) -> None:
        self.closed += 1


def finished(kind: str = Kind.OK, **changes: object) -> CallFinished:
    """A call through the pool."""
    values = {"status": 200, "attempts": 1, "queue_seconds": 0.0, "seconds": 1.0, "first_seconds": 1.0}
    return CallFinished(**{"kind": kind, "streamed": False, **values, **changes})  # type: ignore[arg-type]


@dataclass
class Worker:
    """One worker: its app's manager, and its agent."""

    bench: Bench
    agent: Agent
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def key(self, arm: Arm) -> str:
        """Somebody new in that arm."""
        canary = self.bench.manager.canary
        return next(key for n in self.numbers if canary.arm(canary.bucket(key := f"user-{n}")) is arm)

    def call(self, arm: Arm, event: Event) -> None:
        """One call of somebody in the arm ends."""
        unit = Unit(self.bench.manager, key_of=lambda: self.key(arm))
        _ = unit.selection
        token = current_unit.set(unit)
        try:
            self.bench.manager.events.notify(event)
        finally:
            current_unit.reset(token)

    def begin(self, key: str) -> Unit:
        """An app request of that user, with its route."""
        unit = Unit(self.bench.manager, key_of=lambda: key)
        _ = unit.selection
        return unit

    def end(self, unit: Unit) -> None:
        """Its call through the pool is over."""
        token = current_unit.set(unit)
        try:
            self.bench.manager.events.notify(finished())
        finally:
            current_unit.reset(token)

    def ask(self, key: str) -> None:
        """Both."""
        self.end(self.begin(key))

    def calls(self, times: int, *, canary_fails: bool = False, control_fails: bool = False) -> None:
        """So many of each arm, as long as there are two."""
        if not self.bench.manager.canary.controls:
            return
        for _ in range(times):
            self.call(Arm.CANARY, finished(Kind.SERVER_ERROR if canary_fails else Kind.OK))
            self.call(Arm.CONTROL, LegacyFinished(1.0, "openai.InternalServerError" if control_fails else None))

    @property
    def percent(self) -> float:
        """What it applies."""
        return self.bench.manager.canary.percent


class World:
    """Some workers of one store, whose clock moves only by rounds."""

    def __init__(self, workers: int = 3, *, plan: Plan | None = PLAN, legacy: object | None = None) -> None:
        self.clock = Clock()
        self.store = SharedStore(self.clock)
        self.workers = [self.join(plan, legacy) for _ in range(workers)]

    def join(self, plan: Plan | None = PLAN, legacy: object | None = None) -> Worker:
        """One worker more; it has not read anything yet."""
        bench = Bench(legacy=legacy or SyncLegacy())
        bench.clock = self.clock
        bench.manager.clock = self.clock
        bench.manager.breaker._clock = self.clock
        agent = Agent(bench.manager, self.store, plan, clock=self.clock)
        bench.manager.rollout = agent
        return Worker(bench, agent)

    def round(self, times: int = 1, *, seconds: float = 0.5, each: Callable[[], None] | None = None) -> None:
        """Every worker has a round, so many times."""
        for _ in range(times):
            self.clock.now += seconds
            if each is not None:
                each()
            for worker in self.workers:
                worker.agent.round()

    @property
    def operator(self) -> Operator:
        """Somebody with a terminal."""
        return Operator(self.store, by="a test")

    @property
    def leader(self) -> Worker:
        """Who leads."""
        (found,) = [worker for worker in self.workers if worker.agent.status()["leads"]]
        return found

    @property
    def percents(self) -> set[float]:
        """What the workers apply."""
        return {worker.percent for worker in self.workers}
