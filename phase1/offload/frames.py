"""What stands in a journal? Small frames that know nothing of any wire format.

    {"m": {…}} meta   {"t": "…"} text   {"r": "…"} reasoning   {"tc": […]} tool calls   {"u": {…}} usage
    {"reset": n} the text of the attempts before is void   {"end": "completed", …} the last one

`end` is the first key of the last frame: a reader knows it without parsing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

__all__ = ["ENDS", "End", "decode", "encode", "ending", "reset"]


class End(StrEnum):
    """How a task can end."""

    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    LOST = "lost"


ENDS: Final = frozenset(End)


def encode(frame: Mapping[str, Any]) -> str:
    """Compact JSON; newlines are escaped, so that it is one line of SSE."""
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


def decode(data: str) -> dict[str, Any]:
    """The frame again."""
    frame: dict[str, Any] = json.loads(data)
    return frame


def ending(end: End, code: str = "", message: str = "", **more: object) -> str:
    """The last frame. `code` and `message` say what went wrong, in our words: never the provider's."""
    error = {"e": {"code": code, "message": message}} if code else {}
    return encode({"end": str(end), **error, **more})


def reset(reason: str = "worker_lost") -> str:
    """Said between two attempts, when the first had shown something."""
    return encode({"reset": 1, "reason": reason})
