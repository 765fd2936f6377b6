"""Why should a person look before a blocking call is moved off the loop?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from phase1.patchkit.frames import Site
from phase1.patchkit.libraries import is_threading_lock
from phase1.patchkit.model import Model
from phase1.patchkit.scopes import Function, Scope
from phase1.patchkit.values import External

__all__ = ["Hazard", "hazards_of", "is_under_lock"]

_CHANGES: Final = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert"}
    | {"pop", "popitem", "popleft", "remove", "setdefault", "update"}
)
_SESSIONS: Final = frozenset({"db", "db_session", "session"})


@dataclass(frozen=True, slots=True)
class Hazard:
    """A reason. `stops`: no edit is made at all."""

    reason: str
    stops: bool


def hazards_of(model: Model, site: Site) -> Iterator[Hazard]:
    """All reasons at `site`."""
    functions = _functions(site)
    yield from _of_place(site)
    yield from _of_sessions(site, functions)
    yield from _of_loop(model, functions)
    yield from _of_state([site.frame, *functions])
    if site.frame in model.frames.dependencies:
        yield Hazard(f"{site.frame.name}() is a dependency: other routes may use it too", stops=False)


def is_under_lock(model: Model, site: Site) -> str | None:
    """The lock that is held while the model answers, as it is written."""
    held = _lock_around(model, site.node, site.frame)
    if held is not None:
        return held
    for function in _functions(site):
        for node in function.nodes:
            if isinstance(node, ast.Call) and (held := _lock_around(model, node, function)) is not None:
                return held
    return None


def _functions(site: Site) -> list[Function]:
    """The synchronous functions below the site."""
    return list(dict.fromkeys(function for reached in site.reached for function in reached.through))


def _lock_around(model: Model, node: ast.AST, scope: Scope) -> str | None:
    for around in _around(node, scope):
        if isinstance(around, ast.With):
            for item in around.items:
                values = model.flow.values(item.context_expr, scope)
                if any(isinstance(value, External) and is_threading_lock(value.path) for value in values):
                    return ast.unparse(item.context_expr)
    return None


def _around(node: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    here = scope.outer.get(id(node))
    while here is not None:
        yield here
        here = scope.outer.get(id(here))


def _of_place(site: Site) -> Iterator[Hazard]:
    comprehensions = 0
    for around in _around(site.node, site.frame):
        if isinstance(around, ast.GeneratorExp):
            yield Hazard("it is in a generator expression, which an await would make asynchronous", stops=True)
        comprehensions += isinstance(around, ast.ListComp | ast.SetComp | ast.DictComp)
    if comprehensions > 1:
        yield Hazard("it is in a comprehension inside another one", stops=True)


def _of_sessions(site: Site, functions: list[Function]) -> Iterator[Hazard]:
    given = site.node.args if isinstance(site.node, ast.Call) else []
    given = [*given, *(keyword.value for keyword in site.node.keywords)] if isinstance(site.node, ast.Call) else given
    names = {node.id for node in given if isinstance(node, ast.Name)}
    annotations = [
        (parameter.arg, ast.unparse(parameter.annotation) if parameter.annotation else "")
        for function in (site.frame, *functions)
        for parameter in function.parameters
        if function is not site.frame or parameter.arg in names
    ]
    if any("AsyncSession" in annotation for _, annotation in annotations):
        yield Hazard("it is given an AsyncSession, which belongs to the loop and must not go to a thread", stops=True)
    elif any("Session" in annotation or name in _SESSIONS for name, annotation in annotations) or (names & _SESSIONS):
        yield Hazard("it is given a database session, which is then used in another thread", stops=False)


def _of_loop(model: Model, functions: list[Function]) -> Iterator[Hazard]:
    for function in functions:
        for node in function.nodes:
            if isinstance(node, ast.Call):
                for value in model.flow.values(node.func, function):
                    if isinstance(value, External) and _needs_loop(value.path):
                        yield Hazard(
                            f"{function.name}() calls {ast.unparse(node.func)}, which needs the loop", stops=True
                        )
                        return


def _needs_loop(path: str) -> bool:
    return path.startswith("asyncio.") and path.partition(".")[2] in {
        "create_task",
        "current_task",
        "ensure_future",
        "get_event_loop",
        "get_running_loop",
    }


def _of_state(functions: list[Function]) -> Iterator[Hazard]:
    """The blocked loop was an accidental lock."""
    for function in functions:
        changed = _changed_state(function)
        if changed is not None:
            yield Hazard(
                f"{function.name}() changes {changed}, which requests share: so far the blocked loop kept them apart",
                stops=False,
            )
            return


def _changed_state(function: Function) -> str | None:
    for node in function.nodes:
        for target in _changed_by(node):
            root = _root(target)
            if root is None or (isinstance(target, ast.Name) and root not in function.elsewhere):
                continue
            is_own = function.receives_self and function.parameters and root == function.parameters[0].arg
            if is_own and function.name != "__init__" and not _is_made_here(node):
                return ast.unparse(target)
            is_shared = root not in function.names and root in function.module.names
            if is_shared and not _is_made_here(node):
                return ast.unparse(target)
    return None


def _changed_by(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Assign(targets=targets):
            yield from (target for target in targets if isinstance(target, ast.Attribute | ast.Subscript | ast.Name))
        case ast.AugAssign(target=target):
            yield target
        case ast.Delete(targets=targets):
            yield from targets
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _CHANGES:
            yield value
        case _:
            pass


def _is_made_here(node: ast.AST) -> bool:
    """`self.client = OpenAI()`, `_client = get()`: made late, not a history."""
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)


def _root(target: ast.expr) -> str | None:
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else None
