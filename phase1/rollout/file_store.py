"""How do the workers of one host agree through a directory?

    state.json      the record, replaced by `os.replace`: a reader sees the old one or the new one, whole
    audit.jsonl     one line per change, oldest first; nothing is ever taken away
    lease-*.json    who has it, until when
    *.json          texts of a leader;  workers/  one file for each worker

Whoever changes something holds `flock` on a file for the moment. The kernel takes that lock back when its holder dies;
a lock file made with `O_EXCL` would stay, and two who find it stale at once both break in. Times are of the monotonic
clock, which all processes of a host share and nobody sets; after a restart of the host an old lease can lie far ahead:
one that lasts longer than was asked for is none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from phase1.rollout.store import StoreUnavailable

__all__ = ["FileStore"]

_PATIENCE: Final = 0.5
"""Seconds for the lock."""
_PAUSE: Final = 0.002


class FileStore:
    """See `rollout.store.Store`. The directory is made with the first need of it, readable by this user only."""

    shared = True

    def __init__(self, directory: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._home = Path(directory)
        self._workers = self._home / "workers"
        self._clock = clock
        self._made = False
        self._here = threading.Lock()
        """Threads of one process wait in turn; only processes have to try again and again."""
        self.name = f"file://{directory}"

    def read(self) -> str | None:
        """See `Store`."""
        return self._read(self._home / "state.json")

    def swap(self, before: str | None, after: str, audit: str) -> bool:
        """See `Store`. The audit comes first: if this process dies between, its line is there twice, not never."""
        with self._alone():
            if self._read(self._home / "state.json") != before:
                return False
            with (self._home / "audit.jsonl").open("a", encoding="utf-8") as lines:
                lines.write(audit + "\n")
            self._replace(self._home / "state.json", after, durable=True)
            return True

    def audit(self, limit: int) -> list[str]:
        """See `Store`."""
        lines = (self._read(self._home / "audit.jsonl") or "").splitlines()
        return [line for line in lines if line][-limit:]

    def lease(self, name: str, owner: str, seconds: float) -> bool:
        """See `Store`."""
        path = self._home / f"lease-{name}.json"
        with self._alone():
            holder, until = _lease(self._read(path))
            left = until - self._clock()
            if holder not in {None, owner} and 0.0 < left <= seconds:
                return False
            self._replace(path, json.dumps({"owner": owner, "until": self._clock() + seconds}))
            return True

    def release(self, name: str, owner: str) -> None:
        """See `Store`."""
        path = self._home / f"lease-{name}.json"
        with self._alone():
            if _lease(self._read(path))[0] == owner:
                path.unlink(missing_ok=True)

    def get(self, name: str) -> str | None:
        """See `Store`."""
        return self._read(self._home / f"{name}.json")

    def put(self, name: str, text: str) -> None:
        """See `Store`."""
        with self._problems():
            self._replace(self._home / f"{name}.json", text)

    def report(self, worker: str, text: str) -> None:
        """See `Store`."""
        with self._problems():
            self._replace(self._workers / f"{worker}.json", text)

    def reports(self) -> dict[str, str]:
        """See `Store`."""
        with self._problems():
            found = {path.stem: self._read(path) for path in self._workers.glob("*.json")}
        return {worker: text for worker, text in found.items() if text is not None}

    def forget(self, worker: str) -> None:
        """See `Store`."""
        with self._problems():
            (self._workers / f"{worker}.json").unlink(missing_ok=True)

    def close(self) -> None:
        """See `Store`."""

    def _read(self, path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreUnavailable(f"{self.name} cannot be read ({exc.strerror})") from exc

    def _replace(self, path: Path, text: str, *, durable: bool = False) -> None:
        new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        new.replace(path)

    @contextlib.contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            if not self._made:
                self._workers.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._made = True
            yield
        except OSError as exc:
            self._made = False  # perhaps somebody has removed it
            raise StoreUnavailable(f"{self.name} cannot be written ({exc.strerror})") from exc

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._here, self._problems(), (self._home / "lock").open("a", encoding="utf-8") as lock:
            until = time.monotonic() + _PATIENCE
            while not _locked(lock.fileno()):
                if time.monotonic() > until:
                    raise StoreUnavailable(f"{self.name} is locked by another process that does not move on")
                time.sleep(_PAUSE)
            yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lease(text: str | None) -> tuple[str | None, float]:
    """Whose it is, and until when; what cannot be read is nobody's."""
    try:
        document: Any = json.loads(text or "")
        return str(document["owner"]), float(document["until"])
    except (ValueError, TypeError, KeyError):
        return None, 0.0
