"""`from main import client` copies what the name stands for at that moment: `None`, if it is set at start-up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.libraries import client_class
from phase1.patchkit.model import Model
from phase1.patchkit.scopes import Function, Scope
from phase1.patchkit.values import External

__all__ = ["RULE", "find"]

RULE: Final = Rule("P308", "early-import", "p308-early-import", Safety.REPORT, "a client is imported before it is made")


def find(model: Model) -> Iterator[Finding]:
    """A bug that is there already: said, and left alone."""
    late = {(scope.source.name, name) for scope in model.flow.scopes for name in _made_late(model, scope)}
    for scope in model.flow.scopes:
        for node in scope.nodes if not isinstance(scope, Function) else ():
            if isinstance(node, ast.ImportFrom):
                module = model.module_of(node, scope)
                for alias in node.names:
                    if module is not None and (module.source.name, alias.name) in late:
                        yield _finding(scope, node, alias.name)


def _made_late(model: Model, module: Scope) -> Iterator[str]:
    """Names that are None in the module and get a client in a function."""
    if module.parent is not None:
        return
    empty = {name for node in module.nodes for name in _set_to_none(node)}
    for name in empty:
        values = model.flow.named(name, module)
        if any(isinstance(value, External) and client_class(value.path.removesuffix("()")) for value in values):
            yield name


def _set_to_none(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=None)):
            yield name
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=None)):
            yield name
        case _:
            pass


def _finding(scope: Scope, node: ast.ImportFrom, name: str) -> Finding:
    return Finding(
        RULE,
        Safety.REPORT,
        scope.source,
        node,
        f"`{name}` is imported while it is still None: this module never sees the client that is made later",
        f"import the module and use module.{name} where it is needed",
    )
