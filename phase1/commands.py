"""What can be typed after `phase1`? Each command is a few lines over a function elsewhere.

Results go to standard output, all else to standard error. Exit codes: 0 fine, 1 findings or failure, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Final

import typer

from phase1.asgi.trial import start_server
from phase1.chat.replay import open_replay
from phase1.console.commands import add_to
from phase1.exceptions import MissingExtraError, Phase1Error
from phase1.lab.chaos.commands import register as register_chaos
from phase1.lab.commands import register as register_lab
from phase1.lab.demo import Plan, demo
from phase1.lab.offload import offload_demo
from phase1.lab.render import TerminalStage, console_for, show_result
from phase1.lab.result import broken_promises, document
from phase1.offload.command import start_worker
from phase1.patchkit.commands import register as register_patchkit

__all__ = ["app"]

_WELCOME: Final = """\
phase1 {version}: a pool of LLM endpoints inside your own FastAPI or Starlette app, under the OpenAI client that it has.

  phase1 demo           see it: a legacy app and the same app with the pool, measured here, in a minute
  phase1 demo --help    how
  phase1 compare main:app   measure your app with the pool off and on; phase1 stress, phase1 mock: its parts
  phase1 chaos main:app     break what your app depends on, with the pool off and on: a scorecard
  phase1 run main:app   try it on your app, without an edit; further options are uvicorn's
  phase1 replay --help  save the chat turns that the database did not take
  phase1 doctor .       what blocks the event loop of your app; reads only
  phase1 patch .        the edits that put phase1 into it; phase1 revert takes them out
  phase1 init           write .env.phase1, every setting explained; phase1 env shows what is in effect
  phase1 status         how a running app is; phase1 top is the same, live
  phase1 kill           every worker to the old client, at once; phase1 unkill takes it back
  phase1 rollout plan   how the canary grows by itself; phase1 rollout start begins

Then your own app: phase1.install(app, legacy=lambda: llm_client), and ENABLE_LLM_POOL=true. README.md shows the way,
INTEGRATION.md every step and how to take it back."""

_INTERRUPTED: Final = 130

app = typer.Typer(
    help="A pool of LLM endpoints inside an existing FastAPI or Starlette app.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


add_to(app)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Say what to do next when nothing was asked for."""
    if version:
        typer.echo(f"phase1 {version_of('phase1')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(_WELCOME.format(version=version_of("phase1")))


@app.command("demo")
def run_demo(
    *,
    users: Annotated[int, typer.Option(min=1, max=1000, help="Users at once.")] = 20,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Requests of each user.", show_default="2; 1 at a real upstream")
    ] = None,
    latency: Annotated[float, typer.Option(min=0.01, max=60, help="Seconds that the mock upstream takes.")] = 1.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the pooled app; 0: a free one.")] = 0,
    serve: Annotated[bool, typer.Option("--serve", help="Leave the pooled app up, with its debug page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    offload: Annotated[
        bool,
        typer.Option("--offload", help="Show offload instead: resume, stop, a killed worker. With --port and --serve."),
    ] = False,
) -> None:
    """Measure a legacy app against the same app with the pool.

    The upstream is a mock, or the real one if OPENAI_API_KEY or OPENAI_BASE_URL is set. The pooled app is to have no
    timeouts, a mean of at most 1.5 times the upstream's, and ten times the requests per second: if not, the exit code
    is 1.
    """
    if offload:
        raise typer.Exit(_run(_offload(port=port, serve=serve)))
    plan = Plan(users=users, rounds=rounds, latency=latency, port=port)
    raise typer.Exit(_run(_demo(plan, serve=serve, as_json=as_json)))


register_patchkit(app)


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_app(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as uvicorn takes it: main:app")],
) -> None:
    """Try the pool on an app that nobody has edited. All further options are uvicorn's.

    phase1 run main:app --port 8000 --workers 2
    """
    try:
        start_server(target, context.args)
    except MissingExtraError as missing:
        typer.echo(str(missing), err=True)
        raise typer.Exit(2) from missing
    except Phase1Error as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@app.command("replay")
def replay_turns(
    target: Annotated[str, typer.Argument(metavar="MODULE:STORE", help="The app's ChatStore: main:chat_store")],
    file: Annotated[Path | None, typer.Argument(help="The dead-letter file.", show_default="the store's own")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Save the chat turns that the database did not take. Exit code 1: some are still in the file.

    phase1 replay main:chat_store
    """
    raise typer.Exit(_run(_replay(target, file, as_json=as_json)))


async def _replay(target: str, file: Path | None, *, as_json: bool) -> int:
    replay = open_replay(target, file)
    done = await replay.run()
    if as_json:
        typer.echo(json.dumps({"file": str(replay.letters.path), **asdict(done), "left": done.left}))
    else:
        typer.echo(f"{done.saved} saved, {done.failed} failed, {done.unreadable} unreadable: {replay.letters.path}")
    return 1 if done.left else 0


@app.command("worker", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_worker(
    context: typer.Context,
    *,
    queues: Annotated[str, typer.Option(help="What it works on, of: llm, default, feedback, analytics.")] = (
        "llm,default,feedback,analytics"
    ),
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Tasks at once.", show_default="LLM_OFFLOAD_CONCURRENCY; 2 without llm"),
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Let Flower see and steer it.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say whether it could work.")] = False,
) -> None:
    """Run a Celery worker for offloaded chats, after a look at settings and Redis. Further options are Celery's.

    phase1 worker --queues llm --concurrency 64
    """
    try:
        code = start_worker(queues, concurrency, context.args, events=events, check=check)
    except Phase1Error as error:
        typer.echo(str(error) if isinstance(error, MissingExtraError) else f"error: {error}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(code)


async def _offload(*, port: int, serve: bool) -> int:
    stage = TerminalStage(console_for(sys.stderr))
    async with offload_demo(os.environ, typer.echo, port=port) as shown:
        if serve:
            stage.say(f"the app stays up until Ctrl-C; its chat page: {shown.url}")
            with suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
                await asyncio.Event().wait()
        else:
            stage.say("to try it in a browser: phase1 demo --offload --serve")
    return 1 if shown.broken else 0


async def _demo(plan: Plan, *, serve: bool, as_json: bool) -> int:
    stage = TerminalStage(console_for(sys.stderr))
    async with demo(plan, environment=os.environ, stage=stage) as result:
        if as_json:
            typer.echo(json.dumps(document(result), indent=2))
        else:
            show_result(result, console_for(sys.stdout))
        if serve:
            await _serve(stage, result.debug_url)
        else:
            stage.say("to look at the pooled app's debug page: phase1 demo --serve")
    return 1 if broken_promises(result) else 0


async def _serve(stage: TerminalStage, url: str) -> None:
    stage.say(f"the pooled app stays up until Ctrl-C; its debug page: {url}")
    with suppress(asyncio.CancelledError):  # Ctrl-C is how this ends
        await asyncio.Event().wait()


def _run(work: Coroutine[None, None, int]) -> int:
    """Run `work` and turn what stops it into an exit code; by then it has cleaned up."""
    try:
        return asyncio.run(_until_told(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("interrupted", err=True)
        return _INTERRUPTED
    except MissingExtraError as missing:
        typer.echo(str(missing), err=True)
        return 2
    except Phase1Error as error:
        typer.echo(f"error: {error}", err=True)
        return 1


register_lab(app, _run)


async def _until_told(work: Coroutine[None, None, int]) -> int:
    """Let SIGTERM, and a terminal that is closed, cancel `work` as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
    return await work


register_chaos(app, _run)
