"""Where does a turn go that the database does not take? Into a file, one JSON line each, until it is replayed.

The lines hold what users wrote and what they were answered: the file is made readable for its owner only. Writers and
replays exclude each other by a lock on `<file>.lock`, across processes. A replay moves the file to `<file>.replaying`
first, and notes each turn that is done in `<file>.done`: killed halfway, the next one goes on where it stopped.

A turn is delivered at least once: when the outcome of a save was unknown (the connection broke while the database
answered) it may be there already. `Turn.id` tells the two apart, if the database keeps it.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from phase1.chat.exceptions import DeadLetterError
from phase1.chat.turn import Turn

__all__ = ["DeadLetters", "Replayed"]

_log = logging.getLogger("phase1")
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay has done: turns saved, turns that are back in the file, lines that are no turns (also back)."""

    saved: int
    failed: int
    unreadable: int

    @property
    def left(self) -> int:
        """Lines that are still in the file."""
        return self.failed + self.unreadable


class DeadLetters:
    """The turns that wait in one file. It is made when the first one comes."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock, self._moved, self._done = (
            self.path.with_name(f"{self.path.name}.{suffix}") for suffix in ("lock", "replaying", "done")
        )

    def add(self, turn: Turn) -> None:
        """Keep `turn`; on disk when this returns. Blocks. Raises `DeadLetterError`."""
        self._add(turn.to_json())

    def _add(self, line: str) -> None:
        try:
            with self._exclusive():
                _append(self.path, line)
        except OSError as exc:
            raise DeadLetterError(f"{self.path}: cannot keep a turn there ({exc.strerror})") from exc

    def __len__(self) -> int:
        """How many turns wait; 0 without a file."""
        moved = _lines(self._moved)
        return len(_lines(self.path)) + (len(moved) - len(_lines(self._done)) if moved else 0)

    async def replay(self, save: Callable[[Turn], Awaitable[object]]) -> Replayed:
        """Give each turn to `save`, oldest first; those that it fails with stay. Raises `DeadLetterError`."""
        try:
            with self._one_replay():
                return await self._replay(save)
        except OSError as exc:
            raise DeadLetterError(f"{self.path}: cannot be replayed ({exc.strerror})") from exc

    async def _replay(self, save: Callable[[Turn], Awaitable[object]]) -> Replayed:
        done, counts = self._take(), {"saved": 0, "failed": 0, "unreadable": 0}
        for number, line in enumerate(_lines(self._moved)):
            if str(number) in done:
                continue
            outcome = await _outcome(line, save)
            counts[outcome] += 1
            if outcome != "saved":
                self._add(line)
            _append(self._done, str(number))
        self._moved.unlink(missing_ok=True)
        self._done.unlink(missing_ok=True)
        return Replayed(**counts)

    def _take(self) -> set[str]:
        """Move the file aside; if a replay before was killed, its rest comes first: the numbers of what it had done."""
        with self._exclusive():
            if not self._moved.exists() and self.path.exists():
                self._done.unlink(missing_ok=True)  # of a replay that was killed when all was done
                self.path.rename(self._moved)
        return set(_lines(self._done))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Nobody else writes or moves the file meanwhile."""
        descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _one_replay(self) -> Iterator[None]:
        descriptor = os.open(self._lock.with_suffix(".replay"), os.O_CREAT | os.O_RDWR, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as exc:
            raise DeadLetterError(f"{self.path}: another replay is under way") from exc
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"<DeadLetters {self.path}>"


async def _outcome(line: str, save: Callable[[Turn], Awaitable[object]]) -> str:
    try:
        turn = Turn.from_json(line)
    except ValueError:
        return "unreadable"
    try:
        await save(turn)
    except Exception as exc:  # noqa: BLE001 - whatever the database says, the turn stays
        _log.warning("a turn could not be replayed (%s)", type(exc).__qualname__)
        return "failed"
    return "saved"


def _append(path: Path, line: str) -> None:
    with open(os.open(path, os.O_CREAT | os.O_RDWR, _PRIVATE), "r+b", buffering=0) as file:  # noqa: PTH123 - with a mode
        torn = file.seek(0, os.SEEK_END) > 0 and _last_byte(file) != b"\n"  # somebody was killed while writing
        _write_all(file, f"{chr(10) if torn else ''}{line}\n".encode())
        os.fsync(file)


def _last_byte(file: FileIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _write_all(file: FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line]
    except FileNotFoundError:
        return []
