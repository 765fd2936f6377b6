"""How does `phase1 run main:app` become a server? It replaces itself by uvicorn with the shim's import string."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from phase1.exceptions import ConfigurationError, MissingExtraError

__all__ = ["server_command", "start_server"]

SHIM = "phase1.asgi.shim:app"


def server_command(
    target: str, options: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of uvicorn for `target` (`module:app`) with its own `options`.

    `ENABLE_LLM_POOL` is switched on unless the environment says something else: that is what a trial is for. Raises
    `ConfigurationError` when `target` has another form.
    """
    if not all(target.partition(":")[::2]):
        raise ConfigurationError(f"{target}: must have the form module:app, as uvicorn takes it")
    added = {"PHASE1_APP": target, "ENABLE_LLM_POOL": environment.get("ENABLE_LLM_POOL") or "true"}
    if "--factory" in options:
        added["PHASE1_FACTORY"] = "true"
    passed = [option for option in options if option != "--factory"]
    return [sys.executable, "-m", "uvicorn", SHIM, *passed], {**environment, **added}


def start_server(target: str, options: Sequence[str]) -> None:
    """Become that server: signals and exit code are uvicorn's. Raises `MissingExtraError` without uvicorn."""
    if find_spec("uvicorn") is None:
        raise MissingExtraError("phase1 run", "demo")
    command, environment = server_command(target, options, os.environ)
    sys.stdout.flush()
    os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter
