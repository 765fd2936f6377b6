"""What does a chat turn read and write? The app's own history, context and log, as functions of its own.

    store = ChatStore(                                                       # the app opens its own connections
        history=lambda question: recent_chat(question.user_id, question.history_limit),
        context=lambda question: project_context(question.user_id, question.project_id),
        save=lambda turn: save_chat(turn.user_id, turn.kind, turn.message, turn.response, turn.project_id),
    )
    store = ChatStore(AsyncDatabaseHelper(engine), save=insert_turn, history=...)   # each called with a session first

A turn that has been answered is never lost: a save that fails is tried again, and then the turn goes to the dead-letter
file. The caller does not wait longer than `save_timeout` for it, and its failure is never the caller's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from phase1.chat.database import AsyncDatabaseHelper, Fetched, Read, optional, required
from phase1.chat.dead_letters import DeadLetters
from phase1.chat.exceptions import DatabaseTimeout, DeadLetterError
from phase1.chat.turn import Question, Turn

__all__ = ["DEAD_LETTER_FILE", "ChatStore"]

_log = logging.getLogger("phase1")

DEAD_LETTER_FILE = "phase1-dead-letters.jsonl"
"""In the working directory. Name another place where that is not kept."""


class ChatStore:
    """What a chat turn reads and writes.

    `history(question)`: the entries to remember, oldest first, at most `question.history_limit`; without it none are
    read. `context(question)`: what the prompt says of the user's project, or `None`. `save(turn)`: writes the turn, all
    of it or nothing. With a database in `helper` each of them gets its handle first (`phase1.chat.sources`).

    `history_required`, `context_required`: whether a failed read is an error, or a warning and an answer without it.
    `retries`: seconds before each further try of a save; `save_timeout`: seconds that an answer waits for its save.
    """

    def __init__(
        self,
        helper: AsyncDatabaseHelper | None = None,
        *,
        save: Callable[..., object],
        history: Callable[..., object] | None = None,
        context: Callable[..., object] | None = None,
        history_required: bool = False,
        context_required: bool = True,
        dead_letters: str | Path = DEAD_LETTER_FILE,
        retries: Sequence[float] = (0.1, 0.5),
        save_timeout: float = 5.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.helper = helper or AsyncDatabaseHelper()
        self.dead_letters = DeadLetters(dead_letters)
        self._save = save
        self._reads = {"context": (context, context_required), "history": (history, history_required)}
        self._retries = tuple(retries)
        self._save_timeout = save_timeout
        self._sleep = sleep
        self._saving: set[asyncio.Task[bool]] = set()

    async def read(self, question: Question, *, history: bool = True) -> Fetched:
        """`context` and `history`, at the same time. Raises what a required read raises."""
        wanted = {name: read for name, read in self._all_reads(question).items() if history or name != "history"}
        return await self.helper.gather(**wanted)

    def _all_reads(self, question: Question) -> dict[str, Read]:
        reads: dict[str, Read] = {}
        for name, (query, is_required) in self._reads.items():
            if query is not None and (name != "history" or question.history_limit > 0):
                reads[name] = required(query, question) if is_required else optional(query, question)
        return reads

    async def save(self, turn: Turn) -> None:
        """Write `turn`, once. Raises what the database raises."""
        await self.helper.write(self._save, turn, name="save")

    async def keep(self, turn: Turn) -> bool:
        """Write `turn` or see that it is not lost; whether the database has it by now. Raises nothing.

        A caller that is cancelled goes at once, and the save goes on.
        """
        saving = asyncio.get_running_loop().create_task(self._save_or_bury(turn))
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)
        await asyncio.wait({saving}, timeout=self._save_timeout)
        if not saving.done():
            _log.warning("saving a turn takes longer than %g s; it is answered meanwhile", self._save_timeout)
        return saving.done() and not saving.cancelled() and saving.result()

    async def _save_or_bury(self, turn: Turn) -> bool:
        try:
            return await self._try_to_save(turn)
        except asyncio.CancelledError:  # the loop is going down: there is no time for threads
            self._bury(turn, "the app was stopped")
            raise

    async def _try_to_save(self, turn: Turn) -> bool:
        failure = ""
        for pause in (0.0, *self._retries):
            if pause:
                await self._sleep(pause)
            try:
                await self.save(turn)
            except Exception as exc:  # noqa: BLE001 - the answer is not to be lost, whatever it is
                failure = type(exc).__qualname__
                if isinstance(exc, DatabaseTimeout):  # it may still be writing: asking again would write it twice
                    break
            else:
                return True
        await asyncio.to_thread(self._bury, turn, failure)
        return False

    def _bury(self, turn: Turn, reason: str) -> None:
        try:
            self.dead_letters.add(turn)
        except DeadLetterError as exc:
            _log.error("a turn could not be saved (%s) and is LOST: %s", reason, exc)
        else:
            _log.error("a turn could not be saved (%s); see `phase1 replay`: %s", reason, self.dead_letters.path)

    async def aclose(self) -> None:
        """Wait for the saves that are under way; call it at the app's shutdown."""
        while self._saving:
            await asyncio.wait(set(self._saving))

    def __repr__(self) -> str:
        return f"<ChatStore saving={len(self._saving)}, {self.helper!r}>"
