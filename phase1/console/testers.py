"""Which header does a tester send? `phase1 tester-header`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from phase1.asgi.testers import HEADER
from phase1.exceptions import Phase1Error
from phase1.policy.override import LONGEST_SECONDS, sign_override
from phase1.policy.selection import Route
from phase1.settings import Settings

__all__ = ["make_header"]

_HOUR: Final = 3600


def make_header(
    *,
    route: Annotated[Route, typer.Option(help="Where the tester's requests go.")] = Route.POOL,
    hours: Annotated[
        float, typer.Option(min=0.01, max=LONGEST_SECONDS / _HOUR, help="Hours for which it is good.")
    ] = 8.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the header with which a tester gets the pool (or legacy), whatever the percent says.

    It is signed with LLM_CANARY_SECRET of the settings here, which must be the app's. Kill switches and the breaker
    still win. Whoever has the header has the route, until it ends: give it to testers only.

    \b
    curl -H "$(phase1 tester-header)" https://app.example/chat
    phase1 tester-header --route legacy --hours 1
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    now = time.time()
    try:
        line = sign_override(route, secret=_secret(), now=now, seconds=hours * _HOUR)
    except Phase1Error as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    ends = datetime.fromtimestamp(int(now + hours * _HOUR), UTC).isoformat()
    typer.echo(json.dumps({"header": HEADER, "value": line, "ends": ends}) if as_json else f"{HEADER}: {line}")


def _secret() -> bytes:
    secret = Settings.load().llm_canary_secret
    if secret is None:
        raise Phase1Error("LLM_CANARY_SECRET is not set here: it must be the app's, 16 characters or more")
    return secret.get_secret_value().encode()
