"""Does all of it hold in real server processes?"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.asgi.model import TEXT, Model
from tests.asgi.servers import serving, start

UP = "Application startup complete"
PROBLEM = "LLM_POOL_SIZE=0: must be at least 1"


@pytest.fixture
def model() -> Iterator[Model]:
    """An upstream for other processes."""
    with Model() as model:
        yield model


def pooled(model: Model, **more: str) -> dict[str, str]:
    """The pool on."""
    return {
        "WAY": "install",
        "ENABLE_LLM_POOL": "true",
        "OPENAI_API_KEY": "sk-0123456789",
        "OPENAI_BASE_URL": model.url,
        "LLM_MODEL": "m",
    } | more


@pytest.mark.parametrize(("way", "lifespan"), [("install", "off"), ("middleware", "auto"), ("lifespan", "on")])
def test_pool_answers_with_and_without_a_lifespan(way: str, lifespan: str, model: Model, tmp_path: Path) -> None:
    """`--lifespan off` starts the pool with the first request; the process ends in good order either way."""
    with serving(tmp_path, "--lifespan", lifespan, **pooled(model, WAY=way)) as server:
        assert server.get("/ask").json()["text"] == TEXT
        assert server.get("/debug/llm-system").json()["pool"]["open"] is True
        server.terminate()
        assert server.ends() in {0, -signal.SIGTERM}
    assert "Traceback" not in server.text


def test_two_workers_have_a_pool_each(model: Model, tmp_path: Path) -> None:
    """`--workers 2`: both come up, and requests are answered."""
    with serving(tmp_path, "--workers", "2", **pooled(model)) as server:
        server.wait_for(UP, times=2)
        pids = {server.get("/ask").json()["pid"] for _ in range(10)}
        assert pids <= {int(line.rpartition("[")[2].rstrip("]")) for line in server.lines if "Started server" in line}
        server.terminate()
        assert server.ends() in {0, -signal.SIGTERM}
    assert "Traceback" not in server.text


def test_reload_starts_and_serves(model: Model, tmp_path: Path) -> None:
    """`--reload`: a supervisor, and the app in a child. Nobody makes a change where it looks for one."""
    (tmp_path / "quiet").mkdir()
    with serving(tmp_path, "--reload", "--reload-dir", str(tmp_path / "quiet"), **pooled(model)) as server:
        server.wait_for(UP)
        assert server.get("/ask").json()["text"] == TEXT
        server.terminate()
        assert server.ends() in {0, -signal.SIGTERM}


@pytest.mark.parametrize("route", ["pool", "legacy"])
def test_sigterm_lets_a_slow_call_finish(route: str, model: Model, tmp_path: Path) -> None:
    """Nothing is lost when the server is told to go while a model is thinking, by pool or in a legacy thread."""
    forced = {"FORCE_LEGACY_LLM": str(route == "legacy"), "UPSTREAM": model.url}
    model.gate.clear()
    options = ("--lifespan", "on")
    with serving(tmp_path, *options, **pooled(model, **forced)) as server, ThreadPoolExecutor(1) as threads:
        call = threads.submit(server.get, "/ask")
        assert model.was_asked()
        server.terminate()
        server.wait_for("Shutting down")
        assert not call.done()
        model.gate.set()
        assert call.result().json()["route"] == route
        assert call.result().json()["text"].endswith(TEXT)
        assert server.ends() in {0, -signal.SIGTERM}
    assert "Traceback" not in server.text


def test_legacy_client_that_never_answers_does_not_keep_the_process(model: Model, tmp_path: Path) -> None:
    """The server gives the request up, the pool drains for its deadline, and the thread is left behind."""
    stuck = {"FORCE_LEGACY_LLM": "true", "UPSTREAM": model.url, "LLM_REQUEST_DEADLINE": "0.2"}
    model.gate.clear()
    options = ("--timeout-graceful-shutdown", "1")
    with serving(tmp_path, *options, **pooled(model, **stuck)) as server, ThreadPoolExecutor(1) as threads:
        call = threads.submit(server.get, "/ask")
        assert model.was_asked()
        server.terminate()
        assert server.ends() in {0, -signal.SIGTERM}
        assert not model.gate.is_set()
        assert call.exception() or call.result().status_code == 500
    assert "1 calls still in flight" in server.text


def test_bad_setting_is_one_line_in_the_log_and_the_app_serves(tmp_path: Path) -> None:
    """On legacy, loudly; the log needs no configuration for that."""
    variables = {"WAY": "install", "ENABLE_LLM_POOL": "true", "LLM_POOL_SIZE": "0"}
    with serving(tmp_path, **variables) as server:
        assert server.get("/ask").json()["text"] == "from legacy"
        assert server.get("/debug/llm-system").json()["problem"] == PROBLEM
    assert [line for line in server.lines if "LLM_POOL_SIZE" in line] == [
        f"{PROBLEM}; the app runs on the legacy client"
    ]


@pytest.mark.parametrize(
    ("way", "lifespan"), [("install", "auto"), ("middleware", "auto"), ("middleware", "on"), ("lifespan", "auto")]
)
def test_strict_start_ends_the_process(way: str, lifespan: str, tmp_path: Path) -> None:
    """A code that is not 0, and the line; also where uvicorn would take an exception for a missing lifespan."""
    variables = {"WAY": way, "ENABLE_LLM_POOL": "true", "LLM_POOL_SIZE": "0", "LLM_STRICT_START": "true"}
    with start(tmp_path, "--lifespan", lifespan, **variables) as server:
        assert server.ends() > 0
    assert any(line.endswith(PROBLEM) for line in server.lines)
    assert "running on" not in server.text
