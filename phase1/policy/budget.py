"""May one more retry be in flight?

Retries and hedges together never exceed `max_rate` of the first attempts in flight, and `min_concurrency` is always
allowed, so that a quiet service can retry at all. Bounding what is *in flight* (failsafe-go's budget, Finagle's and
linkerd's idea) needs no clock and holds the amplification of a total outage below 1 + `max_rate`, except for a service
so quiet that the breaker sees to it.
"""

from __future__ import annotations

__all__ = ["RetryBudget"]


class RetryBudget:
    """Places for retries, as a share of the requests in flight."""

    __slots__ = ("_max_rate", "_min_concurrency", "exhausted", "in_flight")

    def __init__(self, *, max_rate: float = 0.2, min_concurrency: int = 1) -> None:
        self._max_rate = max_rate
        self._min_concurrency = min_concurrency
        self.in_flight = 0
        self.exhausted = 0
        """How often a retry was refused."""

    def has_place(self, *, requests_in_flight: int) -> bool:
        """Whether `acquire` would succeed now."""
        return self.in_flight < max(self._min_concurrency, int(self._max_rate * requests_in_flight))

    def acquire(self, *, requests_in_flight: int) -> bool:
        """Take a place, or say no. Whoever got one must `release` it exactly once.

        `requests_in_flight` counts first attempts only, else the bound would be `max_rate / (1 - max_rate)`.
        """
        if not self.has_place(requests_in_flight=requests_in_flight):
            self.exhausted += 1
            return False
        self.in_flight += 1
        return True

    def release(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
