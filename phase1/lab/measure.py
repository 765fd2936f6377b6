"""How does one running app bear one load? Who asks how, what they see, and what the app's process takes meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from phase1.exceptions import ConfigurationError
from phase1.lab.load import Run, Sample, Target, arrive, drive, evenly
from phase1.lab.machine import raise_open_files
from phase1.lab.processes import Server

if TYPE_CHECKING:
    from phase1.lab.usage import Lag, Usage

__all__ = ["KINDS", "Kind", "Load", "Measured", "measure", "put", "warm_up"]

Kind = Literal["users", "arrivals", "burst"]
KINDS: Final[tuple[Kind, ...]] = ("users", "arrivals", "burst")

_MOST: Final = 1_000_000
_MOST_AT_ONCE: Final = 20_000
_PATIENCE: Final = 600.0
"""Seconds for the slowest of a burst: in a burst nobody gives up, because how long it takes is the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Who asks.

    `users`: so many users for `seconds`, each with the next request after the last answer (closed loop).
    `arrivals`: `rate` requests per second for `seconds`, whatever is answered (open loop); by `users` in turns.
    `burst`: so many `users` at once, one request each, and nobody gives up.

    Raises `ConfigurationError` for a load that this process could not bear itself.
    """

    kind: Kind
    users: int
    seconds: float = 0.0
    rate: float = 0.0
    timeout: float = _PATIENCE

    def __post_init__(self) -> None:
        if self.rate * self.seconds > _MOST:
            raise ConfigurationError(
                f"--rate {self.rate:g} for {self.seconds:g} s: at most {_MOST:,} requests in a run"
            )
        if self.rate * self.timeout > _MOST_AT_ONCE:
            raise ConfigurationError(
                f"--rate {self.rate:g} with --timeout {self.timeout:g}: up to {self.rate * self.timeout:,.0f} requests"
                f" at once, at most {_MOST_AT_ONCE:,} can be borne; a shorter --timeout helps"
            )

    @property
    def title(self) -> str:
        """What it is, for people."""
        match self.kind:
            case "users":
                return f"{self.users} users for {self.seconds:g} s"
            case "arrivals":
                return f"{self.rate:g} arrivals a second for {self.seconds:g} s"
            case "burst":
                return f"{self.users} requests at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of it. `generator`: CPU seconds of who asked, which is this process.

    `looks`: seconds since the beginning, cores in use, resident bytes; `lates`: seconds since then, seconds late.
    """

    run: Run
    usage: Usage
    lag: Lag
    generator: float
    looks: tuple[tuple[float, float, int], ...]
    lates: tuple[tuple[float, float], ...]


async def put(load: Load, target: Target, tell: Callable[[Sample], None] = lambda _: None) -> Run:
    """Put `load` on `target`; `tell` hears of every request."""
    raise_open_files()
    match load.kind:
        case "users":
            ends = time.perf_counter() + load.seconds
            return await drive(
                target,
                users=load.users,
                timeout=load.timeout,
                goes_on=lambda asked: not asked or time.perf_counter() < ends,
                tell=tell,
            )
        case "arrivals":
            arrivals = evenly(load.rate, load.seconds)
            return await arrive(target, arrivals=arrivals, users=load.users, timeout=load.timeout, tell=tell)
        case "burst":
            return await drive(
                target, users=load.users, timeout=load.timeout, goes_on=lambda asked: asked < 1, tell=tell
            )


async def warm_up(target: Target) -> None:
    """One answer, so that what is imported with an app's first one is measured in none."""
    await drive(target, users=1, timeout=_PATIENCE, goes_on=lambda asked: asked < 1)


async def measure(
    load: Load, target: Target, server: Server, tell: Callable[[Sample], None] = lambda _: None
) -> Measured:
    """Put `load` on `target`, which `server` serves, and look at its process. Raises `LabError` when that ends."""
    from phase1.lab.usage import lag_of, watch  # noqa: PLC0415 - needs psutil

    server.require_running()
    spent = time.process_time()
    async with watch(server.process.pid) as watched:
        run = await put(load, target, tell)
    spent = time.process_time() - spent
    server.require_running()
    lag, lates = lag_of(server.lag, watched)
    cores = [
        (now.at, (now.cpu - before.cpu) / (now.at - before.at), now.memory)
        for before, now in zip(watched.looks, watched.looks[1:], strict=False)
        if now.at > before.at
    ]
    return Measured(run=run, usage=watched.usage, lag=lag, generator=spent, looks=tuple(cores), lates=tuple(lates))
