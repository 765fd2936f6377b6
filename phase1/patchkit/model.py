"""The whole app, read once: its files, the values of its names, its routes, and what they reach. Rules look at it."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.flow import Flow
from phase1.patchkit.frames import Frames, Leaf, Reached, Site
from phase1.patchkit.libraries import Family
from phase1.patchkit.modules import Modules
from phase1.patchkit.routes import App, Route, apps_in, routes_in
from phase1.patchkit.scopes import Scope
from phase1.patchkit.tree import Progress, Source, Tree, read_tree
from phase1.patchkit.values import External, Origin

if TYPE_CHECKING:
    from phase1.patchkit.recipe import Recipe

__all__ = ["Client", "Model", "Target", "read_app"]


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for: a directory or file, or one app in it (`main:app`)."""

    root: Path
    module: str | None = None
    app: str | None = None

    @classmethod
    def parse(cls, text: str, folder: Path) -> Target:
        """`PATH`, or `MODULE:APP` as uvicorn takes it, below `folder`. Raises `PatchkitError` for neither."""
        if (folder / text).exists():
            return cls(folder / text)
        module, colon, app = text.partition(":")
        if not colon or not all(part.isidentifier() for part in (*module.split("."), *app.split("."))):
            raise PatchkitError(f"{text!r}: there is no such file or directory, and it is no MODULE:APP")
        return cls(folder, module, app)


@dataclass(frozen=True, slots=True)
class Client:
    """A client's construction."""

    origin: Origin
    scope: Scope
    call: ast.Call


class Model:
    """What the rules look at."""

    def __init__(self, tree: Tree, target: Target) -> None:
        self.tree = tree
        self.target = target
        self._modules = Modules(tree)
        self.flow = Flow(self._modules.related(), self._modules)
        self.apps = self._apps()
        self.routes = self._routes()
        self.frames = Frames(self.flow, self.routes)

    @property
    def sites(self) -> list[Site]:
        """Where the loop waits, in the order of the files."""
        return sorted(self.frames.sites.values(), key=lambda site: (site.frame.source.name, *_place(site)))

    @property
    def leaves(self) -> list[Leaf]:
        """All calls of models that a route reaches, blocking or not."""
        below = [reached.leaf for site in self.sites for reached in site.reached]
        return list({id(leaf.call): leaf for leaf in (*below, *self.frames.harmless)}.values())

    @cached_property
    def clients(self) -> dict[Origin, Client]:
        """The constructions of clients that are reached."""
        wanted = {origin for leaf in self.leaves for origin in leaf.origins}
        found: dict[Origin, Client] = {}
        for scope in self.flow.scopes:
            for node in scope.nodes:
                if isinstance(node, ast.Call):
                    origin = Origin(scope.source.name, node.lineno, node.col_offset)
                    if origin in wanted:
                        known = found.get(origin)
                        if known is None or _is_inner(node, known.call):
                            found[origin] = Client(origin, scope, node)
        return found

    @property
    def is_installed(self) -> bool:
        """Whether the app has `phase1.install`, the middleware or the lifespan already."""
        return bool(self._names_of_ours & {"phase1.install", "phase1.lifespan", "phase1.Phase1Middleware"})

    @property
    def uses_phase1(self) -> bool:
        """Whether a call or a client of the app goes through phase1 already."""
        return bool(self._names_of_ours & {"phase1.adopt", "phase1.call", "phase1.iterate"})

    @cached_property
    def _names_of_ours(self) -> set[str]:
        return {
            value.path
            for scope in self.flow.scopes
            if "phase1" in scope.source.text
            for node in scope.nodes
            if isinstance(node, ast.Attribute | ast.Name)
            for value in self.flow.values(node, scope)
            if isinstance(value, External) and value.path.startswith("phase1.")
        }

    @cached_property
    def recipe(self) -> Recipe | None:
        """The steps for an app of the kind of `examples/legacy_main.py`."""
        from phase1.patchkit.recipe import recipe_of  # noqa: PLC0415 - it looks at the model

        return recipe_of(self)

    def module_of(self, node: ast.ImportFrom, scope: Scope) -> Scope | None:
        """The module that a `from … import` names, if it is in the tree."""
        source = self._modules.resolve(scope.source, node.module or "", node.level)
        return None if source is None else self.flow.module(source)

    @property
    def has_several_apps(self) -> bool:
        """Whether one would have to be named."""
        return len(self.apps) > 1

    def chain_of(self, site: Site, reached: Reached) -> Iterator[tuple[str, str, int]]:
        """Each function from the route to the call, and the call."""
        for function in (*site.frames, *reached.through):
            yield f"{function.name}()", function.source.name, function.line
        yield reached.leaf.text, *reached.leaf.place

    def uses(self, origin: Origin) -> Iterator[tuple[Site, Reached]]:
        """Where the loop waits for this client."""
        for site in self.sites:
            yield from ((site, reached) for reached in site.reached if origin in reached.leaf.origins)

    def pools(self, origin: Origin) -> bool:
        """Whether it is a client of the OpenAI SDK that something else than Assistants uses."""
        return any(origin in leaf.origins and leaf.ask.family is Family.OPENAI for leaf in self.leaves)

    def _apps(self) -> list[App]:
        found = [app for app in apps_in(self.flow) if not _is_test(app.scope.source)]
        wanted = self._target_module()
        if wanted is not None:
            name = (self.target.app or "").partition(".")[0]
            named = [app for app in found if app.scope.source is wanted and app.name == name]
            if not named:
                raise PatchkitError(f"{wanted.name}: there is no app {name!r} (FastAPI() or Starlette())")
            return named
        mounted = {name for scope in self.flow.scopes for name in _mounted(scope)}
        return [app for app in found if app.name is None or (app.scope.source.name, app.name) not in mounted]

    def _target_module(self) -> Source | None:
        if self.target.module is None:
            return None
        path = self.target.module.replace(".", "/")
        for name in (f"{path}.py", f"{path}/__init__.py"):
            if name in self.tree.sources:
                return self.tree.sources[name]
        raise PatchkitError(f"{self.target.module}: there is no such module below {self.tree.root}")

    def _routes(self) -> list[Route]:
        found = [route for route in routes_in(self.flow) if not _is_test(route.function.source)]
        wanted = self._target_module()
        if wanted is None:
            return found
        reachable = self._modules.reachable(wanted)
        return [route for route in found if route.function.source.name in reachable]


def read_app(target: Target, progress: Progress | None = None) -> Model:
    """Read everything below the target. Raises `PatchkitError` if it is not there."""
    with _uncollected():
        return Model(read_tree(target.root, progress), target)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of nodes are made and kept: looking through them for garbage again and again takes half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _place(site: Site) -> tuple[int, int]:
    return site.node.lineno, site.node.col_offset


def _is_inner(node: ast.Call, other: ast.Call) -> bool:
    """`OpenAI(...).with_options(...)` begins where `OpenAI(...)` does; the client is the inner one."""
    return (node.end_lineno or 0, node.end_col_offset or 0) < (other.end_lineno or 0, other.end_col_offset or 0)


def _is_test(source: Source) -> bool:
    parts = source.name.split("/")
    return parts[-1].startswith("test_") or parts[-1] == "conftest.py" or "tests" in parts[:-1]


def _mounted(scope: Scope) -> Iterator[tuple[str, str]]:
    for node in scope.nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr="mount"), args=[_, ast.Name(id=name), *_]):
                yield scope.source.name, name
            case _:
                pass
