"""Do the commands of INTEGRATION.md do what the text says?"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from . import apps
from .conftest import Run
from .curl import Asked, asked
from .pages import INTEGRATION, ROOT

if TYPE_CHECKING:
    from llmock.pytest_plugin import LLMock

SHELL, CHECKS = INTEGRATION.named("shell"), INTEGRATION.named("check")
EXAMPLE = Path("examples") / "legacy_main.py"
SCRIPTS = [block.text for block in INTEGRATION.blocks if block.language == "bash" and not block.kind]
UNNAMED = "".join(SCRIPTS).splitlines()
CURLS = [line for line in UNNAMED if line.startswith("curl ")]
TRIALS = [line for line in UNNAMED if "8000" in line and not line.startswith("curl ")]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The example and its patches, in a repository of their own."""
    shutil.copytree(ROOT / "patches", tmp_path / "patches")
    (tmp_path / "examples").mkdir()
    shutil.copyfile(ROOT / EXAMPLE, tmp_path / EXAMPLE)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def shell(text: str, folder: Path) -> None:
    """Run it as a reader would."""
    subprocess.run(["bash", "-euc", text], cwd=folder, check=True, capture_output=True, timeout=apps.BOUND)


def test_undo_one_takes_one_endpoint_back(repository: Path) -> None:
    """The agent's endpoint blocks as before; the other two do not."""
    shell(SHELL["undo-one"], repository)
    text = (repository / EXAMPLE).read_text(encoding="utf-8")
    assert text.count("response = llm_client.generate_response(messages)") == 1
    assert text.count("response = await llm.generate_response_async(messages)") == 2


def test_undo_all_and_redo_all(repository: Path) -> None:
    """The plain app knows no phase1, and the way back gives the same bytes."""
    before = (repository / EXAMPLE).read_bytes()
    shell(SHELL["undo-all"], repository)
    assert b"phase1" not in (repository / EXAMPLE).read_bytes()
    shell(SHELL["redo-all"], repository)
    assert (repository / EXAMPLE).read_bytes() == before


def quoted(cell: str) -> list[str]:
    """The code that a cell of a table quotes."""
    return re.findall("`([^`]+)`", cell)


def absent(cell: str, lines: list[str]) -> list[str]:
    """What a cell quotes that is in none of the lines."""
    return [code for code in quoted(cell) if not any(code in line for line in lines)]


@pytest.mark.parametrize("row", INTEGRATION.table("patch"), ids=lambda row: row[0].strip("`"))
def test_row_of_a_patch_is_true(row: list[str], repository: Path) -> None:
    """`where` is in the file, `before` goes, `after` comes, and `undo` undoes it."""
    name, where, before, after, _, undo = row
    example = repository / EXAMPLE
    lines = (repository / "patches" / name.strip("`")).read_text(encoding="utf-8").splitlines()
    assert absent(where.replace("…)", ""), example.read_text(encoding="utf-8").splitlines()) == []
    assert absent(before, [line[1:] for line in lines if line.startswith("-")]) == []
    assert absent(after, [line[1:] for line in lines if line.startswith("+")]) == []
    mark = f"# phase1 ({int(name.strip('`')[:4])}/"
    assert mark in example.read_text(encoding="utf-8")
    shell(undo.strip("`"), repository)
    assert mark not in example.read_text(encoding="utf-8")


def test_there_is_a_row_for_every_patch() -> None:
    """In their order."""
    patches = sorted(path.name for path in (ROOT / "patches").glob("*.patch"))
    assert [row[0].strip("`") for row in INTEGRATION.table("patch")] == patches


def test_fresh_settings_are_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`phase1 init`."""
    assert "phase1 init" in UNNAMED
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    shell("phase1 init", tmp_path)
    assert (tmp_path / ".env.phase1").read_bytes() == (ROOT / ".env.phase1.example").read_bytes()


async def send(http: httpx.AsyncClient, question: Asked) -> httpx.Response:
    """The request of a `curl` line, to whoever `http` talks to."""
    path = question.url.removeprefix("http://localhost:8000")
    return await http.request(question.method, path, headers=question.headers, content=question.body)


@pytest.mark.parametrize("line", CURLS)
async def test_curl_line_is_answered(line: str, run: Run, env: Callable[..., None], tmp_path: Path) -> None:
    """With 200: those without a token to a caller on the same machine, those with one to a remote one."""
    question = asked(line)
    (tmp_path / ".env.phase1").write_text(INTEGRATION.named("env")["tokens"], encoding="utf-8")
    async with run("two-lines", pool=True) as served:
        remote = {"address": "203.0.113.9", "host": "app.example"}
        answer = await send(served.caller(**(remote if question.headers else {})), question)
    assert answer.status_code == httpx.codes.OK


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextlib.contextmanager
def serving_by(line: str, folder: Path, path: str) -> Iterator[httpx.Client]:
    """The server that a command line starts, on another port; ready when `path` answers."""
    words = shlex.split(line)
    variables = dict(word.split("=", 1) for word in words if re.fullmatch("[A-Z0-9_]+=.*", word))
    program, *options = words[len(variables) :]
    port = str(_free_port())
    command = [str(Path(sys.executable).with_name(program)), *(port if word == "8000" else word for word in options)]
    with (folder / "server.log").open("w+", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=apps.BOUND, trust_env=False) as http:
                _wait_for(http, path, server, folder / "server.log")
                yield http
        finally:
            server.terminate()
            server.wait(apps.BOUND)


def _wait_for(http: httpx.Client, path: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + apps.BOUND
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            http.get(path)
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_both_trials_are_tested() -> None:
    """`phase1 run`, and the import string."""
    assert [shlex.split(line)[0] for line in TRIALS] == ["phase1", "ENABLE_LLM_POOL=true"]


@pytest.mark.parametrize("line", TRIALS, ids=["phase1-run", "import-string"])
def test_trial_without_an_edit_pools_an_app_nobody_has_edited(line: str, upstream: LLMock, tmp_path: Path) -> None:
    """The first example without its two lines, started as the text says: its call goes through the pool."""
    text = INTEGRATION.named("python")["two-lines"]
    plain = re.sub("phase1.install.*\n|import phase1\n", "", text).replace("phase1.adopt(OpenAI())", "OpenAI()")
    plain = re.sub("  # the second.*", "", plain)
    assert "phase1" not in plain
    (tmp_path / "main.py").write_text(plain, encoding="utf-8")
    with serving_by(line, tmp_path, "/openapi.json") as http:
        answer = http.post("/ask", params={"question": "hello"})
        status = http.get("/debug/llm-system").json()
    assert answer.status_code == httpx.codes.OK
    assert (status["mode"], status["metrics"]["calls"]) == ("pool", {"ok": 1})


def answers(http: httpx.Client, name: str) -> list[dict[str, Any]]:
    """What the `curl` lines of one step of the checklist are answered."""
    found = []
    for line in CHECKS[name].splitlines():
        if line.startswith("curl "):
            question = asked(line)
            path = question.url.removeprefix("http://localhost:8000")
            answer = http.request(question.method, path, headers=question.headers, content=question.body)
            assert answer.status_code == httpx.codes.OK, line
            found.append(answer.json())
    return found


def _start_of(name: str) -> str:
    (line,) = [line for line in CHECKS[name].splitlines() if " uvicorn " in line]
    return line


def test_completion_checklist_holds_for_the_example(
    upstream: LLMock, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The five steps, in their order, with the answers that the text names."""
    monkeypatch.setenv("RATE_LIMIT", "0")
    assert list(CHECKS) == ["starts", "debug", "chat", "off", "on"]
    with serving_by(_start_of("starts"), repository, "/health") as http:
        (health,), (debug,), (chat,), (off,) = (answers(http, name) for name in ("starts", "debug", "chat", "off"))
    with serving_by(_start_of("on"), repository, "/health") as http:
        chat_again, on = answers(http, "on")
    assert health["status"] == "ok"
    system = {"phase1_available": True, "phase1_initialized": True, "legacy_client_exists": True}
    assert debug["system_status"] == system
    assert chat["response"]
    assert (off["status"], off["calls"], off["legacy_calls"]) == ("legacy_mode", {}, {"ok": 1})
    assert chat_again["response"]
    assert (on["status"], on["calls"]) == ("pool", {"ok": 1})
