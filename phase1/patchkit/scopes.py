"""What stands where in a module: its functions, its classes, and what each of them does itself?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from phase1.patchkit.tree import Source

__all__ = ["Class", "Function", "Scope", "scopes_of"]

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(eq=False, slots=True)
class Scope:
    """A module, a class body or a function: names, and the nodes that run when it runs (not those of scopes inside)."""

    source: Source
    name: str
    parent: Scope | None
    node: ast.Module | ast.ClassDef | FunctionNode
    nodes: list[ast.AST] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)  # `global` and `nonlocal`
    stars: list[ast.ImportFrom] = field(default_factory=list)
    outer: dict[int, ast.AST] = field(default_factory=dict)  # id(node) → the node around it
    _latest: dict[int, ast.expr | None] = field(default_factory=dict)
    _stored: dict[int, frozenset[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}@{self.source.name}>"

    @property
    def module(self) -> Scope:
        """The module that this is in."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def last_assignment(self, name: ast.Name) -> ast.expr | None:
        """The value that `name` certainly has here: given in this block or around it, with no other way between."""
        if name.id in self.elsewhere or not isinstance(name.ctx, ast.Load):
            return None
        if id(name) not in self._latest:
            self._latest[id(name)] = self._find_last(name)
        return self._latest[id(name)]

    def _find_last(self, name: ast.Name) -> ast.expr | None:
        node: ast.AST | None = name
        while node is not None:
            around = self.outer.get(id(node))
            if isinstance(node, ast.stmt):
                block = next((block for block in _blocks(around or self.node) if node in block), [])
                for statement in reversed(block[: block.index(node)] if block else []):
                    if name.id in self._stores(statement):
                        return _plainly_given(statement, name.id)
                if isinstance(around, ast.For | ast.AsyncFor | ast.While) and name.id in self._stores(around):
                    return None  # the round before may have given another one
            node = around
        return None

    def _stores(self, statement: ast.AST) -> frozenset[str]:
        """The names that something in `statement` gives a value to."""
        if id(statement) not in self._stored:
            names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            self._stored[id(statement)] = frozenset(node.id for node in names if not isinstance(node.ctx, ast.Load))
        return self._stored[id(statement)]


@dataclass(eq=False, slots=True, repr=False)
class Class(Scope):
    """A class."""

    methods: dict[str, Function] = field(default_factory=dict)


@dataclass(eq=False, slots=True, repr=False)
class Function(Scope):
    """A function, a method or a lambda."""

    owner: Class | None = None
    decorators: tuple[str, ...] = ()
    yields: bool = False

    @property
    def is_async(self) -> bool:
        """Whether it is an `async def`."""
        return isinstance(self.node, ast.AsyncFunctionDef)

    @property
    def arguments(self) -> ast.arguments:
        """Its parameters."""
        assert isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)  # noqa: S101 - for mypy
        return self.node.args

    @property
    def parameters(self) -> list[ast.arg]:
        """Those that take one value each, in order."""
        return [*self.arguments.posonlyargs, *self.arguments.args, *self.arguments.kwonlyargs]

    @property
    def receives_self(self) -> bool:
        """Whether its first parameter is the instance, or the class."""
        return self.owner is not None and "staticmethod" not in self.decorators

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.node.lineno if not isinstance(self.node, ast.Module) else 1


def scopes_of(source: Source) -> list[Scope]:
    """The module first, then everything in it."""
    reader = _Reader(source)
    module = Scope(source, "<module>", None, source.module)
    reader.scopes.append(module)
    reader.read(module, source.module.body)
    return reader.scopes


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _plainly_given(statement: ast.stmt, name: str) -> ast.expr | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=given)], value=value) if given == name:
            return value
        case ast.AnnAssign(target=ast.Name(id=given), value=value) if given == name:
            return value
        case _:
            return None


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.scopes: list[Scope] = []

    def read(self, scope: Scope, body: list[ast.stmt] | list[ast.expr]) -> None:
        """Go through what `scope` runs itself, without recursion: files can be nested deeply."""
        todo: list[ast.AST] = list(reversed(body))
        while todo:
            node = todo.pop()
            scope.nodes.append(node)
            _note_names(scope, node)
            inside = self._enter(scope, node) if isinstance(node, _SCOPES) else list(ast.iter_child_nodes(node))
            for child in reversed(inside):
                scope.outer[id(child)] = node
                todo.append(child)
        scope.names -= scope.elsewhere

    def _enter(self, scope: Scope, node: ast.AST) -> list[ast.AST]:
        """Read the scope inside; return what of its head runs outside."""
        if isinstance(node, ast.ClassDef):
            inner = Class(self.source, node.name, scope, node)
            self.scopes.append(inner)
            self.read(inner, node.body)
            return [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)  # noqa: S101 - for mypy
        function = self._function(scope, node)
        self.scopes.append(function)
        self.read(function, [node.body] if isinstance(node, ast.Lambda) else node.body)
        function.yields = any(isinstance(own, ast.Yield | ast.YieldFrom) for own in function.nodes)
        function.names |= {parameter.arg for parameter in ast.walk(node.args) if isinstance(parameter, ast.arg)}
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        return [*decorators, *node.args.defaults, *(default for default in node.args.kw_defaults if default)]

    def _function(self, scope: Scope, node: FunctionNode) -> Function:
        owner = scope if isinstance(scope, Class) else None
        if isinstance(node, ast.Lambda):
            return Function(self.source, "<lambda>", scope, node)
        decorators = tuple(_last_name(decorator) for decorator in node.decorator_list)
        function = Function(self.source, node.name, scope, node, owner=owner, decorators=decorators)
        if owner is not None:
            owner.methods.setdefault(node.name, function)
        return function


_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _note_names(scope: Scope, node: ast.AST) -> None:
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            scope.names.add(name)
        case ast.Global(names=names):
            scope.elsewhere.update(names)
            scope.module.names.update(names)
        case ast.Nonlocal(names=names):
            scope.elsewhere.update(names)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            scope.names.add(name)
        case ast.ImportFrom(names=[ast.alias(name="*")]):
            scope.stars.append(node)
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            scope.names.update((alias.asname or alias.name).partition(".")[0] for alias in aliases)
        case ast.ExceptHandler(name=str(name)):
            scope.names.add(name)
        case _:
            pass


def _last_name(decorator: ast.expr) -> str:
    match decorator:
        case ast.Call(func=func):
            return _last_name(func)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""
