"""Where do several workers agree? One record that is replaced atomically, leases, what workers report, the audit.

Everything here may take time and is called from threads of our own, never on an event loop and never for a request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from phase1.exceptions import MissingExtraError, Phase1Error

if TYPE_CHECKING:
    from phase1.settings import Settings

__all__ = ["AUDITED", "MemoryStore", "Store", "StoreUnavailable", "store_of"]

AUDITED: Final = 10_000
"""Lines of the audit that Redis and the memory keep; a file keeps all."""


class StoreUnavailable(Phase1Error):
    """The store does not answer now. The text names it, without credentials; `status` is for HTTP."""

    status = 503


class Store(Protocol):
    """Every method raises `StoreUnavailable`. `shared`: whether other processes see it; `name` is fit to be logged."""

    shared: bool
    name: str

    def read(self) -> str | None:
        """The state record; `None` = there is none yet."""

    def swap(self, before: str | None, after: str, audit: str) -> bool:
        """Replace the record, if it still is `before`, and add a line to the audit."""

    def audit(self, limit: int) -> list[str]:
        """The last lines, oldest first."""

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """Take the lease, or renew it; `False` = somebody else has it."""

    def release(self, name: str, owner: str) -> None:
        """Give it back, if it is the owner's."""

    def get(self, name: str) -> str | None:
        """A text that only who has a lease writes."""

    def put(self, name: str, text: str) -> None:
        """Replace it."""

    def report(self, worker: str, text: str) -> None:
        """Say how one worker is."""

    def reports(self) -> dict[str, str]:
        """What all of them have said last."""

    def forget(self, worker: str) -> None:
        """It is gone."""

    def close(self) -> None:
        """Give back connections."""


class MemoryStore:
    """The agreement of one process with itself."""

    shared = False
    name = "memory:"

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._record: str | None = None
        self._audit: list[str] = []
        self._leases: dict[str, tuple[str, float]] = {}
        self._texts: dict[str, str] = {}
        self._reports: dict[str, str] = {}

    def read(self) -> str | None:
        """See `Store`."""
        return self._record

    def swap(self, before: str | None, after: str, audit: str) -> bool:
        """See `Store`."""
        with self._lock:
            if self._record != before:
                return False
            self._record = after
            self._audit = [*self._audit[1 - AUDITED :], audit]
            return True

    def audit(self, limit: int) -> list[str]:
        """See `Store`."""
        return self._audit[-limit:]

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """See `Store`."""
        with self._lock:
            holder, until = self._leases.get(name, (owner, 0.0))
            if holder != owner and self._clock() < until:
                return False
            self._leases[name] = owner, self._clock() + seconds
            return True

    def release(self, name: str, owner: str) -> None:
        """See `Store`."""
        with self._lock:
            if self._leases.get(name, ("", 0.0))[0] == owner:
                del self._leases[name]

    def get(self, name: str) -> str | None:
        """See `Store`."""
        return self._texts.get(name)

    def put(self, name: str, text: str) -> None:
        """See `Store`."""
        self._texts[name] = text

    def report(self, worker: str, text: str) -> None:
        """See `Store`."""
        self._reports[worker] = text

    def reports(self) -> dict[str, str]:
        """See `Store`."""
        return dict(self._reports)

    def forget(self, worker: str) -> None:
        """See `Store`."""
        self._reports.pop(worker, None)

    def close(self) -> None:
        """See `Store`."""


def store_of(settings: Settings) -> Store:
    """The one that `LLM_STATE_URL` names. Raises `MissingExtraError` where Redis is wanted and its library is not."""
    url = settings.llm_state_url
    parts = urlsplit(url)
    if parts.scheme == "file":
        from phase1.rollout.file_store import FileStore  # noqa: PLC0415 - POSIX only

        return FileStore(unquote(parts.path))
    if parts.scheme == "memory":
        return MemoryStore()
    try:
        from phase1.rollout.redis_store import RedisStore  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as exc:
        raise MissingExtraError("LLM_STATE_URL=redis://…", "rollout") from exc
    return RedisStore(url, settings.llm_state_name)
