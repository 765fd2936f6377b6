"""May this request use the pool now?

The breaker counts requests after failover inside the pool, not attempts. Three FAILUREs in a row, or under 50 %
success with at least 20 requests in the last 60 s, disable it. After the open time one request at a time is a probe;
two successes in sequence start the ramp from 10 % to 100 % of the sticky positions, and after it everybody may pass.
The rules themselves are in `rules`; here are permits, modes and threads.

* A verdict counts only if nothing has happened since its permit was given that throws the past away: an opening, a
  change of mode, a reset. Each of them starts a new generation, and a permit knows its own.
* FORCED_ON and FORCED_OFF suspend the rules. OBSERVE_ONLY runs them; what would have been rejected passes, uncounted.
* What time alone changes is derived when somebody looks, and told to `on_transition` by the next `acquire`, `release`
  or `snapshot`. `admits`, `state` and `generation` change nothing.
* Threads: a state changes in a few lines under a lock (0.1 µs), and `on_transition` is called after it; `admits` and
  `state` read one frozen value without a lock. The lock is reentrant because the garbage collector may close a
  generator that holds a permit right in the middle of these lines: losing one verdict then is better than a deadlock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from threading import RLock
from typing import Final

from phase1.policy.backoff import OpenTime
from phase1.policy.classify import Verdict
from phase1.policy.facts import BreakerMode, BreakerSnapshot, Rejection, Transition
from phase1.policy.permit import Permit
from phase1.policy.phase import BreakerState, Phase, phase_at
from phase1.policy.rules import Rules
from phase1.policy.tripwire import Tripwire

__all__ = ["BreakerMode", "BreakerSnapshot", "BreakerState", "Permit", "PoolBreaker", "Rejection", "Transition"]

_SOON: Final = 0.001
"""The shortest `retry_after`: it is never 0."""
_FORCED: Final = {BreakerMode.FORCED_OFF: BreakerState.DISABLED, BreakerMode.FORCED_ON: BreakerState.ACTIVE}


class PoolBreaker:
    """The pool's circuit breaker. Times are seconds of `clock`, `rng` returns 0 … 1, `on_transition` must not raise."""

    def __init__(
        self,
        *,
        failure_threshold: int = 3,
        probe_lease: float = 30.0,
        window: float = 60.0,
        window_min_requests: int = 20,
        window_min_success: float = 0.5,
        open_base: float = 5.0,
        open_max: float = 300.0,
        probe_successes: int = 2,
        ramp_seconds: float = 60.0,
        ramp_start: float = 0.10,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
        on_transition: Callable[[Transition], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_transition = on_transition or _nobody
        self._lock = RLock()
        self._returned = self._take_back  # bound once: every permit holds it
        self._mode = BreakerMode.AUTOMATIC
        self._forced_off_retry = open_base
        self._rules = Rules(
            tripwire=Tripwire(
                failures=failure_threshold,
                window=window,
                min_requests=window_min_requests,
                min_success=window_min_success,
            ),
            open_time=OpenTime(base=open_base, maximum=open_max, rng=rng),
            probe_lease=probe_lease,
            probe_successes=probe_successes,
            ramp_seconds=ramp_seconds,
            ramp_start=ramp_start,
            now=clock(),
        )

    @property
    def state(self) -> BreakerState:
        """What a request meets now; FORCED_ON and FORCED_OFF show as ACTIVE and DISABLED."""
        return self._seen(phase_at(self._rules.phase, self._clock()))

    @property
    def mode(self) -> BreakerMode:
        """Who decides."""
        return self._mode

    @property
    def generation(self) -> int:
        """How often the past was thrown away."""
        return phase_at(self._rules.phase, self._clock()).generation

    def admits(self, share: float = 0.0) -> bool:
        """Whether `acquire(share)` would give a permit now. Takes nothing."""
        if self._mode is BreakerMode.AUTOMATIC:
            phase = self._rules.phase
            return phase.state is BreakerState.ACTIVE or self._rules.wait(share, self._clock()) is None
        return self._mode is not BreakerMode.FORCED_OFF

    def acquire(self, share: float = 0.0) -> Permit | Rejection:
        """A permit, or when to come back. `share`: the sticky position, 0 … 1; a ramp admits `share < ramp`."""
        phase = self._rules.phase
        if phase.state is BreakerState.ACTIVE and self._mode is BreakerMode.AUTOMATIC and not self._rules.untold:
            return Permit(self._returned, phase.generation, lease=None, counted=True)  # time changes nothing here
        with self._lock:
            answer = self._answer(share, self._settle())
        self._tell()
        return answer

    def force(self, mode: BreakerMode) -> None:
        """Change who decides. The state of the rules stays; permits that are out no longer count."""
        with self._lock:
            phase = phase_at(self._rules.phase, self._settle())
            if mode is not self._mode:
                before, self._mode = self._seen(phase), mode
                self._rules.enforced = mode is not BreakerMode.OBSERVE_ONLY
                self._restart(before, phase.restarted(), str(mode))
        self._tell()

    def reset(self) -> None:
        """Begin anew in ACTIVE and with the shortest open time. The mode stays."""
        with self._lock:
            now = self._settle()
            phase = phase_at(self._rules.phase, now)
            self._restart(self._seen(phase), Phase(BreakerState.ACTIVE, phase.generation + 1, now), "reset")
        self._tell()

    def leave_probes(self, *, allowed: bool) -> None:
        """Whether this one may probe: of several workers one does, and the others wait for `ramp_with_others`."""
        self._rules.may_probe = allowed

    @property
    def probing(self) -> bool:
        """Whether a probe is under way here."""
        return phase_at(self._rules.phase, self._clock()).lease is not None

    def open_with_others(self, seconds: float) -> None:
        """Another worker's breaker has opened for so long: open this one too, or leave it open at least as long."""
        with self._lock:
            now = self._settle()
            if self._mode not in _FORCED:
                self._rules.open_with_others(now, seconds)
        self._tell()

    def ramp_with_others(self) -> None:
        """Another worker's probes have succeeded: if this one is still open, it begins its ramp."""
        with self._lock:
            now = self._settle()
            if self._mode not in _FORCED:
                self._rules.ramp_with_others(now)
        self._tell()

    def snapshot(self) -> BreakerSnapshot:
        """What can be shown."""
        with self._lock:
            now = self._settle()
            picture = self._picture(phase_at(self._rules.phase, now), now)
        self._tell()
        return picture

    def __repr__(self) -> str:
        """Live state."""
        failures = self._rules.tripwire.streak
        return f"<PoolBreaker {self.state}, {self._mode}, generation={self.generation}, failures={failures}>"

    # Below, all but `_seen` and `_tell` runs under the lock; `_settle` comes first and says what time it is.

    def _settle(self) -> float:
        now = self._clock()
        if self._mode not in _FORCED:
            self._rules.settle(now)
        return now

    def _answer(self, share: float, now: float) -> Permit | Rejection:
        if self._mode is BreakerMode.FORCED_OFF:
            return Rejection(self._forced_off_retry, self._mode)
        wait = 0.0 if self._mode is BreakerMode.FORCED_ON else self._rules.wait(share, now)
        if wait is None:
            phase = self._rules.admit(now)
            return Permit(self._returned, phase.generation, lease=phase.lease, counted=True)
        if self._mode is BreakerMode.AUTOMATIC:
            return Rejection(max(_SOON, wait), self._rules.phase.state)
        return Permit(self._returned, self._rules.phase.generation, lease=None, counted=False)

    def _take_back(self, permit: Permit, verdict: Verdict) -> None:
        with self._lock:
            if permit.released:
                return
            permit.released = True
            now = self._settle()
            if permit.counted and permit.generation == self._rules.phase.generation:
                judge = self._rules.judge_probe if permit.probe else self._rules.judge
                judge(verdict, now)
        self._tell()

    def _restart(self, before: BreakerState, phase: Phase, reason: str) -> None:
        self._rules.restart(phase)
        self._rules.note(before, self._seen(phase), reason)

    def _picture(self, phase: Phase, now: float) -> BreakerSnapshot:
        rules, state, forced = self._rules, self._seen(phase), self._mode in _FORCED
        rules.tripwire.window.advance(now)
        return BreakerSnapshot(
            state=state,
            mode=self._mode,
            generation=phase.generation,
            consecutive_failures=rules.tripwire.streak,
            until_in=phase.until - now if phase.state is BreakerState.DISABLED and not forced else None,
            ramp=float(state is BreakerState.ACTIVE) if forced else phase.ramp(now, rules.ramp_start),
            window_requests=rules.tripwire.window.requests,
            window_success_rate=rules.tripwire.window.success_rate,
        )

    def _seen(self, phase: Phase) -> BreakerState:
        return _FORCED.get(self._mode, phase.state)

    def _tell(self) -> None:
        if not self._rules.untold:
            return
        with self._lock:
            batch, self._rules.untold = self._rules.untold, []
        for transition in batch:
            self._on_transition(transition)


def _nobody(_: Transition) -> None:
    """Listens to nothing."""
