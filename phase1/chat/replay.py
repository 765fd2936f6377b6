"""How do the turns in a dead-letter file get into the database after all? `phase1 replay main:chat_store`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from phase1.chat.dead_letters import DeadLetters, Replayed
from phase1.chat.exceptions import DeadLetterError
from phase1.chat.sources import call
from phase1.chat.store import DEAD_LETTER_FILE, ChatStore
from phase1.chat.threads import Threads
from phase1.chat.turn import Turn
from phase1.exceptions import ConfigurationError

__all__ = ["Replay", "open_replay"]


class Replay:
    """A file and what saves its turns."""

    def __init__(self, letters: DeadLetters, save: Callable[[Turn], Awaitable[object]]) -> None:
        self.letters = letters
        self._save = save

    async def run(self) -> Replayed:
        """Save what waits. Raises `DeadLetterError`."""
        return await self.letters.replay(self._save)


def open_replay(target: str, file: Path | None = None) -> Replay:
    """What `target` names: a `ChatStore`, whose file is the default, or a function of a turn. Its app is not started.

    Raises `ConfigurationError` for a target that cannot be had, and `DeadLetterError` for a file that is not there.
    """
    found = _imported(target)
    if file is not None and len(DeadLetters(file)) == 0 and not file.exists():
        raise DeadLetterError(f"{file}: no such file")
    if isinstance(found, ChatStore):
        return Replay(DeadLetters(file) if file is not None else found.dead_letters, found.save)
    if not callable(found):
        raise ConfigurationError(f"{target}: must be a ChatStore, or a function that saves a turn")
    threads, save = Threads(1, name="phase1-db"), cast("Callable[[Turn], object]", found)
    return Replay(DeadLetters(file or DEAD_LETTER_FILE), lambda turn: call(save, (turn,), threads))


def _imported(target: str) -> object:
    module, _, path = target.partition(":")
    if not module or not path:
        raise ConfigurationError(f"{target}: must be written as module:name")
    sys.path.insert(0, str(Path.cwd()))  # as uvicorn does
    try:
        found: object = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as exc:  # the app's own module may raise anything
        raise ConfigurationError(f"{target}: cannot be imported ({type(exc).__name__}: {exc})") from exc
    return found
