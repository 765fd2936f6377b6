"""What do the other worker processes say? Each writes a file once a second; whoever serves a page reads them.

Workers find each other by their parent: servers start them from one process (`uvicorn --workers`, gunicorn, hypercorn,
granian). A process that is nobody's worker writes nothing, unless `LLM_RUNTIME_DIR` names a directory; then everybody
who uses that directory is one app.

A worker is alive while its process is there and its file is young. What a dead one has counted stays in the sums, or
Prometheus would see every counter fall; everything else of it is forgotten. Many dead files become one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from phase1.observe.numbers import Numbers, from_json, merged, to_json

__all__ = ["Worker", "Workers", "directory_of"]

_log = logging.getLogger("phase1")

_YOUNG: Final = 10.0
"""Seconds after which a file that nobody has renewed is a dead worker's."""
_MANY_DEAD: Final = 8
_FOLDED: Final = "gone.json"


@dataclass(frozen=True, slots=True)
class Worker:
    """One file. `says` is what its worker wanted the others to know, without `numbers`."""

    pid: int
    numbers: Numbers
    says: Mapping[str, Any] = field(repr=False)


class Workers:
    """The files of one app's workers in `directory`; `name` is this one's."""

    def __init__(self, directory: Path, *, name: str, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._name = name
        self._clock = clock
        self._complained = False

    def write(self, numbers: Numbers, says: Mapping[str, object]) -> None:
        """Renew this worker's file. A directory that cannot be used is said once in the log, and no more tried."""
        document = {"pid": os.getpid(), "numbers": to_json(numbers), "says": says}
        try:
            self._replace(f"{os.getpid()}-{self._name}.json", document)
            self._fold()
        except OSError as exc:
            if not self._complained:
                self._complained = True
                _log.warning("workers cannot see each other's numbers: %s: %s", self._directory, exc.strerror)

    def _replace(self, name: str, document: object) -> None:
        path = self._directory / name
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(document), encoding="utf-8")
        new.replace(path)

    def others(self) -> tuple[list[Worker], list[Numbers]]:
        """The other workers that are alive, by pid; and the numbers of those that are not."""
        alive, gone = [], []
        folded = _read(self._directory / _FOLDED)
        counted = set(folded.says.get("folded", ())) if folded else set()
        for path in self._files():
            worker = _read(path)
            if worker is None or worker.pid == os.getpid() or path.name in counted:
                continue
            if self._is_alive(path, worker.pid):
                alive.append(worker)
            else:
                gone.append(worker.numbers)
        return sorted(alive, key=lambda worker: worker.pid), gone

    def _files(self) -> list[Path]:
        with contextlib.suppress(OSError):
            return sorted(self._directory.glob("*.json"))
        return []

    def _is_alive(self, path: Path, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return pid > 0 and self._clock() - path.stat().st_mtime < _YOUNG and _runs(pid)
        return False

    def _fold(self) -> None:
        """Make one file of those of the dead, so that a server that renews its workers leaves no thousands."""
        dead = [path for path in self._files() if path.name != _FOLDED and not self._is_alive(path, _pid_of(path))]
        if len(dead) <= _MANY_DEAD:
            return
        with _alone(self._directory) as alone:
            if not alone:
                return
            folded = self._directory / _FOLDED
            read = [worker.numbers for path in (folded, *dead) if (worker := _read(path)) is not None]
            says = {"folded": [path.name for path in dead]}  # who reads meanwhile counts nobody twice
            self._replace(_FOLDED, {"pid": 0, "numbers": to_json(merged((), read)), "says": says})
            for path in dead:
                path.unlink(missing_ok=True)


def _pid_of(path: Path) -> int:
    word = path.name.partition("-")[0]
    return int(word) if word.isdigit() else 0


def _read(path: Path) -> Worker | None:
    """A file, if it is one of ours and whole."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Worker(int(document["pid"]), from_json(document["numbers"]), dict(document["says"]))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether this process is the only one in here; it does not wait."""
    lock = directory / "lock"
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        with contextlib.suppress(OSError):  # of one that died in here
            if time.time() - lock.stat().st_mtime > _YOUNG:
                lock.unlink()
        yield False
        return
    try:
        yield True
    finally:
        lock.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def directory_of(given: Path | None, *, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where this process meets its fellow workers: `given`, else a place of its parent's; `None` = it has no fellows.

    The directory is made, readable by this user only. Raises `OSError` when it cannot be, or belongs to another user.
    """
    if given is not None:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        return given
    if not _is_worker(environment):
        return None
    base = Path(tempfile.gettempdir()) / f"phase1-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.lstat().st_uid != os.getuid() or base.is_symlink():
        raise PermissionError(0, "belongs to another user", str(base))
    _forget_the_dead(base)
    directory = base / f"{os.getppid()}-{_beginning(os.getppid())}-{_fingerprint()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _is_worker(environment: Mapping[str, str]) -> bool:
    spawned = multiprocessing.parent_process() is not None
    return hasattr(os, "getuid") and (spawned or environment.get("SERVER_SOFTWARE", "").startswith("gunicorn"))


def _fingerprint() -> str:
    """Workers of one app have the command line of their parent in common."""
    return hashlib.sha256("\0".join([os.getcwd(), *sys.argv]).encode()).hexdigest()[:12]  # noqa: PTH109


def _beginning(pid: int) -> str:
    """When a process began, where Linux says so: pids come again, also 1 of a container that is started again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


def _forget_the_dead(base: Path) -> None:
    """Remove what servers have left that are gone."""
    for old in base.iterdir():
        pid, _, rest = old.name.partition("-")
        if pid.isdigit() and (not _runs(int(pid)) or rest.partition("-")[0] != _beginning(int(pid))):
            shutil.rmtree(old, ignore_errors=True)
