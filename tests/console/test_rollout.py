"""Do `phase1 rollout …`, `kill` and `unkill` say and do what is meant, through the store and through an app?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from phase1.commands import app
from phase1.console.desk import RemoteDesk, StoreDesk
from phase1.console.findings import findings
from phase1.console.remote import Remote, RemoteError
from phase1.policy.rollout import Desired, RolloutPhase
from phase1.rollout.file_store import FileStore
from phase1.rollout.record import decode, encode
from tests.doors.bench import settings
from tests.rollout.worlds import PLAN, World

runner = CliRunner()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """The settings of this directory name a store."""
    monkeypatch.setenv("LLM_STATE_URL", f"file://{tmp_path}/state")
    monkeypatch.setenv("LLM_AUTO_ROLLOUT", "true")
    return FileStore(f"{tmp_path}/state")


def run(*arguments: str) -> Result:
    """One command, in this process."""
    return runner.invoke(app, list(arguments))


def desired(store: FileStore) -> Desired:
    """What stands there."""
    return decode(store.read() or "")


def test_plan_is_the_weeks_or_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table, or as JSON; a bad file is one line."""
    text = run("rollout", "plan").output
    assert "week 2: small test" in text
    assert "50 %" in text
    assert [step["percent"] for step in json.loads(run("rollout", "plan", "--json").output)["steps"]] == [
        1, 10, 25, 50, 100,
    ]  # fmt: skip
    (tmp_path / "plan.toml").write_text("[[steps]]\npercent = 7\napproval = true\nmin_duration = 90\n")
    monkeypatch.setenv("LLM_ROLLOUT_FILE", str(tmp_path / "plan.toml"))
    text = run("rollout", "plan").output
    assert "7 %" in text
    assert "1.5 min" in text
    assert "approval" in text
    (tmp_path / "plan.toml").write_text("[[steps]]\npercent = 700\n")
    done = run("rollout", "plan")
    assert (done.exit_code, "step #1 percent=700: must be between 0 and 100" in done.stderr) == (1, True)


def test_whole_life_through_the_store(here: FileStore) -> None:
    """Started, paused, resumed, aborted, and written down."""
    assert run("rollout", "status").output.startswith("rollout idle, the settings' percent")
    done = run("rollout", "start")
    assert done.output == (
        "rollout: was idle, the settings' percent, is progressing, 1 %; no worker follows this state now\n"
    )
    assert run("rollout", "pause").exit_code == 0
    assert run("rollout", "resume").exit_code == 0
    refused = run("rollout", "promote")
    assert (refused.exit_code, "not twice within 60 s" in refused.stderr) == (1, True)
    assert run("rollout", "abort").exit_code == 0
    assert (desired(here).phase, desired(here).percent) == (RolloutPhase.ABORTED, 0)
    text = run("rollout", "history").output
    assert "phase1 rollout start" in text
    assert "0 % aborted" in text
    lines = run("rollout", "history", "--json", "--limit", "2").output.splitlines()
    assert [json.loads(line)["to"]["phase"] for line in lines] == ["progressing", "aborted"]


def test_kill_and_unkill_through_the_store(here: FileStore) -> None:
    """Twice is once."""
    assert run("kill").output == "kill switch: was off, is on; no worker follows this state now\n"
    assert run("kill").output == "kill switch: was on, is on; no worker follows this state now\n"
    assert "the kill switch is on" in run("rollout", "status").output
    assert run("unkill").exit_code == 0
    assert (desired(here).kill, desired(here).generation) == (False, 2)


def test_trouble_is_an_exit_code(here: FileStore) -> None:
    """For scripts: rolled back, or a state that cannot be read."""
    here.swap(None, encode(Desired(generation=1, percent=0, phase=RolloutPhase.ROLLED_BACK)), "line")
    assert run("rollout", "status").exit_code == 1
    here.swap(here.read(), "{", "line")
    for command in (("rollout", "status"), ("rollout", "start"), ("unkill",)):
        done = run(*command)
        assert (done.exit_code, "error: the state record is damaged" in done.stderr) == (1, True)
    assert run("kill").exit_code == 0


def test_start_without_anybody_who_would_move_it(here: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LLM_AUTO_ROLLOUT` is off by default."""
    monkeypatch.setenv("LLM_AUTO_ROLLOUT", "false")
    done = run("rollout", "start")
    assert (done.exit_code, "LLM_AUTO_ROLLOUT is not true" in done.stderr, here.read()) == (1, True, None)


def test_settings_that_cannot_be_honoured_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback."""
    monkeypatch.setenv("LLM_STATE_URL", "http://x")
    done = run("kill")
    assert (done.exit_code, done.stderr.startswith("error: LLM_STATE_URL=http://x")) == (1, True)


def test_command_waits_until_the_workers_apply_it() -> None:
    """And says how many do when it has waited long enough."""
    world = World(3)
    world.round(2)
    desk = StoreDesk(world.store, settings(llm_auto_rollout=True), sleep=lambda _: world.round())
    assert desk.kill(on=True).endswith("; 3 of 3 workers apply it")
    quiet = StoreDesk(world.store, settings(llm_auto_rollout=True), sleep=lambda _: None)
    assert quiet.kill(on=False).endswith("; 0 of 3 workers apply it")
    world.store.report("odd", "{")
    world.round()
    status = quiet.status()
    assert [worker["generation"] for worker in status["workers"]] == [2, 2, 2]
    assert status["leader"] is None


def test_evidence_is_shown(here: FileStore) -> None:
    """What the leader has found."""
    world = World(1)
    world.round()
    world.operator.act("start", PLAN)
    world.round(6, each=lambda: world.workers[0].calls(5))
    here.swap(None, world.store.read() or "", "line")
    here.put("progress", world.store.get("progress") or "")
    text = run("rollout", "status").output
    assert "calls, 0 failed; control" in text
    assert "log e: worse" in text
    assert "last look: its time is not over" in text


# -- through an app


def remote(*answers: httpx.Response | Exception) -> tuple[Remote, list[Any]]:
    """One in front of these answers, and what it was asked."""
    asked: list[Any] = []
    waiting = list(answers)

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.content and json.loads(request.content)))
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Remote("app.example/root", token="t" * 16, transport=httpx.MockTransport(respond)), asked


def page(rollout: dict[str, Any] | None) -> httpx.Response:
    """The debug page."""
    return httpx.Response(200, json={"schema": "phase1.llm-system/v1", "rollout": rollout})


def changed(*, before: object, after: object) -> httpx.Response:
    """The control page."""
    return httpx.Response(200, json={"changes": [{"from": before, "to": after, "worker": 7}]})


def test_app_is_asked_over_its_control_page() -> None:
    """And it is said whether that was for all workers."""
    asker, asked = remote(
        changed(before=False, after=True),
        page({"shared": True}),
        changed(before="idle", after="progressing, 1 %"),
        page(None),
    )
    desk = RemoteDesk(asker)
    assert desk.kill(on=True) == "kill switch: was off, is on; all workers follow"
    assert desk.act("start") == "rollout: was idle, is progressing, 1 %; only worker 7: LLM_STATE_URL is memory:"
    assert [each for each in asked if each[0] == "POST"] == [
        ("POST", "/root/admin/llm-system/control", {"force_legacy": True}),
        ("POST", "/root/admin/llm-system/control", {"rollout": "start"}),
    ]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (httpx.ConnectError("x"), "nothing answers at http://app.example/root/admin/llm-system/control"),
        (httpx.Response(401), "asks for a token"),
        (httpx.Response(404), "no LLM_ADMIN_TOKEN is set there"),
        (httpx.Response(409, text="a rollout is under way\n"), "says no: a rollout is under way"),
        (httpx.Response(503, text="redis://cache does not answer"), "says no: redis://cache does not answer"),
        (httpx.Response(502), "answers 502"),
    ],
)
def test_app_that_says_no_is_heard(answer: httpx.Response | Exception, text: str) -> None:
    """In its own words, in one line."""
    with pytest.raises(RemoteError, match=text):
        RemoteDesk(remote(answer)[0]).kill(on=True)


def test_app_without_a_rollout_says_so() -> None:
    """It shares nothing, and moves nothing."""
    with pytest.raises(Exception, match="this app has no rollout"):
        RemoteDesk(remote(page(None))[0]).status()
    entries = [{"generation": 2}, {"generation": 1}]
    assert RemoteDesk(remote(page({"history": entries}))[0]).history(5) == [{"generation": 1}, {"generation": 2}]


def test_nobody_there_is_one_line() -> None:
    """The default address, where `LLM_STATE_URL` names no store."""
    done = run("kill", "--url", "http://127.0.0.1:9")
    assert (done.exit_code, done.stderr.startswith("error: nothing answers at http://127.0.0.1:9")) == (1, True)
    assert run("kill", "--url", "ftp://x").exit_code == 2


def test_rollout_in_trouble_is_a_finding() -> None:
    """In `phase1 status` and `top`, too."""
    healthy: dict[str, Any] = {
        "problem": None,
        "breaker": {"state": "active"},
        "nodes": [],
        "metrics": {"observer_failures": 0},
    }
    assert findings({**healthy, "rollout": None}) == []
    assert findings({**healthy, "rollout": {"problem": "x", "phase": "rolled_back"}}) == [
        "x",
        "the rollout is rolled back",
    ]
