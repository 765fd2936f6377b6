"""How fast does an app answer many users at once?

    closed loop   `drive`: every user asks, waits for the answer, asks again
    open loop     `arrive`: users arrive when they do, whether or not those before them have been answered

In a closed loop a server that stands still also stops the questions: of a second of silence one user sees one slow
answer, and the percentiles hide it (coordinated omission). In the open loop a request is due at its own time, and its
seconds count from then, even if we ourselves were late to send it; how late is written down.

A user gives up after `timeout` seconds, as the proxy in front of an app does; what would be its 504 is a timeout here,
and counts with the seconds that were waited.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

import httpx

from phase1.lab.target import Ask

__all__ = [
    "Caller",
    "NoAnswerError",
    "Run",
    "Sample",
    "Summary",
    "Target",
    "arrive",
    "drive",
    "evenly",
    "join",
    "percentile",
    "summarize",
]

_PAUSE: Final = 0.1
"""Seconds before somebody who could not even connect tries again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as its user saw it. `started` counts from the beginning of the run; no `status` = no answer.

    `late`: seconds by which the load generator itself sent it after it was due; they are part of `seconds`. `round`:
    how often its user had asked before.
    """

    started: float
    seconds: float
    status: int | None
    timed_out: bool = False
    late: float = 0.0
    round: int = 0

    @property
    def answered(self) -> bool:
        """Whether the user has got what was asked for."""
        return self.status is not None and httpx.codes.is_success(self.status)

    @property
    def outcome(self) -> str:
        """What came of it, in a word."""
        return "timeout" if self.timed_out else str(self.status or "no answer")


@dataclass(frozen=True, slots=True)
class Run:
    """What a number of users saw, and how many seconds they were at it."""

    samples: tuple[Sample, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in numbers. Times are seconds, `success` is 0 … 1, `per_second` counts requests that were answered.

    `outcomes`: how many requests had which status, a "timeout", or "no answer". Percentiles are exact: every request is
    kept, none is put into a bucket.
    """

    requests: int
    answered: int
    timeouts: int
    errors: int
    success: float
    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    per_second: float
    seconds: float
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked, and where. `local` = never by a proxy."""

    url: str
    ask: Ask = field(default_factory=Ask)
    local: bool = True


class NoAnswerError(Exception):
    """The connection did not come about, or broke."""


class Caller(Protocol):
    """Asks on behalf of all users."""

    async def ask(self, user: int) -> int:
        """Ask as user number `user`: the status, once the whole answer is there. Raises `NoAnswerError`."""


async def drive(
    target: Target,
    *,
    users: int,
    timeout: float,
    goes_on: Callable[[int], bool],
    spread: float = 0.0,
    tell: Callable[[Sample], None] = lambda _: None,
) -> Run:
    """Let `users` ask `target`, numbered from 1, arriving evenly within `spread` seconds.

    `goes_on(asked)` says whether a user who has asked so often asks once more; `tell` hears of every request.
    """
    samples: list[Sample] = []
    begun = time.perf_counter()
    async with _calling(target) as caller:

        async def be(user: int) -> None:
            await asyncio.sleep(spread * (user - 1) / users)
            asked = 0
            while goes_on(asked):
                due = time.perf_counter()
                sample = await _ask(caller, user, timeout=timeout, begun=begun, due=due, number=asked)
                samples.append(sample)
                tell(sample)
                asked += 1
                if sample.status is None and not sample.timed_out:
                    await asyncio.sleep(_PAUSE)

        async with asyncio.TaskGroup() as group:
            for user in range(1, users + 1):
                group.create_task(be(user))
        return Run(tuple(samples), time.perf_counter() - begun)


async def arrive(
    target: Target,
    *,
    arrivals: Iterable[float],
    users: int,
    timeout: float,
    tell: Callable[[Sample], None] = lambda _: None,
) -> Run:
    """Ask `target` at each of `arrivals`, ascending seconds from now, as users 1 … `users` in turns.

    It ends when the last request has ended. Nothing is left out: what is due is sent, however many are in flight.
    """
    samples: list[Sample] = []
    begun = time.perf_counter()
    async with _calling(target) as caller:

        async def one(number: int, due: float) -> None:
            asked, user = divmod(number, users)
            sample = await _ask(caller, user + 1, timeout=timeout, begun=begun, due=due, number=asked)
            samples.append(sample)
            tell(sample)

        async with asyncio.TaskGroup() as group:
            for number, arrival in enumerate(arrivals):
                due = begun + arrival
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(one(number, due))
        return Run(tuple(samples), time.perf_counter() - begun)


def evenly(rate: float, seconds: float) -> Iterator[float]:
    """`rate` arrivals per second, for so many seconds."""
    return (number / rate for number in range(math.ceil(rate * seconds)))


def _calling(target: Target) -> AbstractAsyncContextManager[Caller]:
    from phase1.lab.caller import open_caller  # noqa: PLC0415 - needs the extra

    return open_caller(target.url, target.ask, local=target.local)


async def _ask(caller: Caller, user: int, *, timeout: float, begun: float, due: float, number: int) -> Sample:
    late = time.perf_counter() - due
    status, timed_out = None, False
    try:
        async with asyncio.timeout(timeout - late):
            status = await caller.ask(user)
    except TimeoutError:
        timed_out = True
    except NoAnswerError:
        pass
    return Sample(due - begun, time.perf_counter() - due, status, timed_out, late, number)


def join(runs: Sequence[Run]) -> Run:
    """Several runs as one that took as long as all of them."""
    return Run(tuple(sample for run in runs for sample in run.samples), sum(run.seconds for run in runs))


def summarize(run: Run) -> Summary:
    """The numbers of a run of at least one request."""
    seconds = sorted(sample.seconds for sample in run.samples)
    requests = len(seconds)
    answered = sum(sample.answered for sample in run.samples)
    timeouts = sum(sample.timed_out for sample in run.samples)
    return Summary(
        requests=requests,
        answered=answered,
        timeouts=timeouts,
        errors=requests - answered - timeouts,
        success=answered / requests,
        mean=sum(seconds) / requests,
        p50=percentile(seconds, 0.50),
        p95=percentile(seconds, 0.95),
        p99=percentile(seconds, 0.99),
        longest=seconds[-1],
        per_second=answered / run.seconds,
        seconds=run.seconds,
        outcomes=dict(Counter(sample.outcome for sample in run.samples)),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of `ordered` that at least `share` (0 … 1) of them do not exceed: the nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
