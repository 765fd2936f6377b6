"""`phase1 mock`, `phase1 compare`, `phase1 stress`: each a few lines over a function elsewhere.

Exit codes: 0 fine, 1 findings or failure, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit, urlunsplit

import typer
from rich.console import Console

from phase1.exceptions import ConfigurationError, MissingExtraError
from phase1.lab.apps import Upstream as Endpoint
from phase1.lab.compare import Plan, compare_app
from phase1.lab.defaults import Wishes, ask_of, target_of
from phase1.lab.document import document
from phase1.lab.mock.server import serve_fast, serve_llmock
from phase1.lab.processes import LabError
from phase1.lab.render import TerminalStage, console_for, show_comparison, show_stress
from phase1.lab.stress import StressPlan, require_local, stress_app, stress_url
from phase1.lab.target import Ask

__all__ = ["register"]

_LIBRARIES: Final = ("aiohttp", "jinja2", "llmock", "psutil", "uvicorn")

App = Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as uvicorn takes it: main:app")]
AppOrUrl = Annotated[str, typer.Argument(metavar="MODULE:APP|URL", help="An app, or where one runs already.")]
Route = Annotated[str, typer.Option(help="What is asked.", show_default="/chat")]
Method = Annotated[str, typer.Option(help="How.", show_default="POST")]
Header = Annotated[
    list[str] | None,
    typer.Option("--header", help='"Name: value", as often as needed; {user} is the number of a user.'),
]
Body = Annotated[str, typer.Option(help="JSON, or @file, or - for none.", show_default='{"message": "What is …"}')]
Env = Annotated[
    list[str] | None, typer.Option("--env", help="NAME=VALUE for the app; {folder} is a directory of one run.")
]
Factory = Annotated[bool, typer.Option("--factory", help="APP makes the app.")]
Upstream = Annotated[str, typer.Option(help="The URL of an upstream of your own, such as phase1 mock.")]
Remote = Annotated[bool, typer.Option("--allow-remote", help="Also if it is not on this machine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Out = Annotated[Path | None, typer.Option(help="Write the JSON document there.")]
Html = Annotated[Path | None, typer.Option(help="Write a report with plots there, one file.")]
Timeout = Annotated[float | None, typer.Option(min=0.01, max=600, help="Seconds after which a user gives up.")]
Latency = Annotated[float, typer.Option(min=0.001, max=60, help="Seconds that the mock upstream takes.")]
Rate = Annotated[float | None, typer.Option(min=0.1, max=50_000, help="Arrivals per second (open loop).")]

_Run = Callable[[Coroutine[None, None, int]], int]


def register(app: typer.Typer, run: _Run) -> None:
    """Give `app` the three commands; `run` turns a coroutine into an exit code."""
    app.command("mock", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run_mock)

    @app.command("compare")
    def run_compare(
        app: App,
        *,
        users: Annotated[int, typer.Option(min=1, max=5000, help="Users at once.")] = 20,
        duration: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds of each load and side.")] = 60.0,
        rounds: Annotated[int, typer.Option(min=1, max=20, help="Off and on take turns so often.")] = 2,
        latency: Latency = 2.0,
        timeout: Timeout = None,
        rate: Rate = None,
        burst: Annotated[int, typer.Option(min=1, max=5000, help="Requests at once.")] = 50,
        loads: Annotated[str, typer.Option(help="Of users, arrivals and burst.")] = "users,arrivals,burst",
        route: Route = "",
        method: Method = "",
        header: Header = None,
        body: Body = "",
        env: Env = None,
        factory: Factory = False,
        upstream: Upstream = "",
        allow_remote: Remote = False,
        as_json: AsJson = False,
        out: Out = None,
        html: Html = None,
    ) -> None:
        """Measure your app with the pool off and on, in turns, under three loads.

        users: each asks again after the answer; arrivals: requests come at a steady rate, whatever is answered; burst:
        all at once. Without --upstream a mock on this machine answers. The exit code is 1 if with the pool users are
        left without an answer, or wait longer than without it.

        pyproject.toml may say the rest: [tool.phase1.lab."main:app"] with route, headers, body, env.
        """
        wishes = Wishes(route=route, method=method, headers=header or (), body=body, env=env or (), factory=factory)

        async def work() -> int:
            plan = Plan(
                users=users,
                duration=duration,
                rounds=rounds,
                latency=latency,
                timeout=timeout,
                rate=rate,
                burst=burst,
                kinds=tuple(name.strip() for name in loads.split(",")),
            )
            _require_writable(out, html)
            target = target_of(app, wishes)
            there = _upstream(upstream, allow_remote=allow_remote)
            result = document(await compare_app(target, plan, upstream=there, stage=_stage()))
            _hand_out(result, as_json=as_json, out=out, html=html, show=show_comparison)
            return 0 if result["kept"] else 1

        raise typer.Exit(_checked("phase1 compare", work, run))

    @app.command("stress")
    def run_stress(
        target: AppOrUrl,
        *,
        users: Annotated[int, typer.Option(min=1, max=5000, help="Users at once.")] = 20,
        duration: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds.")] = 60.0,
        rate: Rate = None,
        timeout: Annotated[float, typer.Option(min=0.01, max=600, help="Seconds after which a user gives up.")] = 30.0,
        latency: Latency = 0.5,
        pool: Annotated[bool, typer.Option(help="With the pool on, or off.")] = True,
        min_success: Annotated[float, typer.Option(min=0, max=1, help="Less than this share: exit code 1.")] = 0.99,
        max_p95: Annotated[float | None, typer.Option(min=0, help="A p95 of more seconds: exit code 1.")] = None,
        route: Route = "",
        method: Method = "",
        header: Header = None,
        body: Body = "",
        env: Env = None,
        factory: Factory = False,
        upstream: Upstream = "",
        allow_remote: Remote = False,
        as_json: AsJson = False,
        out: Out = None,
        html: Html = None,
    ) -> None:
        """Put load on your app, or on a server that runs already.

        \b
        phase1 stress main:app --users 100
        phase1 stress http://127.0.0.1:8000/chat --rate 200 --max-p95 1.5
        """  # noqa: D301 - click reads the backspace as "do not wrap"
        wishes = Wishes(route=route, method=method, headers=header or (), body=body, env=env or (), factory=factory)

        async def work() -> int:
            plan = StressPlan(
                users=users,
                duration=duration,
                rate=rate,
                timeout=timeout,
                latency=latency,
                least_success=min_success,
                most_p95=max_p95,
            )
            _require_writable(out, html)
            if "://" in target:
                url, ask = _asked(target, wishes)
                result = await stress_url(url, ask, plan, allow_remote=allow_remote, stage=_stage())
            else:
                there = _upstream(upstream, allow_remote=allow_remote)
                result = await stress_app(target_of(target, wishes), plan, pooled=pool, upstream=there, stage=_stage())
            _hand_out(result, as_json=as_json, out=out, html=html, show=show_stress)
            return 0 if result["kept"] else 1

        raise typer.Exit(_checked("phase1 stress", work, run))


def run_mock(
    context: typer.Context,
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 4010,
    host: Annotated[str, typer.Option(help="The address it listens on.")] = "127.0.0.1",
    latency: Latency = 0.5,
    fast: Annotated[bool, typer.Option("--fast", help="Ready-made bytes instead of llmock: for load.")] = False,
    events: Annotated[int, typer.Option(min=2, max=100_000, help="Of a stream, with --fast.")] = 50,
    interval: Annotated[float, typer.Option(min=0, max=10, help="Seconds between two, with --fast.")] = 0.0,
) -> None:
    """Serve a mock of OpenAI's API, until Ctrl-C. All further options are llmock's.

    \b
    phase1 mock --latency 2
    phase1 mock --error-rate 503=0.05 --stream-fault stall=0.1
    phase1 mock --fast
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    _require_libraries("phase1 mock")
    if fast and context.args:
        typer.echo(f"error: {context.args[0]}: --fast knows no further options", err=True)
        raise typer.Exit(2)
    typer.echo(f"OPENAI_BASE_URL=http://{host}:{port}/v1\nOPENAI_API_KEY=mock")
    if fast:
        serve_fast(host=host, port=port, latency=latency, events=events, interval=interval)
    else:
        serve_llmock(host=host, port=port, latency=latency, options=context.args)


def _checked(command: str, work: Callable[[], Coroutine[None, None, int]], run: _Run) -> int:
    """Run it, unless a library is missing; what was asked for wrongly is exit code 2."""
    _require_libraries(command)

    async def checked() -> int:
        try:
            return await work()
        except ConfigurationError as error:
            typer.echo(f"error: {error}", err=True)
            return 2

    return run(checked())


def _require_libraries(command: str) -> None:
    if not all(map(find_spec, _LIBRARIES)):
        typer.echo(str(MissingExtraError(command, "lab")), err=True)
        raise typer.Exit(2)


def _asked(url: str, wishes: Wishes) -> tuple[str, Ask]:
    """The URL with its route, and what is asked there."""
    parts = urlsplit(url)
    route = wishes.route or (parts.path if parts.path.strip("/") else "")
    ask = ask_of(replace(wishes, route=route), {})
    return urlunsplit(parts._replace(path=ask.route, fragment="")), ask


def _upstream(url: str, *, allow_remote: bool) -> Endpoint | None:
    if not url:
        return None
    require_local(url, allow_remote=allow_remote)
    key = os.environ.get("OPENAI_API_KEY") or "mock"
    return Endpoint(base_url=url.rstrip("/"), api_key=key, mock=False)


def _stage() -> TerminalStage:
    return TerminalStage(console_for(sys.stderr))


def _hand_out(
    result: dict[str, Any],
    *,
    as_json: bool,
    out: Path | None,
    html: Path | None,
    show: Callable[[dict[str, Any], Console], None],
) -> None:
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result, console_for(sys.stdout))
    if out:
        _write(out, json.dumps(result, indent=1) + "\n")
    if html:
        from phase1.lab.report import page  # noqa: PLC0415 - needs jinja2

        _write(html, page(result))


def _require_writable(*files: Path | None) -> None:
    """Before the load, not after it. Raises `ConfigurationError`."""
    for file in filter(None, files):
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise ConfigurationError(f"{file} cannot be written")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(f"written: {file}", err=True)
