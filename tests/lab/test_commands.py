"""Do the commands of the lab say in one line what is wrong, before any load, and leave nothing behind?"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from phase1.commands import app
from phase1.lab.report import page
from phase1.lab.stress import StressPlan, stress_url
from phase1.lab.target import Ask, header_of
from tests.lab.test_load import Habits

APPS = Path(__file__).parent / "apps"

pytestmark = pytest.mark.timeout(180)  # up to eight processes start, one after the other


@contextmanager
def _running(*arguments: str, environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "phase1.cli", *arguments],
        env={**environment, "TMPDIR": str(folder)},
        cwd=APPS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


async def _run(*arguments: str, environment: dict[str, str], folder: Path) -> tuple[int, str, str]:
    def run() -> tuple[int, str, str]:
        with _running(*arguments, environment=environment, folder=folder) as process:
            out, err = process.communicate(timeout=170)
            return process.returncode, out, err

    return await asyncio.to_thread(run)


@pytest.fixture
def at_apps(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """In the directory of the apps, without settings of whoever runs the tests."""
    monkeypatch.chdir(APPS)
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)


@pytest.fixture
async def habits() -> AsyncIterator[Habits]:
    """A server that answers, or refuses, by the path."""
    found = Habits()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()


async def test_compare_from_beginning_to_end(environment: dict[str, str], tmp_path: Path) -> None:
    """An app without phase1: off and on, as JSON, in a file and as a page; exit code 0."""
    out, html = tmp_path / "out.json", tmp_path / "out.html"
    small = (
        "--users",
        "3",
        "--duration",
        "0.5",
        "--rounds",
        "1",
        "--latency",
        "0.2",
        "--burst",
        "4",
        "--loads",
        "users,burst",
    )
    code, said, told = await _run(
        *("compare", "plain:app", *small, "--loads", "users,burst", "--json", "--out", str(out), "--html", str(html)),
        environment=environment,
        folder=tmp_path,
    )
    assert (code, "Traceback" in told) == (0, False), told
    found = json.loads(said)
    assert found == json.loads(out.read_text())
    assert (found["schema"], found["kept"], found["phase1_in_app"]) == ("phase1.compare/v1", True, False)
    assert list(found["loads"]) == ["users", "burst"]
    burst = found["loads"]["burst"]
    assert burst["legacy"]["all"]["outcomes"] == burst["pooled"]["all"]["outcomes"] == {"200": 4}
    assert burst["legacy"]["wall"][0] >= 4 * 0.2
    assert burst["legacy"]["loop_lag"]["longest"] >= 0.15
    assert found["loads"]["users"]["pooled"]["first"]["requests"] == 3
    assert html.read_text() == page(found)
    assert sorted(os.listdir(tmp_path)) == ["out.html", "out.json"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("compare", "nowhere:app"), 1, "error: the legacy app ended with status 3: ERROR:    Error loading ASGI app."),
        (("compare", "plain:app", "--route", "/private"), 1, "error: POST /private answers 401"),
        (("compare", "plain"), 2, "error: plain: must have the form module:app"),
        (("compare", "plain:app", "--body", "@nothing.json"), 2, "error: --body @nothing.json: No such file"),
        (("compare", "plain:app", "--loads", "users,crowd"), 2, "error: --loads crowd: must be some of users,arrivals"),
        (("compare", "plain:app", "--upstream", "http://10.0.0.1/v1"), 2, "error: 10.0.0.1 is not this machine"),
        (("stress", "http://example.com/chat"), 2, "error: example.com is not this machine: --allow-remote says"),
        (("stress", "ftp://127.0.0.1/chat"), 2, "error: ftp://127.0.0.1/chat: must be an http:// or https:// URL"),
        (("stress", "http://127.0.0.1:1"), 1, "error: http://127.0.0.1:1/chat cannot be asked"),
        (("stress", "http://127.0.0.1:1", "--rate", "40000"), 2, "error: --rate 40000 for 60 s: at most 1,000,000"),
        (("stress", "http://127.0.0.1:1", "--rate", "900"), 2, "error: --rate 900 with --timeout 30: up to 27,000"),
        (("compare", "plain:app", "--rate", "9000"), 2, "error: --rate 9000 with --timeout 20: up to 180,000 requests"),
        (("compare", "plain:app", "--out", "nowhere/x.json"), 2, "error: nowhere/x.json cannot be written"),
        (("mock", "--fast", "--error-rate", "503=1"), 2, "error: --error-rate: --fast knows no further options"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], code: int, said: str, at_apps: None) -> None:
    """Nothing on standard output, no traceback, no load."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (code, "")
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(said), done.stderr
    assert "answered" not in done.stderr


async def test_stress_of_a_running_server(habits: Habits, environment: dict[str, str], tmp_path: Path) -> None:
    """By its URL: users in a closed loop."""
    options = ("--users", "2", "--duration", "0.5", "--json", "--header", "Authorization: Bearer {user}")
    code, said, _ = await _run("stress", habits.url + "/ok", *options, environment=environment, folder=tmp_path)
    found = json.loads(said)
    assert (code, found["kept"], found["all"]["success"]) == (0, True, 1.0)
    assert set(habits.tokens) == {"1", "2"}
    assert "Bearer" not in said


async def test_promises_decide_about_a_stress_test(habits: Habits) -> None:
    """The least success and the highest p95 that are allowed; what is not kept is a sentence with figures."""
    plan = StressPlan(users=1, duration=0.1, least_success=1.0, most_p95=0.0)
    ask = Ask(headers=(header_of("Authorization: x"),))
    found = await stress_url(habits.url + "/ok", ask, plan)
    assert not found["kept"]
    assert found["broken"][0].startswith("the 95th percentile is ")
    assert (await stress_url(habits.url + "/ok", ask, replace(plan, most_p95=60.0)))["kept"]


async def test_stress_of_a_server_that_refuses(habits: Habits, environment: dict[str, str], tmp_path: Path) -> None:
    """One request, one line."""
    code, out, err = await _run(
        *("stress", habits.url + "/bad", "--header", "Authorization: x"), environment=environment, folder=tmp_path
    )
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "error: POST /bad answers 502 to the sample request (bad)"
    assert len(habits.tokens) == 1


async def test_stress_of_an_app_at_a_rate(environment: dict[str, str], tmp_path: Path) -> None:
    """It is started with the pool; every arrival is accounted for; a table for people."""
    options = ("--rate", "20", "--duration", "1", "--latency", "0.05", "--html", str(tmp_path / "s.html"))
    code, out, err = await _run("stress", "plain:app", *options, environment=environment, folder=tmp_path)
    assert code == 0, err
    assert "plain:app: 20 arrivals a second for 1 s" in out
    assert "0 of 20" in out
    assert "<svg" in (tmp_path / "s.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_told_to_end_it_leaves_nothing_behind(
    number: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    """In the middle of a load: no process, no file, no traceback, exit code 130."""
    arguments = ("compare", "plain:app", "--users", "2", "--latency", "0.1", "--loads", "users")
    with _running(*arguments, environment=environment, folder=tmp_path) as process:
        family = _grown_family(psutil.Process(process.pid))
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err.rstrip().endswith("interrupted")
    assert "Traceback" not in err
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert not list(tmp_path.iterdir())


def _grown_family(parent: psutil.Process) -> list[psutil.Process]:
    """The mock and the app, once there are both."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = parent.children()
        if len(found) == 2:
            return found
        time.sleep(0.05)
    raise AssertionError("the processes did not come")


@pytest.mark.parametrize("command", [("compare", "plain:app"), ("stress", "plain:app"), ("mock",)])
def test_missing_extra_is_one_line(command: tuple[str, ...], at_apps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the extra `cli` is installed, each names its own."""
    monkeypatch.setattr("phase1.lab.commands.find_spec", lambda name: None if name == "psutil" else object())
    done = CliRunner().invoke(app, command)
    said = f'phase1 {command[0]} needs an optional library: pip install "phase1[lab]"\n'
    assert (done.exit_code, done.stderr) == (2, said)


@pytest.mark.parametrize("fast", [(), ("--fast",)], ids=["llmock", "fast"])
def test_mock_answers_as_openai_does(
    fast: tuple[str, ...], environment: dict[str, str], tmp_path: Path, free_port: int
) -> None:
    """It says what to put into the environment, answers there, and ends by Ctrl-C."""
    arguments = ("mock", "--port", str(free_port), "--latency", "0.01", *fast)
    with _running(*arguments, environment=environment, folder=tmp_path) as process:
        assert process.stdout is not None
        variable, _, url = process.stdout.readline().strip().partition("=")
        assert (variable, process.stdout.readline()) == ("OPENAI_BASE_URL", "OPENAI_API_KEY=mock\n")
        answer = _asked(url + "/chat/completions")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert answer["choices"][0]["message"]["content"]


def _asked(url: str) -> dict:
    deadline = time.monotonic() + 30
    while True:
        try:
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]}
            return httpx.post(url, json=body, headers={"authorization": "Bearer mock"}, trust_env=False).json()
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the mock did not listen"
            time.sleep(0.05)
