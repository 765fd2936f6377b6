"""Which commands steer the rollout and the kill switch? `rollout …`, `kill`, `unkill`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from phase1.console.desk import Desk, RemoteDesk, StoreDesk
from phase1.console.remote import DEFAULT_URL, Remote
from phase1.exceptions import Phase1Error
from phase1.policy.rollout_acts import ACTS
from phase1.policy.rollout_plan import Plan
from phase1.rollout.plan_file import plan_from_file
from phase1.rollout.store import store_of
from phase1.settings import Settings

__all__ = ["add_rollout"]

_WRONG: Final = frozenset({"rolled_back", "inconclusive"})
_WIDTH: Final = 110
_UNITS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))

_Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Ask the app there instead of the store of LLM_STATE_URL.", show_default=DEFAULT_URL
    ),
]
_Token = Annotated[
    str | None, typer.Option(envvar="LLM_ADMIN_TOKEN", show_envvar=True, help="The token that the app asks for.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_rollout = typer.Typer(
    help="The guarded rollout: the canary grows by steps while it is no worse than the old client.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_rollout(app: typer.Typer) -> None:
    """Give `app` these commands."""
    app.add_typer(_rollout, name="rollout")
    app.command("kill")(kill)
    app.command("unkill")(unkill)


def kill(*, url: _Url = None, token: _Token = None) -> None:
    """Send every request of every worker to the old client, at once. Calls under way end as they are.

    \b
    phase1 kill
    phase1 kill --url https://app.example
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    _say(url, token, lambda desk: desk.kill(on=True))


def unkill(*, url: _Url = None, token: _Token = None) -> None:
    """Take the kill switch back: the percent holds again."""
    _say(url, token, lambda desk: desk.kill(on=False))


@_rollout.command("plan")
def plan(*, as_json: _Json = False) -> None:
    """Show the steps: those of LLM_ROLLOUT_FILE, or the weeks of the migration guide."""
    with _errors():
        found = plan_from_file(Settings.load().llm_rollout_file)
    if as_json:
        typer.echo(json.dumps(_plan_document(found), indent=2))
    else:
        _show_plan(found)


@_rollout.command("status")
def status(*, url: _Url = None, token: _Token = None, as_json: _Json = False) -> None:
    """Show how it stands: percent, phase, what it waits for, evidence.

    The exit code is 1 when it was rolled back, is inconclusive, or the state cannot be followed.
    """
    with _errors(), _desk(url, token) as desk:
        found = desk.status()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show_status(found)
    raise typer.Exit(1 if found["problem"] or found["phase"] in _WRONG else 0)


@_rollout.command("history")
def history(
    *,
    url: _Url = None,
    token: _Token = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Changes at most.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each change.")] = False,
) -> None:
    """Show who has changed what, when and why, oldest first."""
    with _errors(), _desk(url, token) as desk:
        entries = desk.history(limit)
    if as_json:
        for entry in entries:
            typer.echo(json.dumps(entry))
    else:
        _show_history(entries)


def _verb(name: str, text: str) -> None:
    def command(*, url: _Url = None, token: _Token = None) -> None:
        _say(url, token, lambda desk: desk.act(name))

    command.__doc__ = text
    _rollout.command(name)(command)


_TEXTS: Final = {
    "start": "Begin at the first step. It goes on by itself while LLM_AUTO_ROLLOUT=true.",
    "pause": "Stay at this percent until resume. It is still rolled back if it gets worse.",
    "resume": "Go on after pause, or after a step that was inconclusive.",
    "promote": "Go to the next step now, whatever the gates say; also the approval of a step that waits for one.",
    "abort": "Give up: 0 percent at once.",
}
for _name in ACTS:
    _verb(_name, _TEXTS[_name])


def _say(url: str | None, token: str | None, change: Callable[[Desk], str]) -> None:
    with _errors(), _desk(url, token) as desk:
        typer.echo(change(desk))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except Phase1Error as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


@contextmanager
def _desk(url: str | None, token: str | None) -> Iterator[Desk]:
    """The store, if one is named here and no address is; else the app."""
    settings = None if url is not None else Settings.load()
    if settings is not None and settings.llm_state_url != "memory:":
        store = store_of(settings)
        try:
            yield StoreDesk(store, settings)
        finally:
            store.close()
        return
    with _remote(url or DEFAULT_URL, token) as remote:
        if remote.sends_token_openly:
            typer.echo("warning: the token goes over plain HTTP to another machine", err=True)
        yield RemoteDesk(remote)


def _remote(url: str, token: str | None) -> Remote:
    try:
        return Remote(url, token=token)
    except Phase1Error as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _plan_document(found: Plan) -> dict[str, Any]:
    return {
        "steps": [
            {
                "name": step.name,
                "percent": step.percent,
                "min_duration": step.min_duration,
                "min_samples": step.min_samples,
                "max_duration": step.patience,
                "approval": step.approval,
            }
            for step in found.steps
        ],
        "interval": found.interval,
        "alpha": found.alpha,
        "margins": {str(metric): share for metric, share in found.margins.items()},
        "tolerances": {str(metric): share for metric, share in found.tolerances.items()},
        "max_throttled": found.max_throttled,
        "max_tokens": found.max_tokens,
        "silence": found.silence,
    }


def _show_plan(found: Plan) -> None:
    table = _table("percent", "at least", "calls of each arm", "at most", "", "name")
    for step in found.steps:
        last = step is found.steps[-1]
        table.add_row(
            f"{step.percent:g} %",
            "–" if last and not step.compared else _duration(step.min_duration),
            str(step.min_samples) if step.compared else "–",
            "–" if last and not step.compared else _duration(step.patience),
            "approval" if step.approval else "",
            step.name,
        )
    _console().print(table)
    typer.echo(
        f"A healthy canary is rolled back with a chance of at most {found.alpha:.0%}. The percent rises at most once in"
        f" {_duration(found.interval)}."
    )


def _show_status(found: dict[str, Any]) -> None:
    percent = "the settings' percent" if found["percent"] is None else f"{found['percent']:g} %"
    typer.echo(f"rollout {found['phase']}, {percent}{', the kill switch is on' if found['kill'] else ''}")
    if found["problem"]:
        typer.echo(f"problem: {found['problem']}")
    if found["reason"]:
        typer.echo(f"last look: {found['reason']}")
    typer.echo(f"state {found['generation']} of {found['store']}")
    if isinstance(found.get("workers"), list):
        typer.echo(
            f"workers: {', '.join(str(each['generation']) for each in found['workers']) or 'none'} (state applied)"
        )
    if evidence := found["evidence"]:
        _show_evidence(evidence)


def _show_evidence(evidence: dict[str, Any]) -> None:
    failures = evidence["failures"]
    typer.echo(
        f"canary {evidence['n']} calls, {failures['canary']} failed; control {evidence['control_n']} calls,"
        f" {failures['control']} failed; {evidence['blocks']} blocks"
    )
    table = _table("metric", "log e: worse", "log e: not worse", "decides")
    for metric, worse in evidence["log_e"].items():
        table.add_row(
            metric, f"{worse:.2f}", f"{evidence['log_e_promote'][metric]:.2f}", f"{evidence['threshold']:.2f}"
        )
    _console().print(table)


def _show_history(entries: list[dict[str, Any]]) -> None:
    table = _table("when", "state", "who", "from", "to", "why")
    for entry in entries:
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["time"])),
            str(entry["generation"]),
            entry["actor"],
            _place(entry["from"]),
            _place(entry["to"]),
            entry["reason"],
        )
    _console().print(table)


def _place(state: dict[str, Any]) -> str:
    percent = "settings" if state["percent"] is None else f"{state['percent']:g} %"
    return f"{percent} {state['phase']}{' KILL' if state['kill'] else ''}"


def _duration(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = max(_WIDTH, console.width)
    return console
