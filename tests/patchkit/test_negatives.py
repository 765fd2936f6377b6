"""What is left alone: offloaded and awaited calls, clients of something else, and all that a person has to decide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phase1.patchkit.findings import Safety
from phase1.patchkit.plan import plan
from tests.doors.answers import chat, json_reply
from tests.doors.provider import Provider

from .running import ask, behaviour
from .trees import copy_of, diagnosed, found, patched, planned, told

pytest_plugins = ["tests.doors.providing"]

# What is said of each app, and whether its client may still be adopted, which moves no call.
LEFT_ALONE = {
    "assistants": [("P305", "report", "main.py:10")],
    "flask_app": [("P307", "report", "main.py:4")],
    "legacy_sdk": [("P304", "report", "main.py:9")],
    "locked": [("P302", "report", "main.py:14"), ("P102", "report", "main.py:7")],
    "other_clients": [],
    "own_transport": [],
    "quart_app": [("P307", "report", "main.py:11")],
    "request_key": [("P303", "report", "main.py:9")],
    "script": [],
    "unused_client": [],
    "awaited_sync": [("P301", "report", "main.py:10")],
    "several_apps": [
        ("P201", "report", "main.py:10"),
        ("P102", "report", "main.py:5"),
        ("P102", "report", "old_main.py:5"),
    ],
}
ONLY_ADOPTED = {
    "gathered": [("P101", "safe", "main.py:6"), ("P102", "safe", "main.py:7")],
    "offloaded": [("P101", "safe", "main.py:10"), ("P102", "safe", "main.py:11")],
    "no_place": [
        ("P306", "report", "main.py:21"),
        ("P202", "report", "main.py:27"),
        ("P101", "safe", "main.py:6"),
        ("P102", "safe", "main.py:7"),
    ],
    "sessions": [
        ("P202", "unsafe", "main.py:20"),
        ("P202", "report", "main.py:25"),
        ("P101", "safe", "main.py:6"),
        ("P102", "safe", "main.py:7"),
    ],
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_negative_is_told_and_left_alone(name: str, tmp_path: Path) -> None:
    """Not one byte would change, not even with --unsafe."""
    root = copy_of(name, tmp_path)
    assert told(found(root)) == LEFT_ALONE[name]
    assert planned(root, unsafe=True).changes == ()


@pytest.mark.parametrize("name", ONLY_ADOPTED)
def test_calls_stay_and_clients_are_adopted(name: str, tmp_path: Path) -> None:
    """The safe edits are install and adopt: no call is moved."""
    root = copy_of(name, tmp_path)
    assert told(found(root)) == ONLY_ADOPTED[name]
    text = patched(root)["main.py"]
    assert "phase1.install(app)" in text
    assert "phase1.call" not in text
    assert "phase1.iterate" not in text


def test_history_is_kept_from_a_race(tmp_path: Path) -> None:
    """Where the blocked loop was an accidental lock, neither the call nor the client is edited without --unsafe."""
    root = copy_of("history", tmp_path)
    diagnosis = found(root)
    assert told(diagnosis) == [
        ("P202", "unsafe", "main.py:24"),
        ("P101", "safe", "main.py:4"),
        ("P102", "unsafe", "main.py:9"),
    ]
    assert "self.history, which requests share" in diagnosis.findings[0].reasons[0]
    assert planned(root).changes == ()
    assert "phase1.call(bot.answer, question)" in patched(root, unsafe=True)["main.py"]


def test_async_session_never_goes_to_a_thread(tmp_path: Path) -> None:
    """It belongs to the loop: said, and no edit at any level."""
    finding = found(copy_of("sessions", tmp_path)).findings[1]
    assert finding.safety is Safety.REPORT
    assert "AsyncSession" in finding.reasons[0]


def test_early_import_is_told(tmp_path: Path) -> None:
    """`from main import client` while it is None: a bug of the app, said and not mended."""
    diagnosis = found(copy_of("early_import", tmp_path))
    assert ("P308", "report", "routes.py:3") in told(diagnosis)


def test_named_app_is_edited_where_there_are_several(tmp_path: Path) -> None:
    """`main:app` says which one is meant."""
    root = copy_of("several_apps", tmp_path)
    changes = plan(diagnosed("main:app", root)).changes
    assert [change.source.name for change in changes] == ["main.py"]


@pytest.fixture
def connected(provider: Provider, env: Callable[..., None]) -> Provider:
    """The app's SDK asks the stub."""
    env(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="sk-app")
    return provider


@pytest.mark.parametrize("path", ["/ask", "/ask/executor", "/ask/pool", "/ask/worker"])
async def test_offloaded_calls_do_not_block(path: str, tmp_path: Path, connected: Provider) -> None:
    """The doctor is right to say nothing: the loop is free."""
    seen = await behaviour(copy_of("offloaded", tmp_path), connected, expect_free=True, path=path)
    assert (seen.outcome, seen.loop_is_free) == ('200 "Hello"', True)


async def test_gathered_calls_do_not_block(tmp_path: Path, connected: Provider) -> None:
    """A coroutine that is stored, wrapped or gathered is awaited somewhere."""
    seen = await behaviour(copy_of("gathered", tmp_path), connected, expect_free=True)
    assert (seen.outcome, seen.loop_is_free) == ('200 "Hello"', True)


@pytest.mark.parametrize("name", ["locked", "history", "no_place"])
async def test_reported_calls_do_block(name: str, tmp_path: Path, connected: Provider) -> None:
    """And where it says that a person has to act, it is right too."""
    seen = await behaviour(copy_of(name, tmp_path), connected, expect_free=False)
    assert (seen.outcome, seen.loop_is_free) == ('200 "Hello"', False)


async def test_awaited_sync_client_fails_as_told(tmp_path: Path, connected: Provider) -> None:
    """P301 says that it raises `TypeError`: it does, in the untouched app."""
    connected.answers(json_reply(chat()))
    assert await ask(copy_of("awaited_sync", tmp_path)) == "builtins.TypeError"
