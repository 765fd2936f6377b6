"""What is done to an app? Each case is a fault with a beginning and an end, in one of three suites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from phase1.exceptions import ConfigurationError
from phase1.lab.chaos.clients import burst, half_requests, resets, walk_away
from phase1.lab.chaos.faults import FAULTS, healthy
from phase1.lab.chaos.scene import Scene
from phase1.lab.chaos.store import missing_store
from phase1.lab.chaos.suites import SUITES
from phase1.lab.chaos.verdict import Allowance
from phase1.lab.chaos.workers import block_loop, freeze_store, kill_worker, pause_worker

__all__ = ["CASES", "SUITE_NAMES", "Case", "chosen"]

_ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`about`: the fault in a sentence. `inflict` returns when the fault is over.

    `nodes`: endpoints that the pool has, the first of which is the only one that the legacy client has; those of one
    of the `domains` share a quota. `workers`: processes of the app; `store`: they
    share a Redis of the case's own. `missing`: what this machine lacks for it.
    """

    name: str
    suite: str
    about: str
    inflict: Callable[[Scene], Awaitable[None]]
    nodes: int = 1
    domains: tuple[str | None, ...] = ()
    workers: int = 1
    store: bool = False
    allowance: Callable[[int], Allowance] = field(default=lambda _: Allowance())
    missing: Callable[[], str | None] = field(default=lambda: None)


async def _misbehave(scene: Scene, *, faults: tuple[str, ...]) -> None:
    """The first endpoints have these faults, the others are well."""
    sick = list(zip(scene.endpoints, faults, strict=False))
    for endpoint, fault in sick:
        await endpoint.behave(FAULTS[fault])
    await scene.wait()
    for endpoint, _ in sick:
        await endpoint.behave(healthy)


def _said(fault: str) -> str:
    behaviour = FAULTS[fault]
    text = "nobody listens" if behaviour is None else behaviour.__doc__ or fault
    line = text.partition("\n")[0].rstrip(".")
    return line[:1].lower() + line[1:]


def _one(fault: str) -> Case:
    about = f"one endpoint of two: {_said(fault)}"
    return Case(name=fault, suite="provider", about=about, inflict=partial(_misbehave, faults=(fault,)), nodes=2)


def _everywhere(fault: str) -> Case:
    inflict = partial(_misbehave, faults=(fault, fault))
    return Case(
        name=f"all: {fault}", suite="provider", about=f"both endpoints: {_said(fault)}", inflict=inflict, nodes=2
    )


_PROVIDER: Final = (
    *(_one(fault) for fault in FAULTS),
    Case(
        name="one dead of four",
        suite="provider",
        about="one endpoint of four refuses connections",
        inflict=partial(_misbehave, faults=("refuses connections",)),
        nodes=4,
    ),
    Case(
        name="shared quota used up",
        suite="provider",
        about="429 at one of two endpoints that share a quota; a third has its own",
        inflict=partial(_misbehave, faults=("429, Retry-After",)),
        nodes=3,
        domains=("org", "org", None),
    ),
    *map(_everywhere, ("refuses connections", "hangs", "500", "429, Retry-After", "slow", "HTML")),
)

_CLIENT: Final = (
    Case(
        name="walk away",
        suite="client",
        about="forty more clients ask and hang up before the answer, again and again",
        inflict=walk_away,
    ),
    Case(
        name="reset",
        suite="client",
        about="the same, and their connections are reset instead of closed",
        inflict=resets,
    ),
    Case(
        name="half requests",
        suite="client",
        about="forty more clients send half of a request, and then nothing",
        inflict=half_requests,
    ),
    Case(name="rush", suite="client", about="a hundred more clients ask in one instant", inflict=burst),
)

_WORKER: Final = (
    Case(
        name="blocked loop",
        suite="worker",
        about="synchronous code holds the event loop for 3 s",
        inflict=block_loop,
        allowance=lambda _: Allowance(standstill=3.0),
    ),
    Case(
        name="paused worker",
        suite="worker",
        about="the process gets no CPU time for 3 s (SIGSTOP), and then goes on (SIGCONT)",
        inflict=pause_worker,
        allowance=lambda _: Allowance(standstill=3.0),
    ),
    Case(
        name="killed worker",
        suite="worker",
        about="one of two workers is killed (SIGKILL) under load; whom it was serving loses the connection",
        inflict=kill_worker,
        workers=2,
        allowance=lambda users: Allowance(losses=users),
    ),
    Case(
        name="frozen state store",
        suite="worker",
        about="the Redis of LLM_STATE_URL, over which two workers agree, does not answer",
        inflict=freeze_store,
        workers=2,
        store=True,
        missing=missing_store,
    ),
)

CASES: Final[Mapping[str, tuple[Case, ...]]] = {"provider": _PROVIDER, "client": _CLIENT, "worker": _WORKER}
SUITE_NAMES: Final = (*CASES, _ALL)


def chosen(suite: str, names: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of `suite`, or those of them that are named. Raises `ConfigurationError` for what there is not."""
    if suite not in SUITE_NAMES:
        raise ConfigurationError(f"--suite {suite}: must be one of {', '.join((*SUITE_NAMES, *SUITES))}")
    cases = [case for each, cases in CASES.items() if suite in (each, _ALL) for case in cases]
    known = [case.name for case in cases]
    for name in names:
        if name not in known:
            raise ConfigurationError(f"--case {name}: --suite {suite} has {', '.join(known)}")
    return tuple(case for case in cases if not names or case.name in names)
