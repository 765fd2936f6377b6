"""How is an app, and what it is asked, named on the command line? The options that the lab's commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from phase1.exceptions import ConfigurationError
from phase1.lab.apps import example_app
from phase1.lab.target import SAMPLE_BODY, Ask, TargetApp, header_of

__all__ = ["EXAMPLE", "Body", "Env", "Factory", "Header", "Method", "Route", "TargetName", "target_named"]

EXAMPLE: Final = "examples.legacy_main:app"
"""The app that is taken when none is named. It is in the wheel too."""

TargetName = Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as uvicorn takes it: main:app")]
Route = Annotated[str, typer.Option(help="A route of the app that asks the model.")]
Method = Annotated[str, typer.Option(help="How it is asked.")]
Header = Annotated[
    list[str] | None,
    typer.Option("--header", help='"Name: value" of every request; {user} is the number of the user. May be repeated.'),
]
Body = Annotated[
    str | None,
    typer.Option(help="JSON, or @FILE with it; {user} as in --header.", show_default=SAMPLE_BODY.replace('"', "'")),
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", help="NAME=VALUE for the app; {folder} is a directory of one run. May be repeated."),
]
Factory = Annotated[bool, typer.Option("--factory", help="MODULE:APP is a function that makes the app.")]


def target_named(
    name: str,
    *,
    route: str,
    method: str,
    headers: Sequence[str] | None,
    body: str | None,
    env: Sequence[str] | None,
    factory: bool,
) -> TargetApp:
    """The app, and what it is asked. Raises `ConfigurationError` that names the option."""
    fields = tuple(header_of(header) for header in headers or ())
    variables = dict(_variable(pair) for pair in env or ())
    if name != EXAMPLE:
        ask = Ask(route=route, method=method, headers=fields, body=_body(body))
        return TargetApp(app=name, ask=ask, factory=factory, variables=variables)
    known = {field.lower() for field, _ in fields}
    fields += () if "authorization" in known else (("authorization", "Bearer demo-{user}"),)
    ask = Ask(route=route, method=method, headers=fields, body=_body(body))
    own = {"DATABASE_URL": "sqlite:///{folder}/example.sqlite3", "RATE_LIMIT": "0"}
    return TargetApp(app="legacy_main:app", ask=ask, folder=example_app().parent, variables=own | variables)


def _variable(pair: str) -> tuple[str, str]:
    name, sign, value = pair.partition("=")
    if not sign or not name.isidentifier():
        raise ConfigurationError(f"--env {name}: must have the form NAME=VALUE")
    return name, value


def _body(given: str | None) -> str:
    if given is None:
        return SAMPLE_BODY
    if not given.startswith("@"):
        return given
    file = Path(given[1:])
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigurationError(f"--body {given}: {reason}") from error
