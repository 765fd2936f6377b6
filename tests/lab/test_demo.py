"""Does the demo tell the truth about what it has measured, and leave nothing behind?"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import httpx
import pytest

from phase1.lab.apps import QUESTION

_URL = re.compile(r"http://127\.0\.0\.1:\d+")


class Show:
    """`phase1 demo` as a process, what it has said so far, and where its own processes listen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = ""

    def until(self, text: str) -> None:
        """Read on until it has said `text`."""
        assert self.process.stderr is not None
        while text not in self.said:
            line = self.process.stderr.readline()
            assert line, f"{text!r} was never said: {self.said}"
            self.said += line

    @property
    def urls(self) -> list[str]:
        return _URL.findall(self.said)


@contextmanager
def _demo(*options: str, environment: dict[str, str], folder: Path) -> Iterator[Show]:
    process = subprocess.Popen(
        [sys.executable, "-m", "phase1.cli", "demo", *options],
        env={**environment, "TMPDIR": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Show(process)
        finally:
            process.kill()


def _run(*options: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "phase1.cli", "demo", *options],
        env={**environment, "TMPDIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_demo_from_beginning_to_end(
    environment: dict[str, str], tmp_path: Path, falls_silent: Callable[[str], bool]
) -> None:
    """Five users, both apps, an outage: every request is accounted for, and with Ctrl-C all is over."""
    options = ("--users", "5", "--rounds", "1", "--latency", "0.2", "--json", "--serve")
    with _demo(*options, environment=environment, folder=tmp_path) as show:
        show.until("stays up until Ctrl-C")
        debug_url = show.urls[-1] + "/debug/llm-system"
        assert httpx.get(debug_url, trust_env=False).json()["mode"] == "pool"
        show.process.send_signal(signal.SIGINT)
        output, _ = show.process.communicate(timeout=20)
    found = json.loads(output)
    assert found["debug_url"] == debug_url
    assert show.process.returncode == (0 if found["kept"] else 1)
    assert found["legacy"]["requests"] == found["pooled"]["requests"] == found["upstream"]["requests"] == 5
    assert found["pooled"]["outcomes"] == {"200": 5}
    outage = found["outage"]
    assert outage["stuck"] is None
    assert {"disabled", "half_open", "ramping"} <= outage["states"].keys()
    assert outage["users"]["outcomes"] == {"200": outage["users"]["requests"]}
    last = outage["timeline"][-1]
    assert last["by_pool"] + last["by_legacy"] == outage["users"]["requests"]
    assert last["fell_back"] >= 3
    assert all(map(falls_silent, show.urls))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_told_to_end_it_leaves_nothing_behind(
    number: signal.Signals, environment: dict[str, str], tmp_path: Path, falls_silent: Callable[[str], bool]
) -> None:
    """In the middle of it: no process, no file, no traceback."""
    with _demo(environment=environment, folder=tmp_path) as show:
        show.until("upstream alone" if number is signal.SIGINT else "  pooled app\n")
        show.process.send_signal(number)
        _, rest = show.process.communicate(timeout=20)
    assert show.process.returncode == 130
    assert rest.rstrip().endswith("interrupted")
    assert "Traceback" not in show.said + rest
    assert len(show.urls) == 3
    assert all(map(falls_silent, show.urls))
    assert not list(tmp_path.iterdir())


def test_killed_it_leaves_no_process_behind(
    environment: dict[str, str], tmp_path: Path, falls_silent: Callable[[str], bool]
) -> None:
    """SIGKILL cannot be caught; the processes notice that their parent is gone."""
    with _demo(environment=environment, folder=tmp_path) as show:
        show.until("  pooled app\n")
        show.process.kill()
    assert all(map(falls_silent, show.urls))


def test_app_that_does_not_start_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """Exit code 1 and the last words of the process's log, no traceback, nothing on standard output."""
    broken = tmp_path / "broken" / "fastapi"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('no such luck')")
    done = _run(environment={**environment, "PYTHONPATH": str(broken.parent)}, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "error: the mock upstream ended with status 1: RuntimeError: no such luck"
    assert "Traceback" not in done.stderr


def test_app_that_dies_in_the_middle_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """The demo does not go on without it."""
    options = ("--users", "2", "--rounds", "1", "--latency", "0.05")
    with _demo(*options, environment=environment, folder=tmp_path) as show:
        show.until("and when the upstream")
        os.kill(httpx.get(show.urls[-1] + "/debug/llm-system", trust_env=False).json()["pid"], signal.SIGKILL)
        _, rest = show.process.communicate(timeout=20)
    assert show.process.returncode == 1
    assert rest.splitlines()[-1].startswith("error: the pooled app ended with status -9")
    assert "Traceback" not in rest


class Provider(BaseHTTPRequestHandler):
    """A real upstream, as far as the demo can tell. `asked`: the questions that came."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(question["messages"][-1]["content"])
        message = {"role": "assistant", "content": "A part of a whole."}
        answer = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_real_upstream_is_asked_little(environment: dict[str, str], tmp_path: Path) -> None:
    """`OPENAI_BASE_URL` decides; it is told, asked a few requests only, and not made to fail."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as provider:
        Thread(target=provider.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{provider.server_port}/v1"
        named = {**environment, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k"}
        done = _run("--users", "4", "--json", environment=named, folder=tmp_path)
        provider.shutdown()
    found = json.loads(done.stdout)
    assert f"so the upstream is {url}" in done.stderr
    assert (found["mock"], found["rounds"], found["outage"]) == (False, 1, None)
    assert found["pooled"]["answered"] == 4
    assert Provider.asked == [QUESTION] * (3 + 2 + 4 + 4)  # its latency, the first answers, before, after


def test_real_upstream_that_refuses_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """Nothing is measured against nobody."""
    done = _run(environment={**environment, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    said = "error: the upstream http://127.0.0.1:1/v1 does not answer as it should: 3 × no answer"
    assert done.stderr.splitlines()[-1] == said


def test_missing_extra_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    """Where only the extra `cli` is installed, the demo names its own."""
    without = "import sys; sys.modules['llmock'] = None; from phase1.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", without, "demo"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == 'phase1 demo needs an optional library: pip install "phase1[demo]"\n'
