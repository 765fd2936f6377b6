"""`phase1 chaos`: the user's own app against every fault; with `--suite nodes` the pool's own trial on three nodes.

Exit codes: 0 the pool has stood everything, 1 it has not, or the app cannot be tried, 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from phase1.exceptions import ConfigurationError, MissingExtraError, Phase1Error
from phase1.lab.apps import example_app
from phase1.lab.chaos.report import document, text
from phase1.lab.chaos.run import Plan as NodesPlan
from phase1.lab.chaos.run import run_suite
from phase1.lab.chaos.suites import SUITES
from phase1.lab.commands import AsJson, Body, Env, Factory, Header, Method, Route
from phase1.lab.defaults import Wishes, target_of
from phase1.lab.render import TerminalStage, console_for
from phase1.lab.target import TargetApp

__all__ = ["register"]

_LIBRARIES: Final = ("aiohttp", "jinja2", "psutil", "uvicorn")

_EXAMPLE: Final[Mapping[str, Any]] = {
    "headers": ["Authorization: Bearer demo-{user}"],
    "env": {"DATABASE_URL": "sqlite:///{folder}/example.sqlite3", "RATE_LIMIT": "0"},
}
"""What the example app needs to be asked: its users have tokens, and nobody is held back."""

Run = Callable[[Coroutine[None, None, int]], int]
App = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE:APP]", help="The app, as uvicorn takes it.", show_default="the example app"),
]
Suite = Annotated[
    str, typer.Option(help=f"Which faults: all, provider, client, worker; or {', '.join(SUITES)}, without an app.")
]
Cases = Annotated[list[str] | None, typer.Option("--case", help="Only this fault of the suite. May be repeated.")]
Users = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Users at once.", show_default="20; 50 with --suite nodes")
]
Seconds = Annotated[
    float | None,
    typer.Option(min=0.5, max=600, help="Seconds that a fault goes on.", show_default="6; 5 with --suite nodes"),
]
Deadline = Annotated[float, typer.Option(min=2, max=120, help="Seconds within which everybody is to hear something.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", dir_okay=False, help="Write the scorecard as one HTML file that needs no other."),
]


def register(app: typer.Typer, run: Run) -> None:
    """Give `app` the command; `run` does what is to be done, and turns what stops it into an exit code."""

    @app.command("chaos")
    def run_chaos(
        target: App = None,
        *,
        suite: Suite = "all",
        case: Cases = None,
        route: Route = "",
        method: Method = "",
        header: Header = None,
        body: Body = "",
        env: Env = None,
        factory: Factory = False,
        users: Users = None,
        seconds: Seconds = None,
        deadline: Deadline = 10.0,
        html: Html = None,
        as_json: AsJson = False,
    ) -> None:
        """Break what your app depends on, on this machine, with its pool off and on.

        The app runs in real uvicorn processes against endpoints of this command's own, while users ask it: every fault
        of a provider, clients that hang up in crowds, a loop that is held, a worker that is killed. It passes when
        everybody is answered or honestly refused within the deadline, other routes answer, nothing is left behind, and
        everybody is answered again afterwards. The exit code is 1 when it fails with its pool on.

        \b
        phase1 chaos
        phase1 chaos main:app --route /ask --body '{"q": "hello"}' --header "Authorization: Bearer abc"
        phase1 chaos main:app --suite worker --html scorecard.html
        phase1 chaos --suite nodes
        """  # noqa: D301 - click reads the backspace as "do not wrap"
        try:
            if suite in SUITES:
                _require_no_app(suite, target, html)
                work = _nodes(suite, NodesPlan(users=users or 50, seconds=seconds or 5.0), as_json=as_json)
            else:
                wishes = Wishes(
                    route=route, method=method, headers=header or (), body=body, env=env or (), factory=factory
                )
                named = target_of(target, wishes) if target else _example(wishes)
                plan = (users or 20, seconds or 6.0, deadline)
                work = _app(named, suite, case or [], plan, html, as_json=as_json)
        except Phase1Error as error:
            raise _refused(error) from error
        raise typer.Exit(run(work))


def _refused(error: Phase1Error) -> typer.Exit:
    typer.echo(str(error) if isinstance(error, MissingExtraError) else f"error: {error}", err=True)
    return typer.Exit(2)


def _example(wishes: Wishes) -> TargetApp:
    """The example app, wherever it is installed."""
    return target_of("legacy_main:app", wishes, folder=example_app().parent, project=_EXAMPLE)


def _require_no_app(suite: str, target: str | None, html: Path | None) -> None:
    if target is not None:
        raise ConfigurationError(f"{target}: --suite {suite} is played without an app")
    if html is not None:
        raise ConfigurationError(f"--html: --suite {suite} has no page")


async def _nodes(suite: str, plan: NodesPlan, *, as_json: bool) -> int:
    stage = TerminalStage(console_for(sys.stderr))
    outcomes = await run_suite(suite, plan, tell=lambda one: stage.say(f"{one.name}: {one.requests} requests"))
    result = document(suite, plan, outcomes)
    typer.echo(json.dumps(result, indent=2) if as_json else text(result))
    return 0 if result["kept"] else 1


def _app(
    target: TargetApp,
    suite: str,
    names: list[str],
    plan: tuple[int, float, float],
    html: Path | None,
    *,
    as_json: bool,
) -> Coroutine[None, None, int]:
    """What is to be done; whatever can be refused at once is refused here."""
    if not all(map(find_spec, _LIBRARIES)):
        raise MissingExtraError("phase1 chaos", "lab")
    from phase1.lab.chaos.cases import chosen  # noqa: PLC0415 - needs the extra
    from phase1.lab.chaos.scene import Plan  # noqa: PLC0415 - likewise
    from phase1.lab.chaos.session import show_cases  # noqa: PLC0415 - likewise

    users, seconds, deadline = plan
    if html is not None and not html.resolve().parent.is_dir():
        raise ConfigurationError(f"--html {html}: there is no directory {html.parent}")
    return show_cases(
        replace(target, variables={"OPENAI_TIMEOUT": f"{deadline:g}", **target.variables}),
        chosen(suite, names),
        Plan(users=users, seconds=seconds, deadline=deadline),
        suite=suite,
        html=html,
        as_json=as_json,
    )
