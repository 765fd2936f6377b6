"""Do `status`, `top`, `env` and `init` say what is, with the right exit code, and keep what is secret?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from phase1.commands import app
from phase1.console.findings import findings, headline
from phase1.console.remote import Remote, RemoteError
from phase1.observe.monitor import Monitor
from tests.doors.bench import SHADOW, Bench, SyncLegacy, failure, until
from tests.observe.live.stage import ADMIN, live_app, upstream, wait_for

runner = CliRunner()


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """One command, in this process."""
    return runner.invoke(app, list(arguments), env=env)


async def document(*, calls: int = 0, **settings: object) -> dict[str, Any]:
    """What the debug page says of an app."""
    bench = Bench(lambda: failure(500), legacy=SyncLegacy(), **settings)
    monitor = Monitor(bench.manager)
    async with bench.manager:
        await bench.ask_in_turn(calls)
        found: dict[str, Any] = json.loads(json.dumps(monitor.document()))
    return found


# -- what is wrong


async def test_healthy_app_has_no_findings() -> None:
    """And one line that says so."""
    found = await document()
    assert findings(found) == []
    assert headline(found) == "the pool is on, 100 % of the keys"


async def test_open_breaker_is_a_finding() -> None:
    """After three failures."""
    found = await document(calls=3)
    assert findings(found) == ["the breaker is disabled"]
    assert headline(found) == "the breaker is open, legacy answers"


@pytest.mark.parametrize(
    ("changes", "expected", "head"),
    [
        ({"problem": "no key"}, ["no key"], "the pool cannot start, legacy answers"),
        ({"loop": {"standing_at": "a.py:1"}}, ["the event loop stands still at a.py:1"], None),
        ({"nodes": [{"name": "a", "up": False}]}, ["node a is off", "no node is up"], None),
        (
            {"nodes": [{"name": "a", "up": False, "drained": True}, {"name": "b", "up": True}]},
            ["node a is drained"],
            None,
        ),
        ({"metrics": {"observer_failures": 2}}, ["2 failures of observers, see the log"], None),
    ],
)
async def test_each_trouble_is_one_line(changes: dict[str, Any], expected: list[str], head: str | None) -> None:
    """In words."""
    found = {**await document(), **changes}
    assert findings(found) == expected
    if head is not None:
        assert headline(found) == head


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({"enable_llm_pool": False}, "the pool is off, legacy answers"),
        ({"emergency_mode": True}, "emergency mode, legacy answers"),
        ({"disable_pool": True}, "the pool is closed, legacy answers"),
        ({"force_legacy_llm": True}, "legacy is forced, legacy answers"),
    ],
)
async def test_switch_is_named(settings: dict[str, object], head: str) -> None:
    """An operator has wanted it: that is no finding."""
    found = await document(**settings)
    assert (headline(found), findings(found)) == (head, [])


# -- asking


def remote(answer: httpx.Response | Exception, *, url: str = "app.example", token: str | None = None) -> Remote:
    """A remote in front of one answer."""

    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        return answer

    return Remote(url, token=token, transport=httpx.MockTransport(respond))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (httpx.ConnectError("x"), r"nothing answers at http://app\.example/debug/llm-system \(ConnectError\)"),
        (httpx.Response(401), "asks for a token: set LLM_ADMIN_TOKEN, or give --token"),
        (httpx.Response(404), "is not there: phase1 is not in this app"),
        (httpx.Response(502), "answers 502"),
        (httpx.Response(200, text="<html>"), "is no page of phase1"),
        (httpx.Response(200, json=[1]), "is no page of phase1"),
        (httpx.Response(200, json={"schema": "other/v1"}), "is no page of phase1"),
    ],
)
def test_answer_that_is_none_is_one_clear_line(answer: httpx.Response | Exception, text: str) -> None:
    """What happened, and what to do."""
    with pytest.raises(RemoteError, match=text):
        remote(answer).document()


@pytest.mark.parametrize(
    ("given", "page"),
    [
        ("localhost:8000", "http://localhost:8000/debug/llm-system"),
        ("https://app.example/", "https://app.example/debug/llm-system"),
        ("https://app.example/api", "https://app.example/api/debug/llm-system"),
        ("https://app.example/debug/llm-system?format=html#x", "https://app.example/debug/llm-system"),
    ],
)
def test_address_may_be_written_as_people_write_it(given: str, page: str) -> None:
    """With or without scheme, root path, or the page itself."""
    assert Remote(given).url == page


@pytest.mark.parametrize("given", ["ftp://app", "http://", "", "://x"])
def test_address_that_is_none_is_wrong_usage(given: str) -> None:
    """Exit code 2."""
    done = run("status", given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "must be the address of an app" in done.stderr


def test_token_comes_from_the_option_the_environment_or_the_file(
    env: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a broken setting beside it is not what was asked for."""
    sent: list[str | None] = []

    def token_of(given: str | None) -> str | None:
        return Remote("app.example", token=given)._http.headers.get("authorization")

    monkeypatch.chdir(tmp_path)
    sent.append(token_of(None))
    (tmp_path / ".env.phase1").write_text("LLM_ADMIN_TOKEN=token-of-the-file-0123\n")
    sent.append(token_of(None))
    sent.append(token_of("token-of-the-option"))
    env(LLM_POOL_SIZE="0")
    sent.append(token_of(None))
    assert sent == [None, "Bearer token-of-the-file-0123", "Bearer token-of-the-option", None]


@pytest.mark.parametrize(
    ("url", "openly"),
    [
        ("http://app.example", True),
        ("https://app.example", False),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
    ],
)
def test_token_over_plain_http_to_elsewhere_is_warned_of(url: str, openly: bool) -> None:  # noqa: FBT001
    """Whoever sits in between can read it."""
    assert Remote(url, token="token-of-an-operator").sends_token_openly is openly


def test_nobody_there_is_a_failure() -> None:
    """One line on standard error, nothing on standard output, exit code 1."""
    done = run("status", "127.0.0.1:9")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: nothing answers at http://127.0.0.1:9/debug/llm-system")
    assert run("top", "127.0.0.1:9").exit_code == 1


# -- a live app


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that has answered, with a canary in everything that is said."""
    folder = tmp_path_factory.mktemp("live")
    with upstream(folder) as up, live_app(folder, up) as url:
        for _ in range(4):
            httpx.get(f"{url}/chat", headers={"x-user": "planted-user"}, trust_env=False)
        yield url


def test_status_shows_the_app(live: str) -> None:
    """The screen and its JSON; nothing that anybody has said, and no key."""
    done = run("status", live, "--token", ADMIN)
    assert done.exit_code == 0, done.output
    for text in ("the pool is on, 75 % of the keys", "eu-west", "us-east", "● up", "4 since the start", "active"):
        assert text in done.stdout
    shown = run("status", live, "--json", env={"LLM_ADMIN_TOKEN": ADMIN})
    assert json.loads(shown.stdout)["metrics"]["finished"] == 4
    assert "planted" not in done.stdout + shown.stdout
    assert "\x1b" not in done.stdout


def test_top_shows_it_again_and_again(live: str) -> None:
    """As often as wanted: a screen, or a line of JSON for each look."""
    done = run("top", live, "--count", "2", "--interval", "0.2")
    assert done.exit_code == 0, done.output
    assert "eu-west" in done.stdout
    shown = run("top", live, "--count", "3", "--interval", "0.2", "--json")
    assert [json.loads(line)["schema"] for line in shown.stdout.splitlines()] == ["phase1.llm-system/v1"] * 3


def test_top_ends_with_ctrl_c(live: str) -> None:
    """That is how one leaves: exit code 0."""
    command = [sys.executable, "-m", "phase1.cli", "top", live, "--json", "--interval", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"schema"')
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"")


def test_finding_is_exit_code_1(tmp_path: Path) -> None:
    """For scripts: an app whose nodes are gone."""
    with live_app(tmp_path, "http://127.0.0.1:9", LLM_CANARY_PERCENT="100") as url:
        for _ in range(4):
            httpx.get(f"{url}/chat", headers={"x-user": "u"}, trust_env=False)
        wait_for(lambda: run("status", url).exit_code == 1, "a finding")
        assert "the breaker is" in run("status", url).stdout


# -- settings


def test_env_shows_every_setting_with_its_source(
    env: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment, the file, the defaults; secrets masked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env.phase1").write_text("LLM_POOL_SIZE=7\n")
    env(OPENAI_API_KEY="sk-planted", OPENAI_BASE_URL="https://user:planted@llm.example/v1?key=planted")
    everything = json.loads(run("env", "--json").stdout)
    assert everything["LLM_POOL_SIZE"] == {"value": 7, "source": ".env.phase1"}
    assert everything["OPENAI_API_KEY"] == {"value": "******", "source": "environment"}
    assert everything["OPENAI_BASE_URL"]["value"] == "https://llm.example/v1"
    assert everything["LLM_QUEUE_SIZE"]["source"] == "default"
    changed = json.loads(run("env", "--changed", "--json").stdout)
    assert changed.keys() == {"LLM_POOL_SIZE", "OPENAI_API_KEY", "OPENAI_BASE_URL"}
    shown = run("env").stdout
    assert all(name in shown for name in everything)
    assert "planted" not in shown


def test_env_of_settings_that_cannot_be_honoured_is_exit_code_1(env: Callable[..., None]) -> None:
    """The line that the app would log at its start."""
    env(LLM_POOL_SIZE="0")
    done = run("env")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "error: LLM_POOL_SIZE=0: must be at least 1\n"


def test_init_writes_a_file_that_changes_nothing_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything commented out; only the owner may read it."""
    monkeypatch.chdir(tmp_path)
    done = run("init")
    assert done.exit_code == 0, done.output
    written = tmp_path / ".env.phase1"
    assert written.stat().st_mode & 0o777 == 0o600
    assert json.loads(run("env", "--changed", "--json").stdout) == {}
    written.write_text("ENABLE_LLM_POOL=true\n")
    again = run("init")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is there already" in again.stderr
    assert written.read_text() == "ENABLE_LLM_POOL=true\n"
    assert json.loads(run("init", "--path", "other", "--json").stdout) == {"written": "other"}


def test_init_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    """The path, and why."""
    done = run("init", "--path", str(tmp_path / "missing" / "file"))
    assert done.exit_code == 1
    assert "cannot be written: No such file or directory" in done.stderr


@pytest.mark.parametrize("command", ["status", "top", "env", "init"])
def test_help_has_an_example_and_json(command: str) -> None:
    """On lines of their own."""
    shown = run(command, "--help").stdout
    assert f"\n  phase1 {command}" in shown
    assert "--json" in shown


def test_shell_completion_can_be_installed() -> None:
    """By the usual option."""
    assert "--install-completion" in run("--help").stdout


# -- shadow


class _Answers(httpx.BaseTransport):
    """An app whose debug page is `document`."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=self.document)


async def shadowed(**settings: object) -> dict[str, Any]:
    """The document of an app that has compared a call."""
    bench = Bench(legacy=SyncLegacy(), **(SHADOW | settings))
    monitor = Monitor(bench.manager)
    shadow = bench.manager.shadow
    async with bench.manager:
        await bench.ask()
        await until(lambda: shadow is None or shadow.report.compared + sum(shadow.report.dropped.values()) == 1)
        found: dict[str, Any] = json.loads(json.dumps(monitor.document()))
    return found


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """What the app at the default address says."""

    def show(document: dict[str, Any]) -> None:
        transport = _Answers(document)
        monkeypatch.setattr(
            "phase1.console.commands.Remote", lambda url, token: Remote(url, token=token, transport=transport)
        )

    return show


async def test_shadow_shows_both_sides(page: Callable[[dict[str, Any]], None]) -> None:
    """Counts, times, tokens, statuses and the words in common; no word of what was said."""
    page(await shadowed())
    done = run("shadow")
    assert done.exit_code == 0, done.stderr
    for words in ("1 sampled, 1 compared; dropped: none", "of 1 worker(s) with 1 a day each", "● same", "mean 40%"):
        assert words in done.stdout
    assert "from" not in done.stdout
    assert json.loads(run("shadow", "--json").stdout)["compared"] == 1


async def test_shadow_with_nothing_compared_says_why(page: Callable[[dict[str, Any]], None]) -> None:
    """The reasons for which calls were dropped."""
    page(await shadowed(llm_shadow_prices="dear=1/2", llm_shadow_budget_total=9))
    done = run("shadow")
    assert done.exit_code == 0, done.stderr
    assert "1 sampled, 0 compared; dropped: no_price 1" in done.stdout
    assert "1 a day, 9 in all each" in done.stdout


async def test_shadow_of_an_app_without_it_is_a_failure(page: Callable[[dict[str, Any]], None]) -> None:
    """With the setting to look at."""
    page(await shadowed(llm_shadow_percent=0))
    done = run("shadow")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "LLM_SHADOW_PERCENT is 0 there" in done.stderr
