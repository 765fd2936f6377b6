"""Which commands look at an app and its settings? `status`, `top`, `env`, `init`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.live import Live

from phase1.console.findings import findings
from phase1.console.remote import DEFAULT_URL, Remote
from phase1.console.rollout import add_rollout
from phase1.console.screen import screen, settings_table
from phase1.console.shadow import shadow_screen
from phase1.console.testers import make_header
from phase1.envfile import write
from phase1.exceptions import Phase1Error
from phase1.settings import Settings

__all__ = ["add_to"]

_WIDTH: Final = 110
_FILE: Final = Path(".env.phase1")

_Url = Annotated[str, typer.Argument(metavar="[URL]", help="The app's address, with its root path if it has one.")]
_Token = Annotated[
    str | None, typer.Option(envvar="LLM_ADMIN_TOKEN", show_envvar=True, help="The token that the app asks for.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_to(app: typer.Typer) -> None:
    """Give `app` these commands."""
    app.command("status")(status)
    app.command("top")(top)
    app.command("env")(env)
    app.command("init")(init)
    add_rollout(app)
    app.command("tester-header")(make_header)
    app.command("shadow")(shadow)


def status(*, url: _Url = DEFAULT_URL, token: _Token = None, as_json: _Json = False) -> None:
    """Show how a running app is.

    The exit code is 1 when something is wrong: the breaker is not active, a node is off, the pool could not start, or
    the app does not answer.

    \b
    phase1 status
    phase1 status https://app.example --json | jq .metrics.fallbacks
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    with _remote(url, token) as remote:
        document = _ask(remote)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        console = _console()
        console.print(screen(document, width=console.width))
    raise typer.Exit(1 if findings(document) else 0)


def top(
    *,
    url: _Url = DEFAULT_URL,
    token: _Token = None,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 1.0,
    count: Annotated[int, typer.Option(min=0, help="Looks until it ends; 0: until Ctrl-C.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each look.")] = False,
) -> None:
    """Show how a running app is, live: the terminal twin of its page. Ctrl-C ends it.

    \b
    phase1 top
    phase1 top https://app.example --interval 5
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    with _remote(url, token) as remote, suppress(KeyboardInterrupt):  # that is how it ends
        if as_json:
            _each(remote, interval, count, lambda document: typer.echo(json.dumps(document)))
            return
        console = _console()
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            _each(
                remote,
                interval,
                count,
                lambda document: live.update(screen(document, width=console.width), refresh=True),
            )


def shadow(*, url: _Url = DEFAULT_URL, token: _Token = None, as_json: _Json = False) -> None:
    """Show how the pool's answers to copies of legacy calls differ from legacy's (LLM_SHADOW_PERCENT).

    The exit code is 1 when the app does not answer, or copies nothing.

    \b
    phase1 shadow
    phase1 shadow https://app.example --json | jq .statuses
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    with _remote(url, token) as remote:
        document = _ask(remote)
    found = document.get("shadow")
    if found is None:
        _fail("this app copies nothing: LLM_SHADOW_PERCENT is 0 there, or it has no pool")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _console().print(shadow_screen(found, workers=len(document["workers"])))


def _each(remote: Remote, interval: float, count: int, show: Callable[[dict[str, Any]], None]) -> None:
    looks = 0
    while True:
        show(_ask(remote))
        looks += 1
        if looks == count:
            return
        time.sleep(interval)


def env(
    *,
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the default.")] = False,
    as_json: _Json = False,
) -> None:
    """Show every setting as an app in this directory would find it: value and source, secrets masked.

    The exit code is 1 when a value cannot be honoured.

    \b
    phase1 env --changed
    ENABLE_LLM_POOL=true phase1 env --json
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    try:
        described = Settings.load().describe()
    except Phase1Error as error:
        _fail(str(error))
    kept = {name: setting for name, setting in described.items() if not changed or setting["source"] != "default"}
    if as_json:
        typer.echo(json.dumps(kept, indent=2))
    else:
        _console().print(settings_table(dict(kept)))


def init(
    *,
    path: Annotated[Path, typer.Option(help="Where to write it.", dir_okay=False)] = _FILE,
    as_json: _Json = False,
) -> None:
    """Write a fresh .env.phase1: every setting, explained, at its default. One that is there is never overwritten.

    \b
    phase1 init
    phase1 init --path deploy/.env.phase1
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    try:
        write(path)
    except Phase1Error as error:
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps({"written": str(path)}))
    else:
        typer.echo(f"{path} is written: take the # away where you change something, then start the app")


def _remote(url: str, token: str | None) -> Remote:
    try:
        remote = Remote(url, token=token)
    except Phase1Error as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if remote.sends_token_openly:
        typer.echo("warning: the token goes over plain HTTP to another machine", err=True)
    return remote


def _ask(remote: Remote) -> dict[str, Any]:
    try:
        return remote.document()
    except Phase1Error as error:
        _fail(str(error))


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


def _console() -> Console:
    console = Console(file=sys.stdout)  # rich itself heeds NO_COLOR
    if not console.is_terminal:
        console.width = max(_WIDTH, console.width)
    return console
