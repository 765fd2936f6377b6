"""Chats that outlive their request: a journal, a queue, and a stream that can be taken up again.

    phase1.install(app, offload=True)                        # FastAPI or Starlette
    app.mount("/api/async", phase1.offload.router)           # the same by hand, in an app that has phase1

`Hooks` tell whose request it is and what the model is to see. The truth about a chat is its journal; notifications,
queue messages and connections may all get lost without costing a token.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phase1.offload.hooks import Hooks
    from phase1.offload.routes import router

__all__ = ["Hooks", "router"]

_HOMES = {"Hooks": "phase1.offload.hooks", "router": "phase1.offload.routes"}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
