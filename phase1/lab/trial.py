"""Does the user's app run here, with the pool off and on, and does it answer what it is going to be asked?

The same app twice, each time a real uvicorn process against an upstream of ours:

    legacy   as it is, `ENABLE_LLM_POOL=false`
    pooled   `ENABLE_LLM_POOL=true`; an app that has no phase1 in it gets it from outside, as `phase1 run` does

Whatever is wrong with an app is said in one line, as a `LabError`, before anybody loads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
from dotenv import dotenv_values

from phase1.asgi.trial import SHIM
from phase1.lab.apps import Upstream
from phase1.lab.complaints import ask_once
from phase1.lab.processes import LabError, Server
from phase1.lab.target import TargetApp

__all__ = ["RunningApp", "Trial", "open_trial"]

_STATUS: Final = "/debug/llm-system"
_SCHEMA: Final = "phase1.llm-system/"
_STARTING: Final = 60.0
_ANSWERING: Final = 60.0
_NODES: Final = ("LLM_NODES", "LLM_NODES_FILE")

_PLAIN: Final = {
    "FORCE_LEGACY_LLM": "false",
    "DISABLE_POOL": "false",
    "EMERGENCY_MODE": "false",
    "LLM_CANARY_PERCENT": "100",
    "LLM_DEBUG_ACCESS": "auto",
    "LLM_STATE_URL": "memory:",
}
"""Switches that would let the pooled app be half a legacy app, or let a trial reach what others share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningApp:
    """The app in a process of its own. `pooled`: the pool is on."""

    target: TargetApp
    server: Server
    pooled: bool

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.server.name

    @property
    def pid(self) -> int:
        """Of its process, which is also its process group."""
        return self.server.process.pid

    @property
    def url(self) -> str:
        """Where its route is."""
        return self.server.url + self.target.ask.route

    async def status(self) -> dict[str, Any] | None:
        """Its `GET /debug/llm-system`; `None` = there is no phase1 in it, or it shows nobody."""
        async with httpx.AsyncClient(base_url=self.server.url, trust_env=False) as client:
            return _status_in(await client.get(_STATUS, headers={"accept": "application/json"}, timeout=_ANSWERING))

    def stop(self) -> None:
        """End the process. Does nothing the second time."""
        self.server.stop()


class Trial:
    """One app, run as often as is wanted; made by `open_trial`."""

    def __init__(
        self,
        target: TargetApp,
        upstream: Upstream,
        *,
        folder: Path,
        environment: Mapping[str, str],
        processes: AsyncExitStack,
    ) -> None:
        self.target = target
        self._upstream = upstream
        self._folder = folder
        self._environment = environment
        self._processes = processes
        self._runs = 0
        self._integrated: bool | None = None

    async def integrated(self) -> bool:
        """Whether phase1 is in the app already: else the pooled one is served through the shim of `phase1 run`."""
        if self._integrated is None:
            app = await self.start(pooled=False)
            app.stop()
        return bool(self._integrated)

    async def start(
        self,
        *,
        pooled: bool,
        settings: Mapping[str, str] | None = None,
        upstream: Upstream | None = None,
        nodes: Sequence[Mapping[str, object]] = (),
        workers: int = 1,
        port: int = 0,
    ) -> RunningApp:
        """A new process of the app, which has begun to serve; it ends with the trial, or by its `stop`.

        `settings`: variables that win over all others; `upstream`: another one than the trial's; `nodes`: the pool's,
        by default the upstream alone; `workers`: more than one make the process a supervisor of so many. Raises
        `LabError` when the app does not import, does not start, or, pooled, has no pool.
        """
        through_shim = pooled and not await self.integrated()
        folder = self._new_folder()
        variables = self._variables(folder, upstream or self._upstream, nodes, pooled=pooled) | dict(settings or {})
        app = self._serve(folder, variables, pooled=pooled, through_shim=through_shim, workers=workers, port=port)
        first = await app.server.answers(_STATUS, timeout=_STARTING, headers={"accept": "application/json"})
        status = _status_in(first)
        if self._integrated is None:
            self._integrated = status is not None
        if pooled:
            _require_pool(app, status)
        return app

    async def check(
        self, app: RunningApp, *, asked: Callable[[], Awaitable[int]] | None = None, timeout: float = _ANSWERING
    ) -> None:
        """Ask `app` once, as user 1. `asked`: how many requests the upstream has had.

        Raises `LabError` in one line: no such route, needs auth, refuses the sample body, fails, is silent, or answers
        without asking the upstream, or, pooled, by the pool.
        """
        before = await asked() if asked else 0
        problem = await self._ask_once(app, timeout)
        if problem:
            raise LabError(problem)
        if asked and await asked() == before:
            raise LabError(
                f"{app.target.ask.route} answered without asking the upstream of the lab: a client with its own"
                " base_url= takes no OPENAI_BASE_URL, and another route may be the one that asks the model (--route)"
            )
        if app.pooled:
            _require_way(app, await app.status())

    async def _ask_once(self, app: RunningApp, timeout: float) -> str | None:
        ask = app.target.ask
        try:
            return await ask_once(app.url, ask, timeout=timeout, last_words=app.server.last_words)
        except httpx.TimeoutException:
            return f"{ask.method} {ask.route} did not answer the sample request within {timeout:g} s"
        except httpx.TransportError as error:
            app.server.require_running()
            return f"{ask.method} {ask.route} broke off the sample request: {type(error).__name__}"

    def _new_folder(self) -> Path:
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        return folder

    def _serve(
        self, folder: Path, variables: Mapping[str, str], *, pooled: bool, through_shim: bool, workers: int, port: int
    ) -> RunningApp:
        target = self.target
        shim = {"PHASE1_APP": target.app, "PHASE1_FACTORY": str(target.factory).lower()}
        server = Server(
            "pooled app" if pooled else "legacy app",
            SHIM if through_shim else target.app,
            folder=folder,
            source=target.folder,
            workdir=target.folder,
            factory=target.factory and not through_shim,
            environment={**variables, **(shim if through_shim else {})},
            workers=workers,
            port=port,
        )
        self._processes.enter_context(server)
        return RunningApp(target=target, server=server, pooled=pooled)

    def _variables(
        self, folder: Path, upstream: Upstream, nodes: Sequence[Mapping[str, object]], *, pooled: bool
    ) -> dict[str, str]:
        own = {name: value for name, value in self._environment.items() if name.upper() not in _NODES}
        direct = ",".join(filter(None, (own.get("NO_PROXY") or own.get("no_proxy"), "127.0.0.1,localhost")))
        provider = {
            "OPENAI_API_KEY": upstream.api_key,
            "OPENAI_BASE_URL": upstream.base_url,
            "LLM_MODEL": own.get("LLM_MODEL") or upstream.model,
            "NO_PROXY": direct,
            "no_proxy": direct,
        }
        switches = {"ENABLE_LLM_POOL": str(pooled).lower(), **_PLAIN}
        alone = {"name": "lab", "base_url": upstream.base_url, "api_key": upstream.api_key}
        return own | provider | switches | self._nodes(folder, nodes or [alone]) | self.target.variables_in(folder)

    def _nodes(self, folder: Path, nodes: Sequence[Mapping[str, object]]) -> dict[str, str]:
        """The nodes in the place where the app has its own: only one may be in use."""
        if "LLM_NODES_FILE" not in self._named_in_file():
            return {"LLM_NODES": json.dumps(nodes)}
        file = folder / "nodes.toml"
        tables = ("".join(f"{name} = {json.dumps(value)}\n" for name, value in node.items()) for node in nodes)
        file.write_text("".join(f"[[nodes]]\n{table}" for table in tables), encoding="utf-8")
        return {"LLM_NODES_FILE": str(file)}

    def _named_in_file(self) -> set[str]:
        file = self.target.folder / ".env.phase1"
        return {name.upper() for name, value in dotenv_values(file).items() if value} if file.is_file() else set()

    def __repr__(self) -> str:
        return f"<Trial of {self.target.app}, {self._runs} runs>"


@asynccontextmanager
async def open_trial(
    target: TargetApp | str, upstream: Upstream, *, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Trial]:
    """Run `target` against `upstream`; with the block every process and every file of it is gone.

    `environment`: what the app inherits, by default that of this process.
    """
    with TemporaryDirectory(prefix="phase1-lab-") as folder:
        async with AsyncExitStack() as processes:
            yield Trial(
                TargetApp.of(target),
                upstream,
                folder=Path(folder),
                environment=os.environ if environment is None else environment,
                processes=processes,
            )


def _status_in(response: httpx.Response) -> dict[str, Any] | None:
    try:
        found = response.json()
    except ValueError:
        return None
    named = isinstance(found, dict) and str(found.get("schema", "")).startswith(_SCHEMA)
    return found if named else None


def _require_way(app: RunningApp, status: dict[str, Any] | None) -> None:
    routes = [] if status is None else status["metrics"]["routes"]
    if not any(row["route"] == "pool" for row in routes):
        raise LabError(
            f"the {app.name} answered {app.target.ask.route}, but not by its pool: no door is where it asks the model"
            " (phase1 doctor . says where that is)"
        )


def _require_pool(app: RunningApp, status: dict[str, Any] | None) -> None:
    if status is None:
        raise LabError(f"the {app.name} has no {_STATUS}: phase1 is not in it")
    if status["mode"] != "pool":
        said = status.get("problem") or f"its mode is {status['mode']}"
        raise LabError(f"the {app.name} runs without its pool: {said}")
