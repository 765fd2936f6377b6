"""Is somebody's app broken in earnest, judged by what is seen of it, and is nothing left of it afterwards?"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest
from typer.testing import CliRunner

from phase1.commands import app
from phase1.lab.chaos.cases import Case, chosen
from phase1.lab.chaos.outside import vitals
from phase1.lab.chaos.play import Played, play
from phase1.lab.chaos.scene import Plan, Scene
from phase1.lab.chaos.session import run_cases
from phase1.lab.chaos.store import state_store
from phase1.lab.chaos.workers import block_loop
from phase1.lab.processes import LabError, Server
from phase1.lab.target import TargetApp
from phase1.lab.trial import Trial

APPS = Path(__file__).parent / "apps"
RUNNER = CliRunner()


class Listener:
    """Hears how far it is."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.phases: set[tuple[str, str]] = set()

    def say(self, text: str) -> None:
        self.heard.append(text)

    def begin(self, case: Case) -> None:
        self.heard.append(f"begin {case.name}")

    def tell(self, app: str, phase: str) -> None:
        self.phases.add((app, phase))

    def end(self, played: Played) -> None:
        self.heard.append(f"end {played.case.name}")


@pytest.mark.timeout(240)
async def test_app_is_broken_and_mended(environment: dict[str, str]) -> None:
    """A fault of the provider, a killed worker: what users see is counted on both sides."""
    names, listener = ["500", "killed worker"], Listener()
    others = set(psutil.Process().children(recursive=True))  # of other tests in this process
    card = await run_cases(
        TargetApp(app="plain:app", folder=APPS),
        chosen("all", names),
        Plan(users=4, seconds=1.0, deadline=20.0),
        suite="all",
        audience=listener,
        environment=environment,
    )
    assert [case["name"] for case in card["cases"]] == names
    assert listener.heard[1:] == [text for name in names for text in (f"begin {name}", f"end {name}")]
    assert {phase for _, phase in listener.phases} == {"warms up", "broken", "recovers", "settles"}
    failing, killed = card["cases"]
    assert failing["pooled"]["answered"] == failing["pooled"]["requests"] > 4, "the other endpoint answers"
    assert failing["legacy"]["errors"], "its only endpoint fails"
    for side in ("legacy", "pooled"):
        assert killed[side]["recovery"] is not None, "the other worker goes on, and a new one comes"
    for case in card["cases"]:
        assert case["pooled"]["asked"] >= case["pooled"]["answered"] > 0
        assert (case["pooled"]["held"], case["pooled"]["upstream"], case["pooled"]["half"]) == (0, 0, 0)
    assert not set(psutil.Process().children(recursive=True)) - others


async def test_app_that_does_not_start_is_one_error() -> None:
    """Whichever of the two it is, and not a group of errors."""

    class NoTrial:
        async def start(self, *, pooled: bool, **_: object) -> None:
            if pooled:
                raise LabError("the pooled app ended with status 1")
            await asyncio.sleep(60)

    case, plan = chosen("all", ["500"])[0], Plan()
    with pytest.raises(LabError, match="the pooled app ended with status 1"):
        await play(cast("Trial", NoTrial()), case, plan, whole=True, tell=lambda *_: None)


async def test_frozen_store_answers_again() -> None:
    """Stopped it says nothing; then it says what it should have said."""
    async with state_store() as store:
        process = psutil.Process(store.pid)
        await store.freeze(0.1)
        assert process.is_running()
        assert vitals(store.pid, endpoints=frozenset()).memory > 0
    assert not process.is_running()
    assert vitals(store.pid, endpoints=frozenset()).memory == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere:app"], "nowhere"),
        (["plain:app", "--route", "/private"], "POST /private answers 401"),
    ],
)
@pytest.mark.timeout(120)
def test_app_that_cannot_be_tried(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line before any load, and nothing on standard output."""
    monkeypatch.chdir(APPS)
    done = RUNNER.invoke(app, ["chaos", *arguments])
    assert (done.exit_code, done.stdout) == (1, "")
    *_, line = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["main", "--suite", "worker"], "main: must have the form module:app"),
        (["main:app", "--suite", "nodes"], "main:app: --suite nodes is played without an app"),
        (["--suite", "nodes", "--html", "x.html"], "--html: --suite nodes has no page"),
        (["--suite", "worker", "--case", "500"], "--case 500: --suite worker has blocked loop"),
        (["main:app", "--header", "x"], "--header: must have the form"),
        (
            ["main:app", "--html", "no/such/folder/x.html"],
            "--html no/such/folder/x.html: there is no directory",
        ),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    """Exit code 2, before anything is started."""
    done = RUNNER.invoke(app, ["chaos", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"error: {said}" in done.stderr


@pytest.mark.timeout(120)
async def test_served_app_holds_its_loop_when_told(environment: dict[str, str], tmp_path: Path) -> None:
    """As synchronous code would: nobody is answered meanwhile, everybody afterwards."""
    environment["OPENAI_API_KEY"] = "sk-lab"
    with Server("plain app", "plain:app", folder=tmp_path, source=APPS, environment=environment) as server:
        await server.answers("/nothing")
        running = asyncio.create_task(block_loop(cast("Scene", SimpleNamespace(pid=server.process.pid))))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await server.answers("/nothing")
        assert time.monotonic() - started > 2.0
        await running


@pytest.mark.timeout(120)
def test_interrupt_leaves_no_process_behind(environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C while an app runs: exit code 130, and everything is gone."""
    command = [sys.executable, "-m", "phase1.cli", "chaos", "plain:app", "--case", "500", "--users", "2"]
    with (tmp_path / "said").open("w+") as said:
        running = subprocess.Popen(command, cwd=APPS, env=environment, stdout=said, stderr=said)
        children = _apps_of(running.pid)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        said.seek(0)
        assert said.read().splitlines()[-1] == "interrupted"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def _apps_of(pid: int) -> list[psutil.Process]:
    """The first process that it starts, as soon as it is there."""
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        children = psutil.Process(pid).children(recursive=True)
        if children:
            return children
        time.sleep(0.05)
    raise AssertionError("no app has begun")


def test_document_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """What --json prints can be read again; nothing else stands there."""

    async def no_cases(*_: object, **__: object) -> dict[str, object]:
        return {"schema": "phase1.scorecard/v1", "passed": True}

    monkeypatch.setattr("phase1.lab.chaos.session.run_cases", no_cases)
    done = RUNNER.invoke(app, ["chaos", "main:app", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["passed"] is True
    assert os.environ.get("LLM_STATE_URL") is None
