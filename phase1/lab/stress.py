"""How does an app bear many users? One load on an app of the user's, or on a server that runs already."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from phase1.exceptions import ConfigurationError
from phase1.lab.apps import Upstream
from phase1.lab.compare import Leg, Quiet, Stage, target_of
from phase1.lab.complaints import ask_once
from phase1.lab.document import rounded, side_of
from phase1.lab.load import Target, summarize
from phase1.lab.machine import describe, load_average, versions
from phase1.lab.measure import Kind, Load, measure, put, warm_up
from phase1.lab.mock.server import mocked
from phase1.lab.processes import LabError
from phase1.lab.target import Ask, TargetApp
from phase1.lab.trial import open_trial
from phase1.validation import public_url

__all__ = ["SCHEMA", "StressPlan", "require_local", "stress_app", "stress_url"]

SCHEMA: Final = "phase1.stress/v1"
_ANSWERING: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StressPlan:
    """What to do; times are seconds.

    `users` ask for `duration`, each after the last answer; with `rate` that many requests arrive per second instead,
    whatever is answered. A user gives up after `timeout`. `latency`: of the mock upstream. `least_success` (0 … 1) and
    `most_p95`: what is promised. Raises `ConfigurationError` for a load that this process could not bear itself.
    """

    users: int = 20
    duration: float = 60.0
    rate: float | None = None
    timeout: float = 30.0
    latency: float = 0.5
    least_success: float = 0.99
    most_p95: float | None = None

    def __post_init__(self) -> None:
        _ = self.load  # what is wrong with it is said now

    @property
    def load(self) -> Load:
        """What is put on the app."""
        kind: Kind = "arrivals" if self.rate else "users"
        return Load(kind=kind, users=self.users, seconds=self.duration, rate=self.rate or 0.0, timeout=self.timeout)


async def stress_app(
    app: TargetApp | str,
    plan: StressPlan | None = None,
    *,
    pooled: bool = True,
    upstream: Upstream | None = None,
    environment: Mapping[str, str] | None = None,
    stage: Stage | None = None,
) -> dict[str, Any]:
    """Start `app` with the pool on (or off) and put the load on it: the document of what came out.

    Raises `LabError` and `ConfigurationError` for an app that cannot be measured, before any load.
    """
    target, plan, stage = TargetApp.of(app), plan or StressPlan(), stage or Quiet()
    found = os.environ if environment is None else environment
    async with (
        mocked(plan.latency, found, upstream) as (asked, there),
        open_trial(target, there, environment=found) as trial,
    ):
        stage.say(f"checking {target.app}: one request to {target.ask.route}")
        running = await trial.start(pooled=pooled)
        await trial.check(running, asked=asked)
        await warm_up(target_of(running))
        with stage.during(plan.load.title, plan.duration) as tell:
            measured = await measure(plan.load, target_of(running), running.server, tell)
    side = side_of([Leg(load=plan.load, pooled=pooled, measured=measured)])
    return _document(target.app, target.ask, plan, side, pooled=pooled)


async def stress_url(
    url: str,
    ask: Ask,
    plan: StressPlan | None = None,
    *,
    allow_remote: bool = False,
    stage: Stage | None = None,
) -> dict[str, Any]:
    """Put the load on a server that runs already: the document of what came out.

    Raises `ConfigurationError` for another machine without `allow_remote`, `LabError` when it does not answer.
    """
    plan, stage = plan or StressPlan(), stage or Quiet()
    local = require_local(url, allow_remote=allow_remote)
    stage.say(f"checking {public_url(url)}: one request")
    await _check_url(url, ask, local=local)
    target = Target(url=url, ask=ask, local=local)
    with stage.during(plan.load.title, plan.duration) as tell:
        run = await put(plan.load, target, tell)
    return _document(public_url(url), ask, plan, {"all": asdict(summarize(run))}, pooled=None)


def require_local(url: str, *, allow_remote: bool) -> bool:
    """Whether `url` is on this machine. Raises `ConfigurationError` when it is not and need be, or is no URL."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"{public_url(url)}: must be an http:// or https:// URL")
    if _is_loopback(parts.hostname):
        return True
    if not allow_remote:
        raise ConfigurationError(
            f"{parts.hostname} is not this machine: --allow-remote says that you may put load on it"
        )
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _check_url(url: str, ask: Ask, *, local: bool) -> None:
    try:
        problem = await ask_once(url, ask, timeout=_ANSWERING, local=local)
    except httpx.TimeoutException:
        problem = f"{public_url(url)} did not answer the sample request within {_ANSWERING:g} s"
    except httpx.TransportError as error:
        problem = f"{public_url(url)} cannot be asked: {error}"
    if problem:
        raise LabError(problem)


def _document(name: str, ask: Ask, plan: StressPlan, side: dict[str, Any], *, pooled: bool | None) -> dict[str, Any]:
    broken = _broken(plan, side["all"])
    return rounded(
        {
            "schema": SCHEMA,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe() | {"load_average": load_average()},
            "versions": versions(),
            "target": name,
            "pooled": pooled,
            "request": {"method": ask.method, "route": ask.route, "headers": list(ask.public_headers)},
            "plan": asdict(plan),
            "title": plan.load.title,
            **side,
            "kept": not broken,
            "broken": broken,
        }
    )


def _broken(plan: StressPlan, found: dict[str, Any]) -> list[str]:
    problems = []
    if found["success"] < plan.least_success:
        problems.append(f"{found['success']:.2%} success, not at least {plan.least_success:.2%}: {found['outcomes']}")
    if plan.most_p95 is not None and found["p95"] > plan.most_p95:
        problems.append(f"the 95th percentile is {found['p95']:.2f} s, not at most {plan.most_p95:g} s")
    return problems
