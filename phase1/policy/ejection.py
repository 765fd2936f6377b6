"""Is this node so much worse than it should be that it gets no traffic for a while?

Envoy's outlier detection: three FAILUREs in a row, or under 50 % success with at least 20 attempts in 60 s, eject a
node for 30 s times the number of its ejections, at most 300 s, and up to 10 % more. The number falls by one per 30 s
in health. Afterwards one request at a time is a probe; the first that succeeds brings the node back, at 10 % of its
weight, which grows to all of it within a minute. What was under way when the node was ejected does not count.
"""

from __future__ import annotations

from typing import Final

from phase1.policy.classify import Verdict
from phase1.policy.tripwire import Tripwire

__all__ = ["Ejection", "may_eject"]

_JITTER: Final = 0.1
_LEAST: Final = 0.1
"""The share of its weight that a node has when it comes back."""


def may_eject(*, ejected: int, nodes: int, available: int) -> bool:
    """Whether one more node may go: at most half of them, one at least, and never the last one that is available."""
    return available > 1 and ejected < max(1, nodes // 2)


class Ejection:
    """One node's record. Times are seconds of a monotonic clock, `jitter` is a random number in [0, 1)."""

    __slots__ = (
        "_base",
        "_healthy_since",
        "_maximum",
        "_probe_lease",
        "_probes",
        "_slow_start",
        "_tripwire",
        "probe_until",
        "slow_from",
        "times",
        "until",
    )

    def __init__(
        self,
        *,
        failures: int = 3,
        base: float = 30.0,
        maximum: float = 300.0,
        probe_lease: float = 60.0,
        slow_start: float = 60.0,
        window: float = 60.0,
        min_requests: int = 20,
        min_success: float = 0.5,
    ) -> None:
        self._tripwire = Tripwire(failures=failures, window=window, min_requests=min_requests, min_success=min_success)
        self._base = base
        self._maximum = maximum
        self._probe_lease = probe_lease
        self._slow_start = slow_start
        self._probes = 0
        self._healthy_since = 0.0
        self.times = 0
        """By how much the next ejection is longer than the first."""
        self.until = 0.0
        """When it may be probed; 0 = it is not ejected."""
        self.probe_until = 0.0
        """Until when the probe that is under way has the node for itself."""
        self.slow_from = -slow_start
        """When it came back."""

    @property
    def streak(self) -> int:
        """FAILUREs in a row."""
        return self._tripwire.streak

    def success_rate(self, now: float) -> float:
        """Successes per attempt in the last minute, 0 … 1; 1 when there were none."""
        window = self._tripwire.window
        if window.requests == window.successes:
            return 1.0  # whatever has become too old meanwhile
        window.advance(now)
        return window.success_rate

    def takes(self, now: float) -> bool:
        """Whether the node may be asked."""
        return not self.until or (now >= self.until and now >= self.probe_until)

    def begin(self, now: float) -> int:
        """An attempt begins: the number of the probe that it is, 0 for none."""
        if not self.until or now < self.until or now < self.probe_until:
            return 0
        self._probes += 1
        self.probe_until = now + self._probe_lease
        return self._probes

    def end(self, verdict: Verdict, now: float, *, probe: int = 0) -> str | None:
        """An attempt has ended. Why the node should be ejected now, or `returned`; else `None`."""
        if not self.until:
            return self._tripwire.count(verdict, now)
        if not probe or probe != self._probes:
            return None
        self.probe_until = 0.0
        if verdict is Verdict.NEUTRAL:
            return None
        if verdict is not Verdict.SUCCESS:
            return "probe_failed"
        self.clear(now)
        self.slow_from = now
        return "returned"

    def eject(self, now: float, *, jitter: float) -> float:
        """Take the node out; for how many seconds."""
        if not self.until:
            self.times = max(0, self.times - int((now - self._healthy_since) // self._base))
        self.times = min(self.times + 1, int(self._maximum // self._base) + 1)
        seconds = min(self._base * self.times, self._maximum) * (1.0 + _JITTER * jitter)
        self.until, self.probe_until = now + seconds, 0.0
        self._tripwire.clear()
        return seconds

    def clear(self, now: float) -> None:
        """Bring the node back at once, with clean evidence; how often it was out is remembered."""
        self._tripwire.clear()
        self.until = self.probe_until = 0.0
        self._healthy_since = now

    def warmth(self, now: float) -> float:
        """The share of its weight that the node has: rising from 10 % to 1 within the slow start."""
        passed = now - self.slow_from
        return 1.0 if passed >= self._slow_start else max(_LEAST, max(passed, 1.0) / self._slow_start)
