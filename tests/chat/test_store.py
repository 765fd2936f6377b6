"""Is a turn that has been answered never lost, and does its save never cost the answer?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phase1.chat import AsyncDatabaseHelper, ChatStore, Question, Turn

BOUND = 10.0
TURN = Turn(user_id=1, kind="chat", message="secret question", response="secret answer", asked_at="1", answered_at="2")


class Saves:
    """A database that fails so often."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.turns: list[Turn] = []

    def __call__(self, turn: Turn) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.turns.append(turn)


class Pauses:
    """Nobody sleeps."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def store_of(save: Callable[..., object], **options: Any) -> ChatStore:  # noqa: ANN401 - those of ChatStore
    """With a working directory of its own (a fixture of this room)."""
    return ChatStore(save=save, **{"sleep": Pauses()} | options)


async def test_turn_is_saved_once() -> None:
    """And nothing is in the file."""
    saves = Saves()
    store = store_of(saves)
    assert await store.keep(TURN)
    assert (saves.turns, len(store.dead_letters)) == ([TURN], 0)


async def test_failed_save_is_tried_again() -> None:
    """After the pauses that are named."""
    saves, pauses = Saves(RuntimeError(), ConnectionResetError()), Pauses()
    store = store_of(saves, sleep=pauses)
    assert await store.keep(TURN)
    assert (saves.turns, pauses.seconds, len(store.dead_letters)) == ([TURN], [0.1, 0.5], 0)


async def test_turn_that_cannot_be_saved_waits_in_the_file(caplog: pytest.LogCaptureFixture) -> None:
    """The caller is told, the log names the file and not what was said, and a replay saves the same turn."""
    saves = Saves(*[RuntimeError("secret")] * 3)
    store = store_of(saves)
    assert not await store.keep(TURN)
    assert len(store.dead_letters) == 1
    assert "a turn could not be saved (RuntimeError); see `phase1 replay`: phase1-dead-letters.jsonl" in caplog.text
    assert "secret" not in caplog.text
    assert (await store.dead_letters.replay(store.save)).saved == 1
    assert saves.turns == [TURN]


async def test_save_that_hangs_does_not_hold_the_answer() -> None:
    """The caller goes on after `save_timeout`; the save goes on, too, and the turn is there in the end."""
    go, saves = threading.Event(), Saves()

    def slow(turn: Turn) -> None:
        go.wait(BOUND)
        saves(turn)

    store = store_of(slow, save_timeout=0.05)
    assert not await store.keep(TURN)
    assert repr(store).startswith("<ChatStore saving=1, ")
    go.set()
    await store.aclose()
    assert (saves.turns, len(store.dead_letters)) == ([TURN], 0)


async def test_save_that_runs_out_of_time_is_not_tried_twice_at_once() -> None:
    """It may still be writing; the turn goes to the file."""
    go, calls = threading.Event(), []

    def hangs(turn: Turn) -> None:
        calls.append(turn)
        go.wait(BOUND)

    store = ChatStore(AsyncDatabaseHelper(timeout=0.05), save=hangs, sleep=Pauses())
    assert not await store.keep(TURN)
    go.set()
    assert (calls, len(store.dead_letters)) == ([TURN], 1)


async def test_cancelled_caller_does_not_stop_the_save() -> None:
    """The user has gone; the turn is saved all the same."""
    go, begun, saves = threading.Event(), threading.Event(), Saves()

    def slow(turn: Turn) -> None:
        begun.set()
        go.wait(BOUND)
        saves(turn)

    store = store_of(slow)
    caller = asyncio.create_task(store.keep(TURN))
    await asyncio.to_thread(begun.wait, BOUND)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    go.set()
    await store.aclose()
    assert saves.turns == [TURN]


def test_stopped_app_leaves_the_turn_in_the_file() -> None:
    """The loop ends while a save is under way: what it came to is unknown, so the turn is kept."""

    async def save(turn: Turn) -> None:
        await asyncio.Event().wait()

    store = store_of(save, save_timeout=0.05)
    asyncio.run(store.keep(TURN))
    assert len(store.dead_letters) == 1


async def test_file_that_cannot_be_written_is_an_alarm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is no third place: the log says LOST and why, and the answer is given."""
    store = store_of(Saves(*[RuntimeError()] * 3), dead_letters=tmp_path / "missing" / "x")
    assert not await store.keep(TURN)
    assert "is LOST" in caplog.text
    assert "No such file or directory" in caplog.text


async def test_reads_are_told_what_is_asked() -> None:
    """The question; without a limit of 0 there is no history, and without functions nothing."""
    asked: list[Question] = []

    def read(question: Question) -> str:
        asked.append(question)
        return "found"

    question = Question(user_id=1, message="m", history_limit=5, project_id=3)
    store = store_of(Saves(), history=read, context=read)
    assert dict(await store.read(question)) == {"context": "found", "history": "found"}
    assert asked == [question, question]
    assert dict(await store.read(question, history=False)) == {"context": "found"}
    nothing = Question(user_id=1, message="m", history_limit=0)
    assert dict(await store.read(nothing)) == {"context": "found"}
    assert dict(await store_of(Saves()).read(question)) == {}


@pytest.mark.parametrize("which", ["history", "context"])
@pytest.mark.parametrize("is_required", [True, False])
async def test_required_reads_are_errors_and_optional_ones_warnings(which: str, *, is_required: bool) -> None:
    """As the store was told."""

    def fails(question: Question) -> None:
        raise LookupError

    store = store_of(Saves(), **{which: fails, f"{which}_required": is_required})
    question = Question(user_id=1, message="m", history_limit=5)
    if is_required:
        with pytest.raises(LookupError):
            await store.read(question)
    else:
        assert (await store.read(question)).warnings == (f"{which} could not be read",)
