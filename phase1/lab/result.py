"""What has a demo found out, and is it what was promised?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from phase1.lab.load import Summary
from phase1.lab.outage import Outage

__all__ = ["SCHEMA", "DemoResult", "broken_promises", "document"]

SCHEMA: Final = "phase1.demo/v1"

_MEAN_FACTOR: Final = 1.5
_THROUGHPUT_FACTOR: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What came out. `upstream` is the upstream by itself; without an outage it could not be made to fail."""

    machine: dict[str, str | int | None]
    upstream_url: str
    mock: bool
    users: int
    rounds: int
    timeout: float
    upstream: Summary
    legacy: Summary
    pooled: Summary
    outage: Outage | None
    debug_url: str

    @property
    def throughput_factor(self) -> float | None:
        """Requests per second, pooled to legacy; `None` when legacy answered nobody."""
        return self.pooled.per_second / self.legacy.per_second if self.legacy.answered else None

    @property
    def mean_to_upstream(self) -> float:
        """Mean time of an answer of the pooled app, in latencies of the upstream."""
        return self.pooled.mean / self.upstream.mean


def document(result: DemoResult) -> dict[str, object]:
    """The result as JSON has it."""
    broken = broken_promises(result)
    return {
        "schema": SCHEMA,
        **asdict(result),
        "mean_to_upstream": result.mean_to_upstream,
        "throughput_factor": result.throughput_factor,
        "kept": not broken,
        "broken": broken,
    }


def broken_promises(result: DemoResult) -> tuple[str, ...]:
    """What the pooled app should have done and has not, a sentence each."""
    return (*_broken_by_numbers(result), *_broken_in_outage(result.outage))


def _broken_by_numbers(result: DemoResult) -> tuple[str, ...]:
    pooled, least = result.pooled, min(_THROUGHPUT_FACTOR, result.users / 2)
    found: list[str] = []
    if pooled.timeouts or pooled.errors:
        found.append(
            f"of {pooled.requests} requests to the pooled app {pooled.timeouts} timed out and {pooled.errors} failed"
        )
    if result.mean_to_upstream > _MEAN_FACTOR:
        found.append(
            f"the pooled app's mean is {result.mean_to_upstream:.2f} times the upstream's, not at most {_MEAN_FACTOR:g}"
        )
    if result.throughput_factor is not None and result.throughput_factor < least:
        found.append(
            f"the pooled app answers {result.throughput_factor:.1f} times the legacy app's requests per second,"
            f" not at least {least:g}"
        )
    return tuple(found)


def _broken_in_outage(outage: Outage | None) -> tuple[str, ...]:
    if outage is None:
        return ()
    found: list[str] = []
    if outage.users.answered < outage.users.requests:
        lost = outage.users.requests - outage.users.answered
        found.append(f"{lost} of {outage.users.requests} requests around the outage got no answer")
    if outage.stuck:
        found.append(f"the breaker did not become {outage.stuck}")
    return tuple(found)
