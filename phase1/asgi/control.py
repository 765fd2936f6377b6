"""What may an operator change while the app runs? One table of wishes; each is checked before any is granted.

A wish is a key of the request's JSON object: `{"percent": 25}`, `{"force_legacy": true}`, `{"reset_breaker": true}`,
`{"drain": "node"}`, `{"revive": "node"}`. Another room adds its own with a line in `Control.wishes`: a function that
checks the value, and returns what to do; that one returns the state before and after.

A change is made in the worker that is asked, lasts until that process ends, is logged and kept for the page. Where
workers share a state (`LLM_STATE_URL`) percent and forced legacy are for all of them, and so are rollouts
(`rollout.wishes`).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from phase1.exceptions import Phase1Error

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.observe.monitor import Monitor

__all__ = ["BadWish", "Change", "Control", "Wish", "asking"]

_log = logging.getLogger("phase1")

Change = Callable[[], tuple[object, object]]
"""Makes one change; returns what was there before and what is there now."""
Wish = Callable[["LLMManager", object], Change]
"""Checks one value. Raises `BadWish`; changes nothing."""


asking: ContextVar[str] = ContextVar("phase1_asking", default="")
"""Who wishes what is being granted in this context."""


class BadWish(Phase1Error):
    """A wish that cannot be granted: the text names it, its value and what is allowed."""

    status = 400


class Control:
    """Grants wishes. `wishes`: by the key that they have in a request."""

    def __init__(self, manager: LLMManager, monitor: Monitor) -> None:
        self._manager = manager
        self._monitor = monitor
        self.wishes: dict[str, Wish] = dict(_WISHES)
        self.waiting: set[str] = set()
        """Wishes that wait for something when they are granted: not on the event loop."""

    def apply(self, wishes: Mapping[str, object], *, by: str) -> dict[str, Any]:
        """All of `wishes`, or none: `BadWish` says why not. `by` is the address that asks."""
        if not wishes:
            raise BadWish(f"nothing is wished for; allowed: {', '.join(self.wishes)}")
        changes = [(name, self._checked(name, value)) for name, value in wishes.items()]
        asking.set(by)
        made = [self._make(name, change, by) for name, change in changes]
        return {"changes": made, "worker": os.getpid(), "workers": len(self._monitor.document()["workers"])}

    def _checked(self, name: str, value: object) -> Change:
        wish = self.wishes.get(name)
        if wish is None:
            raise BadWish(f"{name[:40]!r}: unknown; allowed: {', '.join(self.wishes)}")
        return wish(self._manager, value)

    def _make(self, name: str, change: Change, by: str) -> dict[str, object]:
        before, after = change()
        entry: dict[str, object] = {
            "time": time.time(),
            "actor": by,
            "what": name,
            "from": before,
            "to": after,
            "worker": os.getpid(),
        }
        self._monitor.audit.append(entry)
        _log.warning("control: %s was %s, is %s (asked for by %s)", name, before, after, by)
        return entry


def _percent(manager: LLMManager, value: object) -> Change:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:  # noqa: PLR2004
        raise BadWish(f"percent={_shown(value)}: must be a number between 0 and 100")
    if round(value * 100) != round(value * 100, 6):
        raise BadWish(f"percent={_shown(value)}: must be a multiple of 0.01")

    def change() -> tuple[object, object]:
        before = manager.canary
        manager.canary = replace(before, percent=float(value))
        return before.percent, float(value)

    return change


def _force_legacy(manager: LLMManager, value: object) -> Change:
    if not isinstance(value, bool):
        raise BadWish(f"force_legacy={_shown(value)}: must be true or false")

    def change() -> tuple[object, object]:
        before = manager.switches
        manager.switches = replace(before, force_legacy=value)
        return before.force_legacy, value

    return change


def _reset_breaker(manager: LLMManager, value: object) -> Change:
    if value is not True:
        raise BadWish(f"reset_breaker={_shown(value)}: must be true")

    def change() -> tuple[object, object]:
        before = str(manager.breaker.state)
        manager.breaker.reset()
        return before, str(manager.breaker.state)

    return change


def _drain(manager: LLMManager, value: object) -> Change:
    return _node_change(manager, "drain", value, manager.drain)


def _revive(manager: LLMManager, value: object) -> Change:
    return _node_change(manager, "revive", value, manager.revive)


def _node_change(manager: LLMManager, wish: str, value: object, act: Callable[[str], None]) -> Change:
    names = [spec.name for spec in manager.nodes]
    if not isinstance(value, str) or value not in names:
        allowed = ", ".join(names) or "there are no nodes"
        raise BadWish(f"{wish}={_shown(value)}: must be the name of a node; allowed: {allowed}")

    def change() -> tuple[object, object]:
        before = _state(manager, value)
        act(value)
        return f"{value} {before}", f"{value} {_state(manager, value)}"

    return change


def _state(manager: LLMManager, name: str) -> str:
    binding = manager.bindings.peek()
    live = next((node for node in binding.pool.nodes if node.name == name), None) if binding and binding.pool else None
    return live.state if live is not None else "drained" if name in manager.drained else "not open"


def _shown(value: object) -> str:
    return f"{value!r:.40}"


_WISHES: dict[str, Wish] = {
    "percent": _percent,
    "force_legacy": _force_legacy,
    "reset_breaker": _reset_breaker,
    "drain": _drain,
    "revive": _revive,
}
