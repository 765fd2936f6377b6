"""Does `phase1 run` start the right server?"""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from phase1.asgi.trial import SHIM, server_command
from phase1.commands import app
from phase1.exceptions import ConfigurationError

BAD_TARGETS = ["main", "main:", ":app", ":"]


def test_server_is_uvicorn_with_the_shim() -> None:
    """In this interpreter; the app's own target goes along in the environment, beside what was there."""
    command, environment = server_command("main:app", [], {"HOME": "/root"})
    assert command == [sys.executable, "-m", "uvicorn", SHIM]
    assert environment == {"HOME": "/root", "PHASE1_APP": "main:app", "ENABLE_LLM_POOL": "true"}


def test_options_are_uvicorns() -> None:
    """In their order."""
    options = ["--port", "8000", "--workers", "2", "--reload"]
    command, _ = server_command("main:app", options, {})
    assert command[4:] == options


def test_factory_is_the_shims_business() -> None:
    """Uvicorn would call the shim's app as the factory."""
    command, environment = server_command("main:make", ["--factory", "--port", "8000"], {})
    assert command[4:] == ["--port", "8000"]
    assert environment["PHASE1_FACTORY"] == "true"


def test_without_factory_there_is_none() -> None:
    """No variable either."""
    _, environment = server_command("main:app", ["--port", "8000"], {})
    assert "PHASE1_FACTORY" not in environment


@pytest.mark.parametrize(("given", "used"), [("false", "false"), ("true", "true"), ("", "true")])
def test_toggle_that_is_set_is_kept(given: str, used: str) -> None:
    """An empty one says nothing."""
    _, environment = server_command("main:app", [], {"ENABLE_LLM_POOL": given})
    assert environment["ENABLE_LLM_POOL"] == used


def test_given_environment_is_left_alone() -> None:
    """It is a copy that is changed."""
    given = {"ENABLE_LLM_POOL": "false"}
    server_command("main:app", [], given)
    assert given == {"ENABLE_LLM_POOL": "false"}


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_target_of_another_form_is_refused(target: str) -> None:
    """With the form that it must have."""
    with pytest.raises(ConfigurationError, match="must have the form module:app"):
        server_command(target, [], {})


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_command_with_a_bad_target_is_wrong_usage(target: str) -> None:
    """Exit code 2, one line on standard error."""
    done = CliRunner().invoke(app, ["run", target])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: {target}: must have the form module:app, as uvicorn takes it\n"
