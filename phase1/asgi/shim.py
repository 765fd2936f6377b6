"""How is an app tried without an edit? `PHASE1_APP=main:app uvicorn phase1.asgi.shim:app` (`phase1 run` does that).

By an import string: any server that takes one can load it (uvicorn with `--workers` and `--reload`, gunicorn,
granian). Before the app's modules are imported, the SDK's classes get their doors, so that a client made anywhere
goes to the pool; then the app itself gets `phase1.install`. No file changes, nothing is left behind: without the shim
it is the old app.

`PHASE1_FACTORY=true`: the import string names a function that makes the app.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from starlette.applications import Starlette

from phase1.asgi.install import install
from phase1.asgi.middleware import Phase1Middleware
from phase1.doors.status import summary_line
from phase1.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

__all__ = ["app", "load"]


def load(target: str, *, factory: bool = False) -> ASGIApp:
    """The app that `module:attribute` names, with phase1 in it.

    Raises `ConfigurationError` when the target has another form or is not there, and what the app's modules raise.
    """
    from phase1.doors.everywhere import open_doors, out_of_reach  # noqa: PLC0415 - imports the SDK

    open_doors()
    found = _import(target)
    host = cast("ASGIApp", cast("Callable[[], object]", found)() if factory else found)
    if isinstance(host, Starlette):
        manager = install(host)
        mounted: ASGIApp = host
    else:
        middleware = Phase1Middleware(host)
        if middleware.refusal is not None:
            raise middleware.refusal
        manager, mounted = middleware.manager, middleware
    _say(summary_line(manager))
    _say(f"{target}: every openai client has a door now, except one with its own http_client=")
    for library in out_of_reach():
        _say(f"calls of {library} are out of reach: adopt its client, or give it phase1.http_client()")
    return mounted


def _say(text: str) -> None:
    """To the terminal: an app's logging need not be set up for a trial."""
    print(f"phase1: {text}", file=sys.stderr)  # noqa: T201


def _import(target: str) -> object:
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise ConfigurationError(f"PHASE1_APP={target}: must have the form module:attribute")
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise  # something that the app imports
        raise ConfigurationError(f"PHASE1_APP={target}: there is no module {exc.name} in {Path.cwd()}") from exc
    for part in path.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"PHASE1_APP={target}: {module_name} has no attribute {path}")
        found = getattr(found, part)
    return found


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    target = os.environ.get("PHASE1_APP", "")
    factory = os.environ.get("PHASE1_FACTORY", "").lower() in {"1", "true", "yes", "on"}
    try:
        loaded = globals()["app"] = load(target, factory=factory)
    except AttributeError as exc:  # servers would take it for a missing attribute of this module
        raise ImportError(f"PHASE1_APP={target}: {exc}") from exc
    return loaded


if TYPE_CHECKING:
    app: ASGIApp
