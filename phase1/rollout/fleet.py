"""How do the breakers of several workers act as one?

Each worker reports what its own breaker did last: it opened, or its probes succeeded. The others open with it for as
long as it is open, so that the latest end counts; and come back with it. Only who has the lease may probe, so that an
upstream in trouble is asked once, not once per worker. Whoever has the lease and no request to probe with passes it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from phase1.policy.breaker import BreakerState

if TYPE_CHECKING:
    from phase1.policy.breaker import BreakerSnapshot, PoolBreaker
    from phase1.rollout.store import Store

__all__ = ["FleetBreaker"]

_PROBE: Final = "probe"
_LEASE: Final = 5.0
_SOON: Final = 1.0
"""Seconds before the end of the open time at which the lease is asked for."""
_PATIENCE: Final = 3.0
"""Seconds that a worker keeps the lease without a probe under way."""


class FleetBreaker:
    """One worker's breaker among the others'. Not safe for threads: the agent's thread has it alone."""

    def __init__(self, breaker: PoolBreaker, store: Store, worker: str) -> None:
        self._breaker = breaker
        self._store = store
        self._worker = worker
        self._event = {"n": 0, "kind": ""}
        self._state = BreakerState.ACTIVE
        self._generation = 0
        self._heard: dict[str, int] = {}
        self._idle_since: float | None = None
        self._passed_at = float("-inf")
        breaker.leave_probes(allowed=False)

    def report(self) -> dict[str, Any]:
        """What this worker's own breaker did last, and how it is."""
        snapshot = self._breaker.snapshot()
        opened = snapshot.state is BreakerState.DISABLED and snapshot.generation != self._generation
        recovered = snapshot.state is BreakerState.RAMPING and self._state is not BreakerState.RAMPING
        if opened or recovered:
            self._event = {"n": self._event["n"] + 1, "kind": "open" if opened else "ramp"}  # type: ignore[operator]
        self._remember(snapshot)
        left = snapshot.until_in or 0.0
        return {**self._event, "left": left, "state": str(snapshot.state)}

    def _remember(self, snapshot: BreakerSnapshot) -> None:
        self._state, self._generation = snapshot.state, snapshot.generation

    def hear(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """What the others' breakers did, each thing once; of a worker that is new here, only an opening that lasts."""
        for worker, report in reports.items():
            number, before = int(report["n"]), self._heard.get(worker)
            self._heard[worker] = number
            if worker == self._worker or number == before:
                continue
            if report["kind"] == "open" and float(report["left"]) > 0:
                self._breaker.open_with_others(float(report["left"]))
                self._remember(self._breaker.snapshot())
            elif report["kind"] == "ramp" and before is not None:
                self._breaker.ramp_with_others()
                self._remember(self._breaker.snapshot())

    def take_turn(self, now: float) -> None:
        """Ask for the lease when it is needed, and pass it on when there is nothing to probe with."""
        snapshot = self._breaker.snapshot()
        if not _needs_probe(snapshot):
            self._give_back()
            return
        if now - self._passed_at < _PATIENCE / 2:
            return
        if not self._store.lease(_PROBE, self._worker, _LEASE):
            self._breaker.leave_probes(allowed=False)
            self._idle_since = None
            return
        self._breaker.leave_probes(allowed=True)
        if self._breaker.probing or snapshot.state is BreakerState.DISABLED or self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > _PATIENCE:
            self._passed_at = now
            self._give_back()

    def _give_back(self) -> None:
        self._breaker.leave_probes(allowed=False)
        if self._idle_since is not None:
            self._idle_since = None
            self._store.release(_PROBE, self._worker)

    def alone(self) -> None:
        """The others cannot be heard: each decides for itself."""
        self._breaker.leave_probes(allowed=True)
        self._idle_since = None


def _needs_probe(snapshot: BreakerSnapshot) -> bool:
    if snapshot.state is BreakerState.DISABLED:
        return snapshot.until_in is not None and snapshot.until_in < _SOON
    return snapshot.state is BreakerState.HALF_OPEN
