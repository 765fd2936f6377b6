"""What does `LLM_POOL_DEBUG=true` write? Every fact that is told, one line each; facts hold no content."""

from __future__ import annotations

import logging

from phase1.events import Event

__all__ = ["DecisionLog"]

_log = logging.getLogger("phase1")


class DecisionLog:
    """An observer that logs."""

    def on_event(self, event: Event, /) -> None:
        """Write it down."""
        _log.info("%r", event)
