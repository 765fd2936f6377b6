"""Has the list of nodes changed on disk?

`LLM_NODES_FILE`, and `.env.phase1` for the keys that `api_key_env` names. A list that cannot be honoured is not taken:
the old one stays, and one line says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from phase1.engine.node import NodeSpec
from phase1.exceptions import ConfigurationError

__all__ = ["NodesWatch"]

_log = logging.getLogger("phase1")

_Stamp = tuple[int, int, int] | None


class NodesWatch:
    """Looks at `paths`; `read` gives the nodes anew, or raises `ConfigurationError`."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], tuple[NodeSpec, ...]]) -> None:
        self._paths = [path.absolute() for path in paths]  # the working directory may change
        self._read = read
        self._seen = self._stamps()
        self.problem: str | None = None
        """Why the newest list was not taken."""

    def look(self) -> tuple[NodeSpec, ...] | None:
        """The nodes, if a file has changed since the last look and they can be honoured."""
        stamps = self._stamps()
        if stamps == self._seen:
            return None
        self._seen = stamps
        try:
            specs = self._read()
        except ConfigurationError as exc:
            self.problem = str(exc)
            _log.error("%s; the nodes stay as they were", exc)
            return None
        self.problem = None
        _log.info("the nodes were read anew: %s", ", ".join(spec.name for spec in specs))
        return specs

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
