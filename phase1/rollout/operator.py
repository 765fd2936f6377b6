"""How does a wish get into the store? Read, decide, replace; again if somebody was faster. Each change is audited."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from phase1.exceptions import Phase1Error
from phase1.policy.rollout import Desired
from phase1.policy.rollout_acts import act, kill
from phase1.policy.rollout_plan import Plan
from phase1.rollout.record import BadRecord, NewerRecord, decode, encode, short
from phase1.rollout.store import Store

__all__ = ["PROGRESS", "Contended", "Operator", "audit_line", "history", "progress_of"]

PROGRESS: Final = "progress"
"""What the leader remembers of the rollout that is under way."""
_ATTEMPTS: Final = 20

Change = Callable[[Desired], Desired]


class Contended(Phase1Error):
    """Others change the state record all the time. Try again."""

    status = 503


class Operator:
    """Makes changes in `store`. `by` says who wishes them: an address, `command line`.

    `known`: the last good state, from which to go on when the record in the store cannot be read.
    """

    def __init__(self, store: Store, *, by: str, known: Desired | None = None) -> None:
        self._store = store
        self._by = by
        self._known = known

    def change(self, wish: Change, *, reason: str, actor: str = "user") -> tuple[Desired, Desired]:
        """The state before and after. Raises what `wish` raises, `BadRecord`, `StoreUnavailable`, `Contended`."""
        for _ in range(_ATTEMPTS):
            text = self._store.read()
            before = self._start(text)
            after = wish(before)
            if after is before:
                return before, after
            line = audit_line(before, after, actor=actor, reason=reason, by=self._by)
            if self._store.swap(text, encode(after), line):
                return before, after
        raise Contended(f"{self._store.name}: others change the state all the time; try again")

    def _start(self, text: str | None) -> Desired:
        if text is None:
            return self._known or Desired()
        try:
            read = decode(text)
        except BadRecord as exc:
            if self._known is None or isinstance(exc, NewerRecord):
                raise
            return self._known
        newer = self._known is not None and self._known.generation > read.generation
        return self._known if newer and self._known is not None else read

    def kill(self, *, on: bool) -> tuple[Desired, Desired]:
        """Everybody to legacy, or back. A kill switch works also where the record is damaged."""
        wish = lambda desired: kill(desired, on=on)  # noqa: E731 - it has no name but this
        reason = "the kill switch was thrown" if on else "the kill switch was taken back"
        try:
            return self.change(wish, reason=reason, actor="kill")
        except BadRecord:
            if not on:
                raise
        return self._replace_damaged(wish, reason)

    def _replace_damaged(self, wish: Change, reason: str) -> tuple[Desired, Desired]:
        text, before = self._store.read(), self._known or Desired()
        after = wish(before)
        line = audit_line(before, after, actor="kill", reason=f"{reason}; the record was damaged", by=self._by)
        if not self._store.swap(text, encode(after), line):
            raise Contended(f"{self._store.name}: others change the state all the time; try again")
        return before, after

    def act(self, verb: str, plan: Plan) -> tuple[Desired, Desired]:
        """One of `policy.rollout_acts.ACTS`. Raises `NotAllowed` too."""
        reason = f"phase1 rollout {verb}"
        return self.change(lambda desired: act(verb, desired, plan, risen=self._risen(desired)), reason=reason)

    def _risen(self, desired: Desired) -> float:
        """Seconds at this percent, as the leader has counted them."""
        watch = progress_of(self._store).get("watch", {})
        try:
            return float(watch["risen"]) if watch["at"] == [desired.run, desired.percent] else 0.0
        except (KeyError, TypeError, ValueError):
            return 0.0


def progress_of(store: Store) -> dict[str, Any]:
    """What the last leader has written; empty if there is nothing that can be read."""
    try:
        document = json.loads(store.get(PROGRESS) or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def audit_line(
    before: Desired,
    after: Desired,
    *,
    actor: str,
    reason: str,
    by: str,
    evidence: Mapping[str, Any] | None = None,
    now: Callable[[], float] = time.time,
) -> str:
    """One line of the audit: when, which generation, who, from what to what, why, on what evidence."""
    entry = {
        "time": now(),
        "generation": after.generation,
        "actor": actor,
        "by": by,
        "from": short(before),
        "to": short(after),
        "reason": reason,
        **({"evidence": evidence} if evidence else {}),
    }
    return json.dumps(entry, separators=(",", ":"))


def history(store: Store, limit: int) -> list[dict[str, Any]]:
    """The last changes, oldest first. A change that was begun twice (its writer died in between) is there once."""
    entries = {}
    for line in store.audit(limit):
        try:
            entry = json.loads(line)
            entries[entry["generation"], json.dumps(entry["to"])] = entry
        except (ValueError, TypeError, KeyError):
            continue
    return list(entries.values())
