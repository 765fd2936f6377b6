"""Has the pool failed often enough to be switched off?"""

from __future__ import annotations

from phase1.policy.classify import Verdict
from phase1.policy.window import SuccessWindow

__all__ = ["Tripwire"]


class Tripwire:
    """Two rules over the requests that ended: FAILUREs in a row, and the success rate of the last `window` seconds."""

    __slots__ = ("_failures", "_min_requests", "_min_success", "streak", "window")

    def __init__(self, *, failures: int, window: float, min_requests: int, min_success: float) -> None:
        if failures < 1:
            raise ValueError(f"failures={failures}: must be at least 1")
        self._failures = failures
        self._min_requests = min_requests
        self._min_success = min_success
        self.window = SuccessWindow(window)
        self.streak = 0

    def clear(self) -> None:
        """Forget everything."""
        self.streak = 0
        self.window.clear()

    def count(self, verdict: Verdict, now: float) -> str | None:
        """Count one request; the reason to switch off, if this was one too many."""
        if verdict is Verdict.NEUTRAL:
            return None
        self.window.record(now, success=verdict is Verdict.SUCCESS)
        if verdict is Verdict.SUCCESS:
            self.streak = 0
            return None
        self.streak += verdict is Verdict.FAILURE
        return self._reason()

    def _reason(self) -> str | None:
        if self.streak >= self._failures:
            return "consecutive_failures"
        poor = self.window.requests >= self._min_requests and self.window.success_rate < self._min_success
        return "success_rate" if poor else None
