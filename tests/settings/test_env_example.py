"""Does `.env.phase1.example` tell the truth, to every tool alike?"""

from __future__ import annotations

import re
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values

from phase1.settings import Settings

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / ".env.phase1.example"
GENERATOR = runpy.run_path(str(ROOT / "scripts" / "gen_env_example.py"))


@pytest.fixture
def uncommented(env_file: Callable[[str], Path]) -> Path:
    """The example with every setting taken out of its comment, as `.env.phase1`."""
    return env_file(re.sub(r"^#(?=[A-Z])", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_it_is_what_the_generator_writes() -> None:
    """Run `python scripts/gen_env_example.py` after a change of `Settings`."""
    assert EXAMPLE.read_text(encoding="utf-8") == GENERATOR["render"]()


def test_the_generator_writes_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The script's one effect."""
    path = tmp_path / "example"
    monkeypatch.setitem(GENERATOR["main"].__globals__, "EXAMPLE", path)

    assert GENERATOR["main"]() == 0
    assert path.read_text(encoding="utf-8") == EXAMPLE.read_text(encoding="utf-8")


def test_untouched_it_changes_nothing(env_file: Callable[[str], Path]) -> None:
    """Copied as it is, every setting has its default, and comes from there."""
    env_file(EXAMPLE.read_text(encoding="utf-8"))

    assert {described["source"] for described in Settings.load().describe().values()} == {"default"}


def test_uncommented_it_holds_every_variable_at_its_default(uncommented: Path) -> None:
    """The settings of the file are the defaults."""
    assert list(dotenv_values(uncommented)) == [name.upper() for name in Settings.model_fields]
    assert Settings.load().model_dump() == Settings.model_construct().model_dump()


def test_python_dotenv_and_a_shell_read_the_same(uncommented: Path) -> None:
    """`set -a; . file` sets what python-dotenv reads, and Settings of it are the defaults."""
    shell = subprocess.run(
        ["bash", "-c", 'set -a; . "$0"; env -0', str(uncommented)], env={}, capture_output=True, check=True
    )
    variables = dict(line.split("=", 1) for line in shell.stdout.decode().split("\0") if line)
    expected = dotenv_values(uncommented)

    assert {name: variables.get(name) for name in expected} == expected


def test_settings_from_a_shell_are_the_defaults(uncommented: Path, env: Callable[..., None]) -> None:
    """The same by way of the process's environment, where empty values arrive as empty."""
    variables = {name: value or "" for name, value in dotenv_values(uncommented).items()}
    uncommented.unlink()
    env(**variables)

    assert Settings.load().model_dump() == Settings.model_construct().model_dump()


def test_every_line_is_in_the_subset_that_all_tools_read_alike() -> None:
    """Comments, empty lines and `KEY=value` without quotes, spaces, backslashes and dollar signs; nothing else."""
    line = re.compile(r"|# [^\\]*|#[A-Z_]+=[A-Za-z0-9_.:/-]*")

    assert [text for text in EXAMPLE.read_text(encoding="utf-8").split("\n") if not line.fullmatch(text)] == []


def test_every_heading_has_its_group() -> None:
    """A heading that belongs to no field would silently be missing."""
    assert GENERATOR["GROUPS"].keys() <= Settings.model_fields.keys()
