"""Does `import phase1` stay light, and is everything there that it names?"""

from __future__ import annotations

import subprocess
import sys

import pytest

import phase1

OPTIONAL = (
    "aiohttp",
    "celery",
    "fastapi",
    "langchain_core",
    "langgraph",
    "libcst",
    "llmock",
    "openfeature",
    "orjson",
    "prometheus_client",
    "redis",
    "rich",
    "sqlalchemy",
    "supabase",
    "typer",
    "uvicorn",
)


def run(*lines: str) -> subprocess.CompletedProcess[str]:
    """What a fresh interpreter does with `lines`, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", "\n".join(("import sys", *lines))]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def without(*libraries: str) -> str:
    """A line after which importing one of `libraries` fails as if it were not installed."""
    return f"sys.modules.update(dict.fromkeys({libraries!r}))"


def modules_after(statement: str) -> set[str]:
    """Names of all modules that are loaded after `statement`."""
    done = run(statement, "print(*sys.modules, sep='\\n')")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_loads_no_optional_library() -> None:
    """`import phase1` costs an app nothing that only an extra needs, even where every extra is installed."""
    assert modules_after("import phase1").isdisjoint(OPTIONAL)


def test_the_check_above_would_notice() -> None:
    """A module that is imported is seen by the check."""
    assert "uvicorn" in modules_after("import phase1, uvicorn")


def test_import_needs_no_optional_library() -> None:
    """`import phase1` works where no extra is installed."""
    done = run(without(*OPTIONAL), "import phase1")
    assert done.returncode == 0, done.stderr


def test_command_without_its_extra_says_what_to_install() -> None:
    """`phase1` without the extra `cli` ends with one line that names it, not with a traceback."""
    done = run(without("rich", "typer"), "from phase1.cli import main", "sys.exit(main())")
    assert done.returncode != 0
    assert "phase1[cli]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("room", ["asgi", "chat", "doors", "engine", "policy", "settings"])
def test_each_room_opens_by_itself(room: str) -> None:
    """Every room can be imported first: no import order is required and none goes round in a circle."""
    assert modules_after(f"import phase1.{room}").isdisjoint(OPTIONAL)


@pytest.mark.parametrize("name", phase1.__all__)
def test_every_public_name_resolves(name: str) -> None:
    """What `__all__` promises is there."""
    assert getattr(phase1, name) is not None


def test_public_names_are_listed_once() -> None:
    """`__all__` has no doubles."""
    assert len(set(phase1.__all__)) == len(phase1.__all__)
