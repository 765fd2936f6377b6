"""How fast does an app answer many users at once?

A closed loop: every user asks, waits for the answer, asks again. A user gives up after `timeout` seconds, as the proxy
in front of an app does; what would be its 504 is a timeout here, and counts with the seconds that were waited.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

__all__ = ["Run", "Sample", "Summary", "Target", "drive", "percentile", "summarize"]

_PAUSE: Final = 0.1
"""Seconds before somebody who could not even connect tries again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as its user saw it. `started` counts from the beginning of the run; no `status` = no answer."""

    started: float
    seconds: float
    status: int | None
    timed_out: bool = False

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

    `outcomes`: how many requests had which status, a "timeout", or "no answer".
    """

    requests: int
    answered: int
    timeouts: int
    errors: int
    success: float
    mean: float
    p50: float
    p95: float
    per_second: float
    seconds: float
    outcomes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked, and where: a POST of `body` with the bearer token of the user. `local` = never by a proxy."""

    url: str
    body: Mapping[str, object]
    token: Callable[[int], str]
    local: bool = True


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
    patient = httpx.Timeout(None)  # the users' own clocks decide
    async with httpx.AsyncClient(timeout=patient, limits=httpx.Limits(), trust_env=not target.local) as client:

        async def be(user: int) -> None:
            await asyncio.sleep(spread * (user - 1) / users)
            asked = 0
            while goes_on(asked):
                sample = await _ask(client, target, user, timeout=timeout, begun=begun)
                samples.append(sample)
                tell(sample)
                asked += 1
                if sample.status is None and not sample.timed_out:
                    await asyncio.sleep(_PAUSE)

        async with asyncio.TaskGroup() as group:
            for user in range(1, users + 1):
                group.create_task(be(user))
        return Run(tuple(samples), time.perf_counter() - begun)


async def _ask(client: httpx.AsyncClient, target: Target, user: int, *, timeout: float, begun: float) -> Sample:
    headers = {"authorization": f"Bearer {target.token(user)}"}
    started = time.perf_counter()
    status, timed_out = None, False
    try:
        async with asyncio.timeout(timeout):
            status = (await client.post(target.url, json=target.body, headers=headers)).status_code
    except TimeoutError:
        timed_out = True
    except httpx.HTTPError:
        pass
    return Sample(started - begun, time.perf_counter() - started, status, timed_out)


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
        per_second=answered / run.seconds,
        seconds=run.seconds,
        outcomes=dict(Counter(sample.outcome for sample in run.samples)),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of `ordered` that at least `share` (0 … 1) of them do not exceed: the nearest rank."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
