"""Which calls ask a model while the event loop waits? From each route down to the SDK, through every frame between.

A *frame* is an `async def` that runs on the loop. A *site* is the one place in it below which everything is
synchronous: the call, or the `for`, that an edit has to change.
"""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from phase1.patchkit.annotations import with_defaults
from phase1.patchkit.flow import Flow
from phase1.patchkit.libraries import Ask, ask, is_stream
from phase1.patchkit.routes import Route
from phase1.patchkit.scopes import Class, Function
from phase1.patchkit.standard import consumes
from phase1.patchkit.values import External, Generator, Instance, Made, Origin, Value

__all__ = ["Frames", "Leaf", "Reached", "Site"]

_WORKER: Final = "thread"  # neither on the loop nor in a frame: threads, executors, `def` endpoints


@dataclass(frozen=True, slots=True)
class Leaf:
    """A call that asks a model."""

    function: Function
    call: ast.Call
    ask: Ask
    origins: frozenset[Origin]
    awaited: bool = False

    @property
    def place(self) -> tuple[str, int]:
        """(file, line)."""
        return self.function.source.name, self.call.lineno

    @property
    def text(self) -> str:
        """As it is written, without the arguments."""
        return ast.unparse(self.call.func)


@dataclass(frozen=True, slots=True)
class Reached:
    """A leaf below a site, with the synchronous functions between."""

    leaf: Leaf
    through: tuple[Function, ...]


@dataclass(slots=True)
class Site:
    """The topmost synchronous call below the last async frame."""

    frame: Function
    node: ast.expr | ast.For
    reached: list[Reached]
    route: Route
    frames: tuple[Function, ...]  # from the route to `frame`
    routes: list[Route] = field(default_factory=list)
    is_hidden: bool = False  # no call: a `with`, a comprehension


Edge: TypeAlias = tuple[str, Function, ast.AST]  # "async" | "sync" | "thread"


class Frames:
    """What the routes reach. `sites` block; `awaited` and `offloaded` leaves do not."""

    def __init__(self, flow: Flow, routes: list[Route]) -> None:
        self._flow = flow
        self._edges: dict[Function, list[Edge]] = {}
        self._leaves: dict[Function, list[Leaf]] = {}
        self.sites: dict[int, Site] = {}
        self.harmless: list[Leaf] = []  # awaited, or reached in a thread only
        self._parents: dict[Function, tuple[Function | None, Route]] = {}
        self._threads: set[Function] = set()
        self.dependencies: set[Function] = set()  # what FastAPI calls before a route
        for route in routes:
            self._enter_route(route)

    # --- what the routes reach ----------------------------------------------------------------------------------------

    def _enter_route(self, route: Route) -> None:
        if route.framework == "flask":
            self._visit_thread(route.function, route)
            return
        dependencies = list(self._dependencies(route.function))
        self.dependencies.update(dependencies)
        for function in (*dependencies, route.function):
            if function.is_async:
                self._visit_frame(function, None, route)
            else:
                self._visit_thread(function, route)

    def _dependencies(self, function: Function, seen: frozenset[Function] = frozenset()) -> Iterator[Function]:
        """What FastAPI calls before `function`, first what the dependencies themselves depend on."""
        for parameter, default in with_defaults(function.arguments):
            for target in self._flow.dependency(parameter, default, function):
                for called in self._functions_of(target):
                    if called not in seen:
                        yield from self._dependencies(called, seen | {called})
                        yield called

    def _visit_frame(self, function: Function, parent: Function | None, route: Route) -> None:
        todo: deque[tuple[Function, Function | None]] = deque([(function, parent)])
        while todo:
            frame, above = todo.popleft()
            if frame in self._parents:
                self._add_route(frame, route)
                continue
            self._parents[frame] = (above, route)
            self._look_at(frame, route)
            todo.extend((below, frame) for below in self._started_by(frame, route))

    def _add_route(self, frame: Function, route: Route) -> None:
        for site in self.sites.values():
            if site.frame is frame and route not in site.routes:
                site.routes.append(route)

    def _started_by(self, frame: Function, route: Route) -> Iterator[Function]:
        """The async frames that `frame` starts, also through synchronous functions."""
        todo, seen = [frame], {frame}
        while todo:
            for kind, target, _ in self.edges(todo.pop()):
                if kind == "async":
                    yield target
                elif kind == _WORKER:
                    self._visit_thread(target, route)
                elif target not in seen:
                    seen.add(target)
                    todo.append(target)

    def _visit_thread(self, function: Function, route: Route) -> None:
        todo = [function]
        while todo:
            here = todo.pop()
            if here in self._threads:
                continue
            self._threads.add(here)
            self.harmless += self.leaves(here)
            for kind, target, _ in self.edges(here):
                if kind == "async" and target.yields:
                    self._visit_frame(target, None, route)  # a stream for the response is read on the loop
                else:
                    todo.append(target)  # an `async def` in a thread has a loop of its own

    def _look_at(self, frame: Function, route: Route) -> None:
        for leaf in self.leaves(frame):
            if leaf.ask.blocks:
                self._site(frame, leaf.call, [Reached(leaf, ())], route)
            else:
                self.harmless.append(leaf)
        for kind, target, node in self.edges(frame):
            if kind != "sync":
                continue
            if isinstance(node, ast.comprehension | ast.withitem):
                place = node.iter if isinstance(node, ast.comprehension) else node.context_expr
                self._site(frame, place, self._below(target), route, is_hidden=True)
            elif isinstance(node, ast.Call | ast.For):
                self._site(frame, node, self._below(target), route)
        for loop, leaves in self._loops(frame):
            self._site(frame, loop, [Reached(leaf, ()) for leaf in leaves], route)

    def _site(
        self,
        frame: Function,
        node: ast.expr | ast.For,
        reached: list[Reached],
        route: Route,
        *,
        is_hidden: bool = False,
    ) -> None:
        if not reached:
            return
        site = self.sites.get(id(node))
        if site is None:
            site = self.sites[id(node)] = Site(frame, node, [], route, self._frames_to(frame), [route], is_hidden)
        known = {id(one.leaf.call) for one in site.reached}
        site.reached += [one for one in reached if id(one.leaf.call) not in known]

    def _frames_to(self, frame: Function) -> tuple[Function, ...]:
        chain, here = [frame], self._parents[frame][0]
        while here is not None:
            chain.append(here)
            here = self._parents[here][0]
        return tuple(reversed(chain))

    def _below(self, function: Function) -> list[Reached]:
        """The blocking leaves that a call of `function` reaches, each by its shortest way."""
        found: dict[int, Reached] = {}
        todo: deque[tuple[Function, tuple[Function, ...]]] = deque([(function, (function,))])
        seen = {function}
        while todo:
            here, way = todo.popleft()
            for leaf in self.leaves(here):
                if leaf.ask.blocks:
                    found.setdefault(id(leaf.call), Reached(leaf, way))
            for kind, target, _ in self.edges(here):
                if kind == "sync" and target not in seen:
                    seen.add(target)
                    todo.append((target, (*way, target)))
        return list(found.values())

    def _loops(self, frame: Function) -> Iterator[tuple[ast.For, list[Leaf]]]:
        """`for chunk in stream` on the loop, with the calls in this frame or elsewhere that opened the stream."""
        for node in frame.nodes:
            if isinstance(node, ast.For):
                values = self._flow.values(node.iter, frame)
                if any(isinstance(value, External) and is_stream(value.path) for value in values):
                    yield node, self._openers(frame, node)

    def _openers(self, frame: Function, loop: ast.For) -> list[Leaf]:
        streams = [leaf for leaf in self.leaves(frame) if leaf.ask.blocks and leaf.call.lineno <= loop.body[0].lineno]
        below = [one.leaf for kind, target, _ in self.edges(frame) if kind == "sync" for one in self._below(target)]
        return [leaf for leaf in (*streams, *below) if self._opens_stream(leaf)]

    def _opens_stream(self, leaf: Leaf) -> bool:
        values = self._flow.values(leaf.call, leaf.function)
        return any(isinstance(value, External) and is_stream(value.path) for value in values)

    # --- what one function does ---------------------------------------------------------------------------------------

    def leaves(self, function: Function) -> list[Leaf]:
        """The calls in `function` itself that ask a model."""
        if function not in self._leaves:
            calls = [node for node in function.nodes if isinstance(node, ast.Call)]
            self._leaves[function] = [leaf for call in calls if (leaf := self._leaf(function, call)) is not None]
        return self._leaves[function]

    def _leaf(self, function: Function, call: ast.Call) -> Leaf | None:
        asks: dict[Ask, set[Origin]] = {}
        for value in self._flow.values(call.func, function):
            if isinstance(value, External) and (found := ask(value.path)) is not None:
                asks.setdefault(found, set()).update({value.origin} if value.origin else ())
        if not asks:
            return None
        awaited = _is_awaited(call, function)
        wanted = [one for one in asks if one.blocks is not awaited] or list(asks)
        origins = frozenset(origin for found in asks.values() for origin in found)
        return Leaf(function, call, wanted[0], origins, awaited)

    def edges(self, function: Function) -> list[Edge]:
        """What `function` runs: on the loop as a coroutine, right here, or in a thread."""
        if function not in self._edges:
            self._edges[function] = list(dict.fromkeys(self._find_edges(function)))
        return self._edges[function]

    def _find_edges(self, function: Function) -> Iterator[Edge]:
        for node in function.nodes:
            match node:
                case ast.Call():
                    yield from self._edges_of_call(node, function)
                case ast.For(iter=iterated) | ast.YieldFrom(value=iterated) | ast.comprehension(iter=iterated):
                    yield from self._iterates(iterated, node, function)
                case ast.withitem(context_expr=iterated):
                    yield from self._iterates(iterated, node, function)
                case _:
                    pass

    def _iterates(self, expression: ast.expr, node: ast.AST, function: Function) -> Iterator[Edge]:
        for value in self._flow.values(expression, function):
            if isinstance(value, Generator) and not value.of.is_async:
                yield "sync", value.of, node

    def _edges_of_call(self, call: ast.Call, function: Function) -> Iterator[Edge]:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "join":
            for argument in call.args:
                yield from self._iterates(argument, call, function)
        for target in self._flow.values(call.func, function):
            if isinstance(target, External):
                yield from self._edges_of_external(target.path, call, function)
            for called in self._functions_of(target):
                if called.is_async:
                    yield "async", called, call
                elif not called.yields:
                    yield "sync", called, call

    def _functions_of(self, target: Value) -> Iterator[Function]:
        match target:
            case Made(of=Function() as function):
                yield function
                yield from self._flow.overrides(function)
            case Made(of=Class() as cls):
                for name in ("__init__", "__post_init__"):
                    for method in self._flow.attribute(Instance(cls), name):
                        if isinstance(method, Made) and isinstance(method.of, Function):
                            yield method.of
            case Instance():
                for method in self._flow.attribute(target, "__call__"):
                    if isinstance(method, Made) and isinstance(method.of, Function):
                        yield method.of
            case _:
                pass

    def _edges_of_external(self, path: str, call: ast.Call, function: Function) -> Iterator[Edge]:
        if consumes(path):
            for argument in call.args:
                yield from self._iterates(argument, call, function)
        kind = "sync" if path in {"builtins.map", "builtins.filter"} else _WORKER
        for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
            for value in self._flow.values(argument, function):
                if isinstance(value, Made) and isinstance(value.of, Function):
                    yield "async" if value.of.is_async else kind, value.of, call


def _is_awaited(node: ast.AST, function: Function) -> bool:
    """`await f()`, `async with f()`, `async for … in f()`."""
    around = function.outer.get(id(node))
    match around:
        case ast.Await() | ast.AsyncFor():
            return True
        case ast.withitem():
            return isinstance(function.outer.get(id(around)), ast.AsyncWith)
        case _:
            return False
