"""Which line of the app makes this call? `file:line` of the innermost frame that is no library's."""

from __future__ import annotations

import contextlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

__all__ = ["calling_site", "site_of"]

_OURS_AND_THE_SDKS = ("phase1.", "openai.", "httpx.", "httpx2.", "functools", "wrapt.", "contextvars")
_PATHS = sysconfig.get_paths()
_INSTALLED = ("<frozen ", *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")))


def calling_site() -> str:
    """`main.py:42`, relative to the working directory where possible.

    Of an app that is itself installed like a library: the innermost frame that is neither ours nor the SDK's.
    """
    return site_of(sys._getframe(1)) or "unknown"  # noqa: SLF001


def site_of(innermost: FrameType) -> str | None:
    """The same of another thread's stack; `None` when there is nothing but us, the SDK and libraries."""
    candidates = [frame for frame in _callers(innermost) if not _is_ours_or_the_sdks(frame)]
    frame = next((frame for frame in candidates if not _is_installed(frame)), None)
    if frame is None and candidates:
        frame = candidates[0]
    if frame is None:
        return None
    path = Path(frame.f_code.co_filename)
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{frame.f_lineno}"


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_ours_or_the_sdks(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OURS_AND_THE_SDKS)


def _is_installed(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_INSTALLED)
