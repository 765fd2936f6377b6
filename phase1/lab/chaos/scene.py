"""Where does a case take place? An app, the endpoints that it asks, and for how long the fault goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from phase1.lab.chaos.store import StateStore
from phase1.lab.chaos.upstream import Endpoint
from phase1.lab.target import Ask
from phase1.lab.trial import RunningApp
from phase1.settings import Settings

__all__ = ["Plan", "Scene"]


_CLOCKS: Final = ("request_deadline", "queue_timeout", "connect_timeout", "first_token_timeout", "idle_timeout")
_USUAL: Final = 60.0
"""Seconds after which a usual load balancer gives up: what the defaults of the clocks are made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`users` at once; each fault goes on for `seconds`; within `deadline` seconds everybody is to hear something.

    The pool's clocks are its defaults, scaled from a minute to the deadline.
    """

    users: int = 20
    seconds: float = 6.0
    deadline: float = 10.0

    @property
    def settings(self) -> dict[str, str]:
        """The pool's clocks."""
        fields = {f"llm_{clock}": Settings.model_fields[f"llm_{clock}"].default for clock in _CLOCKS}
        return {name.upper(): f"{float(usual) * self.deadline / _USUAL:.3g}" for name, usual in fields.items()}


@dataclass(slots=True, kw_only=True)
class Scene:
    """`endpoints`: the first is the one that the legacy client knows."""

    app: RunningApp
    endpoints: list[Endpoint]
    plan: Plan
    store: StateStore | None = None

    @property
    def ask(self) -> Ask:
        """What the app is asked."""
        return self.app.target.ask

    @property
    def pid(self) -> int:
        """The app's process."""
        return self.app.pid

    async def wait(self) -> None:
        """For as long as a fault goes on."""
        await asyncio.sleep(self.plan.seconds)
