"""What do an app's users see? They ask all the while, and every request has one of five ends.

answered   2xx, with all of what the endpoints say in it
failed     an honest error: 4xx, 5xx, or a 2xx in which nothing of an answer is
half       a 2xx with a part of the answer, and no word about the rest
late       nothing until the deadline was over
lost       the connection broke without an answer
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import aiohttp

from phase1.lab.chaos.faults import WORDS
from phase1.lab.chaos.http import HTTPError, http_client
from phase1.lab.target import Ask

__all__ = ["Crowd", "End", "Sample", "ask_once", "judge"]

_PAUSE: Final = 0.15
"""Seconds between an answer and the next question: nobody asks again within no time."""
_SUCCESS: Final = 200
_REDIRECT: Final = 300
_ARRIVAL: Final = 0.5
"""Seconds within which all users arrive."""


class End(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    HALF = "half"
    LATE = "late"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. `started` is a monotonic time; `said` the status, or what happened instead."""

    user: int
    started: float
    seconds: float
    end: End
    said: str


def judge(status: int, text: str, *, whole: bool) -> End:
    """The end of a request that was answered. `whole`: a good answer has all words of the endpoints in it."""
    if not _SUCCESS <= status < _REDIRECT:
        return End.FAILED
    if not whole:
        return End.ANSWERED
    if all(word in text for word in WORDS):
        return End.ANSWERED
    begun = all(word in text for word in WORDS[:2])
    return End.HALF if begun and "error" not in text.lower() else End.FAILED


async def ask_once(
    client: aiohttp.ClientSession, url: str, ask: Ask, user: int, *, patience: float, whole: bool = True
) -> tuple[Sample, str]:
    """One request, and what was answered."""
    started, text = time.monotonic(), ""
    try:
        async with asyncio.timeout(patience):
            body, headers = ask.body_of(user), ask.headers_of(user)
            async with client.request(ask.method, url, data=body or None, headers=headers) as answer:
                text, said = await answer.text(errors="replace"), str(answer.status)
                end = judge(answer.status, text, whole=whole)
    except TimeoutError:
        end, said = End.LATE, "no answer in time"
    except HTTPError as error:
        end, said = End.LOST, type(error).__name__
    return Sample(user, started, time.monotonic() - started, end, said), text


class Crowd:
    """`users` who ask, each time on a connection of its own; inside the block they go on until told to stop.

    `patience`: seconds after which a user gives up. `whole`: see `judge`.
    """

    def __init__(self, url: str, ask: Ask, *, users: int, patience: float, whole: bool) -> None:
        self.samples: list[Sample] = []
        self._url = url
        self._ask = ask
        self._users = users
        self._patience = patience
        self._whole = whole
        self._since = float("inf")
        self._served: dict[int, float] = {}
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ends(self) -> Counter[End]:
        """How many requests ended how."""
        return Counter(sample.end for sample in self.samples)

    async def served(self, *, since: float, within: float) -> float | None:
        """Let each go who gets an answer to what was asked after `since` (monotonic), and wait for the last of them.

        Returns how long that took; `None`: somebody was not served `within` seconds. Nobody begins a request then.
        """
        self._since = since
        gone, left = await asyncio.wait(self._tasks, timeout=max(0.0, since + within - time.monotonic()))
        await asyncio.gather(*gone)  # raises what should never be
        if not left:
            return max((at - since for at in self._served.values()), default=0.0)
        self._over = True
        await asyncio.gather(*left)
        return None

    async def _be(self, user: int) -> None:
        await asyncio.sleep(_ARRIVAL * (user - 1) / self._users)
        async with http_client() as client:
            while not self._over and user not in self._served:
                sample, _ = await ask_once(
                    client, self._url, self._ask, user, patience=self._patience, whole=self._whole
                )
                self.samples.append(sample)
                if sample.end is End.ANSWERED and sample.started >= self._since:
                    self._served[user] = sample.started + sample.seconds
                else:
                    await asyncio.sleep(_PAUSE)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._be(user)) for user in range(1, self._users + 1)]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
