"""Is a turn in the dead-letter file safe: against crashes, other processes, and a replay that is killed?"""

from __future__ import annotations

import asyncio
import multiprocessing
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.chat import DeadLetterError, DeadLetters, Replayed, Turn

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def turn_of(number: int) -> Turn:
    """The turn of this number."""
    return Turn(user_id=number, kind="chat", message=f"q{number}", response="a\n\u2028b", asked_at="1", answered_at="2")


class Saved:
    """A database that refuses the turns of some users."""

    def __init__(self, *refused: int) -> None:
        self.turns: list[Turn] = []
        self.refused = set(refused)

    async def __call__(self, turn: Turn) -> None:
        if turn.user_id in self.refused:
            raise ConnectionRefusedError
        self.turns.append(turn)

    @property
    def users(self) -> list[object]:
        return [turn.user_id for turn in self.turns]


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    """A file that is not there yet."""
    return DeadLetters(tmp_path / "dead.jsonl")


@given(message=TEXT, response=TEXT, details=st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=3))
def test_turn_survives_its_line(message: str, response: str, details: dict[str, object]) -> None:
    """Whatever people write, it is one line, and the same turn afterwards."""
    turn = Turn(
        user_id="u", kind="agent", message=message, response=response, asked_at="1", answered_at="2", details=details
    )
    line = turn.to_json()
    assert "\n" not in line
    assert Turn.from_json(line) == turn


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", '{"message": "only"}', "null"])
def test_line_without_a_turn_is_refused(line: str) -> None:
    """It may be half a line, or somebody else's file."""
    with pytest.raises(ValueError, match="no turn of a conversation"):
        Turn.from_json(line)


async def test_replay_saves_in_order_and_empties_the_file(letters: DeadLetters) -> None:
    """Afterwards nothing is left, and a second replay does nothing."""
    turns = [turn_of(n) for n in range(3)]
    for turn in turns:
        letters.add(turn)
    assert len(letters) == 3
    saved = Saved()
    assert await letters.replay(saved) == Replayed(saved=3, failed=0, unreadable=0)
    assert saved.turns == turns
    assert len(letters) == 0
    assert await letters.replay(saved) == Replayed(0, 0, 0)
    assert len(saved.turns) == 3


async def test_failed_and_unreadable_lines_stay(letters: DeadLetters) -> None:
    """What could not be saved waits for the next replay; what is no turn is never thrown away."""
    for n in range(3):
        letters.add(turn_of(n))
    with letters.path.open("a") as file:
        file.write("not ours\n")
    saved = Saved(1)
    replayed = await letters.replay(saved)
    assert (replayed, replayed.left) == (Replayed(saved=2, failed=1, unreadable=1), 2)
    assert "not ours" in letters.path.read_text()
    saved.refused.clear()
    assert await letters.replay(saved) == Replayed(saved=1, failed=0, unreadable=1)
    assert saved.users == [0, 2, 1]


async def test_replay_that_is_killed_goes_on_where_it_stopped(letters: DeadLetters) -> None:
    """Nothing is saved twice, and what came in between is there too."""
    for n in range(4):
        letters.add(turn_of(n))
    saved = Saved()

    async def killed_at_the_third(turn: Turn) -> None:
        if len(saved.turns) == 2:
            raise KeyboardInterrupt
        await saved(turn)

    with pytest.raises(KeyboardInterrupt):
        await letters.replay(killed_at_the_third)
    letters.add(turn_of(4))
    assert len(letters) == 3
    assert (await letters.replay(saved)).saved == 2
    assert (await letters.replay(saved)).saved == 1
    assert saved.users == [0, 1, 2, 3, 4]


async def test_replay_that_is_killed_at_its_very_end_hides_nothing(letters: DeadLetters) -> None:
    """What it had done is not taken for what is done of the next file."""
    letters.path.with_name("dead.jsonl.done").write_text("0\n1\n")
    letters.add(turn_of(5))
    saved = Saved()
    assert (await letters.replay(saved)).saved == 1
    assert saved.users == [5]


async def test_torn_line_harms_nobody(letters: DeadLetters) -> None:
    """Somebody was killed while writing: the next turn begins on a line of its own."""
    letters.path.write_text('{"user_id": 1, "mess')
    letters.add(turn_of(2))
    saved = Saved()
    assert await letters.replay(saved) == Replayed(saved=1, failed=0, unreadable=1)
    assert saved.users == [2]


async def test_only_one_replay_at_a_time(letters: DeadLetters) -> None:
    """The second one says so instead of saving everything twice."""
    letters.add(turn_of(1))
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(turn: Turn) -> None:
        entered.set()
        await leave.wait()

    first = asyncio.create_task(letters.replay(slow))
    await entered.wait()
    with pytest.raises(DeadLetterError, match="another replay is under way"):
        await letters.replay(Saved())
    leave.set()
    assert (await first).saved == 1


def test_file_is_its_owners_only(letters: DeadLetters) -> None:
    """It holds what users wrote."""
    letters.add(turn_of(1))
    assert stat.S_IMODE(letters.path.stat().st_mode) == 0o600


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The file and the reason."""
    with pytest.raises(
        DeadLetterError, match=r"missing/dead.jsonl: cannot keep a turn there \(No such file or directory\)"
    ):
        DeadLetters(tmp_path / "missing" / "dead.jsonl").add(turn_of(1))


async def test_replay_in_a_place_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A misspelt directory is not an empty file."""
    with pytest.raises(DeadLetterError, match="cannot be replayed"):
        await DeadLetters(tmp_path / "missing" / "dead.jsonl").replay(Saved())


def _write(path: Path, first: int) -> None:
    for n in range(first, first + 20):
        DeadLetters(path).add(turn_of(n))


async def test_processes_write_while_another_replays(letters: DeadLetters) -> None:
    """Three workers add turns, and somebody replays again and again: all are saved, each once."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(letters.path, first)) for first in (0, 20, 40)]
    for worker in workers:
        worker.start()
    saved = Saved()
    while any(worker.is_alive() for worker in workers):
        await letters.replay(saved)
        await asyncio.sleep(0.01)
    await letters.replay(saved)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(int(turn.user_id) for turn in saved.turns) == list(range(60))


def test_repr_names_the_file(letters: DeadLetters) -> None:
    """Nothing of what is in it."""
    assert repr(letters) == f"<DeadLetters {letters.path}>"
