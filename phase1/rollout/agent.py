"""How does one worker follow the others? A thread that reads the state twice a second, applies it, and reports.

Requests meet nothing of this: they read the manager's canary and switches as ever, and the agent replaces these. A
store that hangs holds the thread up and nobody else. What the store does not say nobody raises: the last good state
stays, and a worker that has not read any yet gives nobody to the pool.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from phase1.policy.breaker import BreakerMode
from phase1.policy.canary import Arm, Canary
from phase1.policy.rollout import Desired, RolloutPhase
from phase1.policy.rollout_arms import ArmSums, Blocks
from phase1.rollout.fleet import FleetBreaker
from phase1.rollout.leader import Leader, blocks_of, sums_of
from phase1.rollout.operator import Contended, Operator, history, progress_of
from phase1.rollout.outcomes import Outcomes
from phase1.rollout.record import Followed, follow
from phase1.rollout.store import StoreUnavailable

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.policy.rollout_plan import Plan
    from phase1.rollout.store import Store

__all__ = ["PERIOD", "Agent"]

_log = logging.getLogger("phase1")

PERIOD: Final = 0.5
"""Seconds between two rounds."""
_STALE: Final = 3.0
"""Seconds without the store after which its last word is called stale."""
_GONE: Final = 10.0
"""Seconds without a sign of life after which a worker is forgotten."""
_TOLD: Final = 200
"""Blocks that a worker keeps for the leader. More than so many in one round are not needed to be sure."""
_SHOWN: Final = 20
_ARMS: Final = (Arm.CANARY, Arm.CONTROL)


class Agent:
    """Follows `store` for `manager`. `plan`: `None` = this worker does not decide about the percent."""

    def __init__(
        self,
        manager: LLMManager,
        store: Store,
        plan: Plan | None,
        *,
        problem: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.plan = plan
        self.worker = ""
        self.known = Desired()
        """The last good state."""
        self.has_read = False
        self.failures = 0
        """How often the store did not answer."""
        self._manager = manager
        self._clock = clock
        self._plan_problem = problem
        self._problem: str | None = None
        self._default = manager.canary.percent
        self._killed_here = False
        self._read_at = self._looked_at = clock()
        self._outcomes = Outcomes(manager, deadline=manager.settings.llm_request_deadline)
        self._era = 0
        self._begin_to_count()
        self._seen: dict[str, tuple[int, float]] = {}
        self._progress: Mapping[str, Any] = {}
        self._history: deque[dict[str, Any]] = deque(maxlen=_SHOWN)
        self._history_of: int | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._pid = 0
        manager.events.subscribe(self._outcomes)
        if store.shared:
            self._give_the_pool(0.0)
        self.join()

    def join(self) -> None:
        """Be one of the workers, under a name that no other process has."""
        self.worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._sequence = 0
        self._fleet = FleetBreaker(self._manager.breaker, self.store, self.worker) if self.store.shared else None
        self._leader = Leader(self.store, self.worker, self.plan)

    # -- the thread

    def watch(self) -> None:
        """Follow from now on, if that is not being done in this process. Cheap: it is called with each request."""
        if self._pid != os.getpid():
            if self._pid:  # forked: the parent goes on under the old name
                self.join()
            self._pid, self._stop, self._wake = os.getpid(), threading.Event(), threading.Event()
            threading.Thread(target=self._run, args=(self._stop,), name="phase1-rollout", daemon=True).start()

    async def ready(self, seconds: float) -> None:
        """Wait for the first word of the store, but not for longer."""
        until = self._clock() + seconds
        while not (self.has_read or self.failures or self._problem) and self._clock() < until:  # noqa: ASYNC110 - a thread
            await asyncio.sleep(0.01)

    def wake(self) -> None:
        """Do not wait for the next round."""
        self._wake.set()

    def close(self) -> None:
        """Follow no more; `watch` begins again."""
        self._stop.set()
        self._pid = 0
        self.wake()

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.round()
            except Exception:  # noqa: BLE001 - whatever it is, the next round may be better
                _log.exception("the rollout's round failed")
            self._wake.wait(PERIOD)
            self._wake.clear()
        self._leave()

    def _leave(self) -> None:
        if self._fleet is not None:
            self._fleet.alone()
        try:
            self._leader.retire()
            self.store.forget(self.worker)
            self.store.close()
        except StoreUnavailable:
            return

    # -- one round

    def round(self) -> None:
        """Read, apply, report; lead, if it is this worker's turn."""
        self._count()
        now = self._clock()
        seconds, self._looked_at = now - self._looked_at, now
        try:
            text, followed = self._read()
            reports = self._exchange()
            changed = self._kill_the_others()
            if self._leader.take(reports) and changed is None:
                if followed.problem is None:
                    changed = self._leader.lead(self.known, text, reports, seconds=seconds)
                elif followed.lost and self.known.generation:
                    changed = self._leader.heal(self.known, text, followed.problem)
            if changed is not None:
                self._follow(Followed(changed))
            self._look_up()
        except (StoreUnavailable, Contended) as exc:
            self._lost(exc)

    def _count(self) -> None:
        canary = self._manager.canary
        for one in self._outcomes.fetch():
            if canary.arm(one.bucket) is not one.arm:
                continue  # drawn by another percent, which has changed while the call went on
            self._sums[one.arm] = self._sums[one.arm].with_one(one)
            if (block := self._pairing.add(one)) is not None:
                self._blocks.append(block.state())
                self._made += 1

    def _read(self) -> tuple[str | None, Followed]:
        text = self.store.read()
        if self.age > _STALE and self._manager.canary.stale:
            _log.warning("the state store %s answers again", self.store.name)
        self._read_at = self._clock()
        followed = follow(self.known, text, default=self._default)
        self._follow(followed)
        return text, followed

    def _follow(self, followed: Followed) -> None:
        if followed.problem not in {self._problem, None}:
            _log.error("%s: %s", self.store.name, followed.problem)
        self._problem = followed.problem
        if followed.problem is not None and not self.known.generation:
            return  # there is a state, and nobody knows which: as at the start
        if followed.desired != self.known or not self.has_read or self._manager.canary.stale:
            self._apply(followed.desired)
        self.has_read = True

    def _apply(self, known: Desired) -> None:
        if known != self.known:
            _log.warning("state %d: %s", known.generation, _summary(known))
        if known.breaker != self.known.breaker:
            self._manager.breaker.force(BreakerMode(known.breaker))
        self.known = known
        self._give_the_pool(self._default if known.percent is None else known.percent)
        self._switch(kill=known.kill or self._killed_here)

    def _kill_the_others(self) -> Desired | None:
        """What was killed here while the store was away is killed everywhere as soon as it is back."""
        if not self._killed_here:
            return None
        _, after = Operator(self.store, by=self.worker, known=self.known).kill(on=True)
        self._killed_here = False
        return after

    def _give_the_pool(self, percent: float, *, stale: bool = False) -> None:
        now = self._manager.canary
        canary = Canary(percent, salt=f"llm-pool:{self.known.epoch}", stale=stale)
        if (canary.percent, canary.salt) != (now.percent, now.salt):
            self._begin_to_count()
        self._manager.canary = canary

    def _begin_to_count(self) -> None:
        """Anew: what was counted so far was drawn by another canary."""
        self._era += 1
        self._sums = {arm: ArmSums() for arm in _ARMS}
        self._pairing = Blocks()
        self._blocks: deque[list[float | None]] = deque(maxlen=_TOLD)
        self._made = 0

    def _switch(self, *, kill: bool) -> None:
        forced = kill or self._manager.settings.force_legacy_llm
        self._manager.switches = replace(self._manager.switches, force_legacy=forced)

    def kill_here(self, *, on: bool) -> None:
        """Switch this worker off before the store is asked; it will be told when it can be. `on=False`: no more."""
        self._killed_here = on
        self._switch(kill=on or self.known.kill)
        self.wake()

    def _lost(self, exc: Exception) -> None:
        self.failures += 1
        self._problem = str(exc)
        if self.age <= _STALE:
            return
        if self._fleet is not None:
            self._fleet.alone()
        canary = self._manager.canary
        if not canary.stale:
            _log.error("%s; %s %% stays, and no percent rises until it is back", exc, canary.percent)
            self._give_the_pool(canary.percent, stale=True)

    # -- the other workers

    def _exchange(self) -> dict[str, Mapping[str, Any]]:
        """Say how this worker is, and hear how the others are."""
        self._sequence += 1
        own = {
            "seq": self._sequence,
            "generation": self.known.generation,
            "era": [self.known.epoch, self._manager.canary.percent, self._era],
            "canary": self._sums[Arm.CANARY].state(),
            "control": self._sums[Arm.CONTROL].state(),
            "made": self._made,
            "blocks": list(self._blocks),
            "breaker": self._fleet.report() if self._fleet else {"state": str(self._manager.breaker.state)},
        }
        self.store.report(self.worker, json.dumps(own))
        reports = {worker: read for worker, text in self.store.reports().items() if (read := _report(text))}
        self._forget_the_gone(reports)
        if self._fleet is not None:
            self._fleet.hear({worker: report["breaker"] for worker, report in reports.items()})
            self._fleet.take_turn(self._clock())
        return reports

    def _forget_the_gone(self, reports: dict[str, Mapping[str, Any]]) -> None:
        now = self._clock()
        for worker, report in tuple(reports.items()):
            sequence, since = self._seen.get(worker, (-1, now))
            if sequence != report["seq"]:
                self._seen[worker] = report["seq"], now
            elif now - since > _GONE:
                del reports[worker], self._seen[worker]
                if self._leader.leads:
                    self._leader.forget(worker)

    def _look_up(self) -> None:
        """What the page shows and this worker does not know by itself."""
        self._progress = progress_of(self.store)
        if self._history_of != self.known.generation:
            self._history = deque(history(self.store, _SHOWN), maxlen=_SHOWN)
            self._history_of = self.known.generation

    # -- what can be seen

    @property
    def age(self) -> float:
        """Seconds since the store was last heard."""
        return self._clock() - self._read_at

    @property
    def problem(self) -> str | None:
        """Why the store, its record or the rollout file cannot be followed; `None` = nothing is wrong."""
        return self._problem or self._plan_problem

    def status(self) -> dict[str, Any]:
        """For the page."""
        known, progress = self.known, self._progress
        return {
            "store": self.store.name,
            "shared": self.store.shared,
            "age": round(self.age, 3),
            "problem": self.problem,
            "generation": known.generation,
            "kill": known.kill or self._killed_here,
            "percent": self._manager.canary.percent,
            "epoch": known.epoch,
            "breaker_mode": known.breaker,
            "phase": str(known.phase),
            "automatic": self.plan is not None,
            "worker": self.worker,
            "leads": self._leader.leads,
            "leader": progress.get("leader"),
            "reason": progress.get("reason"),
            "elapsed": progress.get("elapsed"),
            "evidence": progress.get("evidence"),
            "steps": _steps(self.plan, known),
            "history": list(reversed(self._history)),
        }

    def numbers(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """For the metrics."""
        yield "phase1_kill_switch", (), float(self.known.kill or self._killed_here)
        yield "phase1_state_generation", (), float(self.known.generation)
        yield "phase1_state_age_seconds", (), self.age
        yield "phase1_state_problem", (), float(self.problem is not None)
        yield "phase1_state_errors", (), float(self.failures)
        yield "phase1_rollout_leaders", (), float(self._leader.leads)
        for phase in RolloutPhase:
            yield "phase1_rollout_phase", (str(phase),), float(phase is self.known.phase)
        yield from _evidence(self._progress.get("evidence") or {})

    def __repr__(self) -> str:
        return f"<Agent {self.worker} of {self.store.name}, {_summary(self.known)}>"


def _evidence(found: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], float]]:
    for field, test in (("log_e", "worse"), ("log_e_promote", "not_worse")):
        for metric, value in found.get(field, {}).items():
            yield "phase1_rollout_log_e", (str(metric), test), float(value)
    yield "phase1_rollout_threshold", (), float(found.get("threshold", 0.0))


def _summary(desired: Desired) -> str:
    percent = "the settings' percent" if desired.percent is None else f"{desired.percent:g} %"
    return f"{'the kill switch, ' if desired.kill else ''}{percent}, rollout {desired.phase}"


def _steps(plan: Plan | None, known: Desired) -> list[dict[str, Any]]:
    return [
        {
            "name": step.name,
            "percent": step.percent,
            "min_duration": step.min_duration,
            "min_samples": step.min_samples,
            "approval": step.approval,
            "here": step.percent == known.percent,
        }
        for step in (plan.steps if plan else ())
    ]


def _report(text: str) -> Mapping[str, Any] | None:
    """What a worker says, if it is whole; another version may say more or less."""
    try:
        report: Mapping[str, Any] = json.loads(text)
        sums_of(report)
        blocks_of(report, 0)
        epoch, percent, era = report["era"]
        int(epoch), float(percent), int(era)
        breaker = report["breaker"]
        int(report["seq"]), str(breaker["state"])
        int(breaker.get("n", 0)), float(breaker.get("left", 0.0))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return {**report, "breaker": {"n": 0, "kind": "", "left": 0.0, **breaker}}
