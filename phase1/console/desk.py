"""Through which door does the command line speak to the workers? The store that they share, or one of them, over HTTP.

The store is the shorter way: it works while the app's pages do not. It is taken where `LLM_STATE_URL` names one here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from phase1.exceptions import ConfigurationError, Phase1Error
from phase1.policy.rollout import Desired
from phase1.rollout.operator import Operator, history, progress_of
from phase1.rollout.plan_file import plan_from_file
from phase1.rollout.record import decode, short

if TYPE_CHECKING:
    from phase1.console.remote import Remote
    from phase1.rollout.store import Store
    from phase1.settings import Settings

__all__ = ["Desk", "RemoteDesk", "StoreDesk"]

_BY: Final = "command line"
_PATIENCE: Final = 3.0
_POLL: Final = 0.05


class Desk(Protocol):
    """Every method raises `Phase1Error`. Changes return one line about what was changed."""

    def kill(self, *, on: bool) -> str:
        """Everybody to legacy, or back."""

    def act(self, verb: str) -> str:
        """One of the rollout's verbs."""

    def status(self) -> dict[str, Any]:
        """How it stands."""

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The last changes, oldest first."""


class StoreDesk:
    """Writes into `store`, and waits until the workers apply it."""

    def __init__(self, store: Store, settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._settings = settings
        self._sleep = sleep

    def kill(self, *, on: bool) -> str:
        """See `Desk`."""
        before, after = Operator(self._store, by=_BY).kill(on=on)
        return f"kill switch: was {_on(before.kill)}, is {_on(after.kill)}{self._applied(after)}"

    def act(self, verb: str) -> str:
        """See `Desk`."""
        if verb in {"start", "resume", "promote"} and not self._settings.llm_auto_rollout:
            raise ConfigurationError("LLM_AUTO_ROLLOUT is not true: nobody would move the percent")
        plan = plan_from_file(self._settings.llm_rollout_file)
        before, after = Operator(self._store, by=_BY).act(verb, plan)
        return f"rollout: was {_place(before)}, is {_place(after)}{self._applied(after)}"

    def _applied(self, after: Desired) -> str:
        """How many workers do it, as soon as all do, or at the end of the patience."""
        done, workers, waited = 0, 0, 0.0
        while waited <= _PATIENCE:
            generations = [report["generation"] for report in _reports(self._store)]
            done, workers = sum(each >= after.generation for each in generations), len(generations)
            if done == workers:
                break
            self._sleep(_POLL)
            waited += _POLL
        return f"; {done} of {workers} workers apply it" if workers else "; no worker follows this state now"

    def status(self) -> dict[str, Any]:
        """See `Desk`."""
        text = self._store.read()
        known = Desired() if text is None else decode(text)
        progress = progress_of(self._store)
        return {
            "store": self._store.name,
            **short(known),
            "problem": None,
            "workers": [
                {"generation": each["generation"], "breaker": each["breaker"]} for each in _reports(self._store)
            ],
            "leader": progress.get("leader"),
            "reason": progress.get("reason"),
            "elapsed": progress.get("elapsed"),
            "evidence": progress.get("evidence"),
        }

    def history(self, limit: int) -> list[dict[str, Any]]:
        """See `Desk`."""
        return history(self._store, limit)


class RemoteDesk:
    """Asks one worker."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def kill(self, *, on: bool) -> str:
        """See `Desk`."""
        (change,) = self._remote.control(force_legacy=on)
        return f"kill switch: was {_on(change['from'])}, is {_on(change['to'])}{self._whose(change)}"

    def act(self, verb: str) -> str:
        """See `Desk`."""
        (change,) = self._remote.control(rollout=verb)
        return f"rollout: was {change['from']}, is {change['to']}{self._whose(change)}"

    def _whose(self, change: dict[str, Any]) -> str:
        rollout = self._remote.document().get("rollout")
        shared = bool(rollout and rollout["shared"])
        return "; all workers follow" if shared else f"; only worker {change['worker']}: LLM_STATE_URL is memory:"

    def status(self) -> dict[str, Any]:
        """See `Desk`."""
        rollout: dict[str, Any] | None = self._remote.document().get("rollout")
        if rollout is None:
            raise NoRollout("this app has no rollout: LLM_STATE_URL is memory: and LLM_AUTO_ROLLOUT is not true")
        return rollout

    def history(self, limit: int) -> list[dict[str, Any]]:
        """See `Desk`. A worker shows the last twenty."""
        entries: list[dict[str, Any]] = self.status()["history"]
        return list(reversed(entries[:limit]))


class NoRollout(Phase1Error):
    """The app that was asked neither shares a state nor moves its percent."""


def _reports(store: Store) -> list[dict[str, Any]]:
    found = []
    for text in store.reports().values():
        try:
            report = json.loads(text)
            found.append({"generation": int(report["generation"]), "breaker": str(report["breaker"]["state"])})
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _on(value: object) -> str:
    return "on" if value else "off"


def _place(state: Desired) -> str:
    percent = "the settings' percent" if state.percent is None else f"{state.percent:g} %"
    return f"{state.phase}, {percent}"
