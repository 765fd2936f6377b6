"""How is a test kept apart from the environment of whoever runs it?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from phase1.exceptions import ConfigurationError
from phase1.settings import Settings

VARIABLES = {*(name.upper() for name in Settings.model_fields), "OPENAI_API_POOL_SIZE"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours is set, and the working directory is empty."""
    for name in [name for name in os.environ if name.upper() in VARIABLES]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set variables of the process."""

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write `.env.phase1` into the working directory."""

    def write(text: str) -> Path:
        path = tmp_path / ".env.phase1"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load_error() -> Callable[..., str]:
    """The text of the error that `Settings.load` must raise."""

    def load(**overrides: object) -> str:
        with pytest.raises(ConfigurationError) as caught:
            Settings.load(**overrides)
        return str(caught.value)

    return load


@pytest.fixture
def nodes_error() -> Callable[..., str]:
    """The text of the error that `nodes()` must raise, of settings that are valid otherwise."""

    def nodes(**overrides: object) -> str:
        settings = Settings.load(**overrides)
        with pytest.raises(ConfigurationError) as caught:
            settings.nodes()
        return str(caught.value)

    return nodes
