"""Does `phase1 replay` save what waits, and say what is left?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from phase1.chat import DeadLetters, Turn
from phase1.commands import app as commands

APP = """
from phase1.chat import ChatStore

saved = []

def save(turn):
    if turn.user_id == 2:
        raise ConnectionError
    saved.append(turn)
    with open("saved.txt", "a") as file:
        file.write(turn.message + "\\n")

async def save_async(turn):
    save(turn)

store = ChatStore(save=save, dead_letters="own.jsonl")
number = 1
"""


@pytest.fixture(autouse=True)
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An app in the working directory, and nothing of it left afterwards."""
    import sys

    Path("replayed_app.py").write_text(APP)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("replayed_app", None)


def waiting(file: str, *users: int) -> Path:
    """Turns of these users in a file."""
    for user in users:
        turn = Turn(user_id=user, kind="chat", message=f"q{user}", response="a", asked_at="1", answered_at="2")
        DeadLetters(file).add(turn)
    return Path(file)


def replay(*arguments: str) -> Result:
    """The command."""
    return CliRunner().invoke(commands, ["replay", *arguments])


def test_turns_of_the_stores_own_file_are_saved() -> None:
    """The file is empty afterwards."""
    waiting("own.jsonl", 1, 3)
    done = replay("replayed_app:store")
    assert (done.exit_code, done.stdout) == (0, "2 saved, 0 failed, 0 unreadable: own.jsonl\n")
    assert Path("saved.txt").read_text() == "q1\nq3\n"
    assert len(DeadLetters("own.jsonl")) == 0


@pytest.mark.parametrize("function", ["save", "save_async"])
def test_a_function_will_do(function: str) -> None:
    """Of a turn, blocking or not; then the file is named, or the usual one."""
    waiting("other.jsonl", 1)
    assert replay(f"replayed_app:{function}", "other.jsonl").exit_code == 0
    waiting("phase1-dead-letters.jsonl", 3)
    assert replay(f"replayed_app:{function}").exit_code == 0
    assert Path("saved.txt").read_text() == "q1\nq3\n"


def test_what_is_left_is_exit_code_1() -> None:
    """In figures for programs, too."""
    waiting("own.jsonl", 1, 2)
    done = replay("replayed_app:store", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"file": "own.jsonl", "saved": 1, "failed": 1, "unreadable": 0, "left": 1}
    assert len(DeadLetters("own.jsonl")) == 1


def test_nothing_to_do_is_fine() -> None:
    """No file, no work."""
    done = replay("replayed_app:store")
    assert (done.exit_code, done.stdout) == (0, "0 saved, 0 failed, 0 unreadable: own.jsonl\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("replayed_app",), "replayed_app: must be written as module:name"),
        (("no_such_app:store",), "no_such_app:store: cannot be imported (ModuleNotFoundError"),
        (("replayed_app:missing",), "replayed_app:missing: cannot be imported (AttributeError"),
        (("replayed_app:number",), "replayed_app:number: must be a ChatStore, or a function that saves a turn"),
        (("replayed_app:store", "misspelt.jsonl"), "misspelt.jsonl: no such file"),
    ],
)
def test_bad_arguments_are_clear_errors(arguments: tuple[str, ...], message: str) -> None:
    """One line, and no traceback."""
    done = replay(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
