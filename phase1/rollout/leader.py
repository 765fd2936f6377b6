"""What does the one worker do that leads? It adds up the arms, looks, decides, and remembers it all in the store.

The leader is whoever has the lease. When it dies its lease runs out, and the next one goes on from what it has left.
Two that both think they lead cannot both raise the percent: the record is replaced only if it still is what was read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from phase1.policy.rollout import LIVE, Desired, decide
from phase1.policy.rollout_arms import ArmSums, Block
from phase1.policy.rollout_watch import Watch
from phase1.rollout.operator import PROGRESS, audit_line, progress_of
from phase1.rollout.record import encode

if TYPE_CHECKING:
    from phase1.policy.rollout import Look
    from phase1.policy.rollout_plan import Plan
    from phase1.rollout.store import Store

__all__ = ["LEASE", "Leader", "Report", "sums_of"]

_log = logging.getLogger("phase1")

LEASE: Final = 3.0
"""Seconds after which somebody else leads when the leader is gone."""
_LEADER: Final = "leader"

Report = Mapping[str, Any]
Sums = tuple[ArmSums, ArmSums]


class Leader:
    """Leads while it has the lease. `plan`: `None` = it may not decide anything (`LLM_AUTO_ROLLOUT`, a bad file)."""

    def __init__(self, store: Store, worker: str, plan: Plan | None) -> None:
        self._store = store
        self._worker = worker
        self._plan = plan
        self._watch: Watch | None = None
        self._merged: dict[str, _Merged] = {}
        self._reason: str | None = None
        self.leads = False
        """Whether this worker had the lease in the last round."""

    def take(self, reports: Mapping[str, Report]) -> bool:
        """Take the lease, or keep it; whether this worker leads now."""
        led, self.leads = self.leads, self._store.lease(_LEADER, self._worker, LEASE)
        if self.leads and not led and self._plan is not None:
            self._watch = self._take_over(self._plan, reports)
        return self.leads

    def lead(
        self, desired: Desired, text: str | None, reports: Mapping[str, Report], *, seconds: float
    ) -> Desired | None:
        """One round; `text` is the record that `desired` was read from. Returns what it has changed the state to."""
        if self._plan is None or self._watch is None:
            return None
        (canary, control), blocks = self._news(desired, reports)
        breaker_open = any(report["breaker"]["state"] != "active" for report in reports.values())
        look = self._watch.look(
            desired, seconds=seconds, canary=canary, control=control, breaker_open=breaker_open, blocks=blocks
        )
        changed = self._decide(desired, text, look, self._plan, self._watch)
        if desired.phase in LIVE or changed is not None:
            self._store.put(PROGRESS, json.dumps(self._progress(look, self._watch)))
        return changed

    def _decide(self, desired: Desired, text: str | None, look: Look, plan: Plan, watch: Watch) -> Desired | None:
        decision = decide(desired, plan, look)
        watch.decided(decision)
        if decision.reason != self._reason and desired.phase in LIVE:
            _log.info("rollout at %s %%: %s", desired.percent, decision.reason)
        self._reason = decision.reason
        after = decision.desired
        if after is desired:
            return None
        line = audit_line(
            desired, after, actor="auto", reason=decision.reason, by=self._worker, evidence=look.evidence.document()
        )
        if not self._store.swap(text, encode(after), line):
            return None  # somebody was faster; the next round sees what
        _log.warning("rollout: %s %% is %s %%, %s: %s", desired.percent, after.percent, after.phase, decision.reason)
        return after

    def heal(self, desired: Desired, text: str | None, problem: str) -> Desired | None:
        """The store has lost what was known: write it back, as a newer generation."""
        after = desired.changed()
        line = audit_line(desired, after, actor="auto", reason=f"written back: {problem}", by=self._worker)
        return after if self._store.swap(text, encode(after), line) else None

    def retire(self) -> None:
        """Let another one lead, at once."""
        if self.leads:
            self.leads = False
            self._store.release(_LEADER, self._worker)

    def _news(self, desired: Desired, reports: Mapping[str, Report]) -> tuple[Sums, list[Block]]:
        """What has ended since the last round, over all workers that apply `desired`'s percent.

        A block that nobody could fetch in time is no loss.
        """
        canary = control = ArmSums()
        blocks: list[Block] = []
        for worker, report in reports.items():
            now, before = _merged(report), self._merged.get(worker, _NOTHING)
            self._merged[worker] = now
            if now.era[:2] != (desired.epoch, desired.percent):
                continue
            if now.era != before.era:
                before = _NOTHING
            canary, control = canary + (now.canary - before.canary), control + (now.control - before.control)
            blocks += blocks_of(report, before.blocks)
        return (canary, control), blocks

    def _take_over(self, plan: Plan, reports: Mapping[str, Report]) -> Watch:
        """Go on where the last leader stood; if that cannot be read, from now on and with no evidence."""
        watch, progress = Watch(plan), progress_of(self._store)
        try:
            self._merged = {worker: _Merged.restored(state) for worker, state in progress["merged"].items()}
            watch.restore(progress["watch"])
        except (KeyError, TypeError, ValueError, AttributeError):
            self._merged = {worker: _merged(report) for worker, report in reports.items()}
        return watch

    def _progress(self, look: Look, watch: Watch) -> dict[str, Any]:
        return {
            "leader": self._worker,
            "reason": self._reason,
            "elapsed": look.elapsed,
            "evidence": look.evidence.document(),
            "watch": watch.state(),
            "merged": {worker: merged.state() for worker, merged in self._merged.items()},
        }

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._merged.pop(worker, None)
        self._store.forget(worker)


@dataclass(frozen=True, slots=True)
class _Merged:
    """What of a worker's has been taken already."""

    canary: ArmSums
    control: ArmSums
    blocks: int
    era: tuple[int, float, int]
    """Epoch and percent that drew them, and how often the worker has begun to count."""

    def state(self) -> list[Any]:
        return [self.canary.state(), self.control.state(), self.blocks, list(self.era)]

    @classmethod
    def restored(cls, state: Any) -> _Merged:  # noqa: ANN401 - of JSON
        canary, control, blocks, era = state
        return cls(ArmSums.restored(canary), ArmSums.restored(control), int(blocks), _era(era))


_NOTHING: Final = _Merged(ArmSums(), ArmSums(), 0, (0, 0.0, -1))


def _era(state: Any) -> tuple[int, float, int]:  # noqa: ANN401 - of JSON
    epoch, percent, era = state
    return int(epoch), float(percent), int(era)


def _merged(report: Report) -> _Merged:
    return _Merged(*sums_of(report), int(report["made"]), _era(report["era"]))


def sums_of(report: Report) -> Sums:
    """The arms, as a worker has reported them."""
    return ArmSums.restored(report["canary"]), ArmSums.restored(report["control"])


def blocks_of(report: Report, taken: int) -> list[Block]:
    """The worker's blocks after the first `taken`, as far as it still has them."""
    new, kept = int(report["made"]) - taken, report["blocks"]
    return [Block.restored(state) for state in kept[max(0, len(kept) - new) :]] if new > 0 else []
