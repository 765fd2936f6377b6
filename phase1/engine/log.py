"""What stands in the log? What an operator must know; with `LLM_POOL_DEBUG=true` every fact. None has content."""

from __future__ import annotations

import logging
from typing import Final

from phase1.events import BreakerChanged, Event, FellBack

__all__ = ["DecisionLog", "OperatorLog"]

_log = logging.getLogger("phase1")


class DecisionLog:
    """An observer that logs."""

    def on_event(self, event: Event, /) -> None:
        """Write it down."""
        _log.info("%r", event)


class OperatorLog:
    """The breaker's moves, and every call that legacy answers instead of the pool."""

    hears: Final = frozenset({BreakerChanged, FellBack})

    def on_event(self, event: Event, /) -> None:
        """Write it down if it is one of these."""
        if isinstance(event, BreakerChanged):
            enforced = "" if event.enforced else " (observed only)"
            _log.warning("the pool's breaker is %s, was %s: %s%s", event.after, event.before, event.reason, enforced)
        elif isinstance(event, FellBack):
            _log.info("fallback: the legacy client answers instead of the pool (%s)", event.reason)
