"""Which line of the app makes this call? `file:line` of the innermost frame that is neither ours nor the SDK's."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

__all__ = ["calling_site"]

_OURS_AND_THE_SDKS = ("phase1.", "openai.", "functools", "wrapt.", "contextvars")


def calling_site() -> str:
    """`main.py:42`, relative to the working directory where possible."""
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS_AND_THE_SDKS):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{frame.f_lineno}"
