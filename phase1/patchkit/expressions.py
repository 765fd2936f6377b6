"""Which values can an expression have, given those of its names?

A container is taken for what is in it, a coroutine for what awaiting it gives.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from phase1.patchkit.annotations import Annotations
from phase1.patchkit.attributes import LONGEST
from phase1.patchkit.libraries import CHAIN, client_class, is_chain
from phase1.patchkit.modules import Modules
from phase1.patchkit.names import MANY
from phase1.patchkit.scopes import Class, Function, Scope
from phase1.patchkit.standard import argument_called, is_transparent
from phase1.patchkit.tree import Source
from phase1.patchkit.values import External, Generator, Instance, Made, Origin, Value, Values

__all__ = ["Expressions"]

_NOTHING: Final[Values] = frozenset()
_DEEPEST: Final = 40
_OF_CONTAINERS: Final = frozenset({"copy", "get", "items", "pop", "popitem", "setdefault", "values", "get_nowait"})


class Expressions(Annotations):
    """Expressions and calls. What was found is kept until a name in the scope gets a new value."""

    def __init__(self, sources: Iterable[Source], modules: Modules) -> None:
        super().__init__(sources, modules)
        self._caches: dict[Scope, dict[int, Values]] = {scope: {} for scope in self.scopes}

    def values(self, expression: ast.expr, scope: Scope, depth: int = 0) -> Values:
        """Everything that `expression` may be in `scope`."""
        cache = self._caches[scope]
        cached = cache.get(id(expression))
        if cached is not None:
            return cached
        if depth > _DEEPEST:
            return _NOTHING
        found = cache[id(expression)] = frozenset(self._evaluate(expression, scope, depth + 1))
        return found

    def _forget(self) -> None:
        for cache in self._caches.values():
            cache.clear()

    def _evaluate(self, expression: ast.expr, scope: Scope, depth: int) -> Iterator[Value]:  # noqa: C901, PLR0912 - a table
        match expression:
            case ast.Name(id=name):
                latest = scope.last_assignment(expression) if isinstance(scope, Function) else None
                yield from self._name(scope, name) if latest is None else self.values(latest, scope, depth)
            case ast.Attribute(value=value, attr=name):
                if isinstance(value, ast.Attribute) and value.attr == "state":
                    yield from self._get(("state", name))
                for owner in self.values(value, scope, depth):
                    yield from self.attribute(owner, name)
            case ast.Call(func=function):
                for target in self.values(function, scope, depth):
                    yield from self._call(target, expression, scope, depth)
                yield from self._from_container(function, scope, depth)
            case ast.Lambda():
                yield self._made(expression)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                sides = self.values(left, scope, depth) | self.values(right, scope, depth)
                if any(isinstance(side, External) and is_chain(side.path) for side in sides):
                    yield External(CHAIN)
            case ast.Await(value=value) | ast.Starred(value=value) | ast.NamedExpr(value=value):
                yield from self.values(value, scope, depth)
            case ast.Subscript(value=value):
                yield from self.values(value, scope, depth)
            case ast.IfExp(body=body, orelse=other):
                yield from self.values(body, scope, depth) | self.values(other, scope, depth)
            case ast.BoolOp(values=inner) | ast.Tuple(elts=inner) | ast.List(elts=inner) | ast.Set(elts=inner):
                for one in inner:
                    yield from self.values(one, scope, depth)
            case ast.Dict(values=inner) if len(inner) < MANY:
                for one in inner:
                    yield from self.values(one, scope, depth)
            case ast.ListComp(elt=element) | ast.GeneratorExp(elt=element) | ast.SetComp(elt=element):
                yield from self.values(element, scope, depth)
            case ast.DictComp(value=element):
                yield from self.values(element, scope, depth)
            case _:
                pass

    def _from_container(self, function: ast.expr, scope: Scope, depth: int) -> Iterator[Value]:
        if isinstance(function, ast.Attribute) and function.attr in _OF_CONTAINERS:
            for value in self.values(function.value, scope, depth):
                if not isinstance(value, External) and not any(self.attribute(value, function.attr)):
                    yield value

    def _call(self, target: Value, call: ast.Call | None, scope: Scope, depth: int) -> Iterator[Value]:
        match target:
            case External(path, origin):
                yield from self._call_external(path, origin, call, scope, depth)
            case Made(of=Class() as cls):
                yield Instance(cls)
            case Made(of=Function() as function):
                for one in (function, *self.overrides(function)):
                    yield from self.called(one)
            case Instance():
                for method in self.attribute(target, "__call__"):
                    yield from self._call(method, call, scope, depth)
            case _:
                pass

    def _call_external(
        self, path: str, origin: Origin | None, call: ast.Call | None, scope: Scope, depth: int
    ) -> Iterator[Value]:
        arguments = call.args if call is not None else []
        if is_transparent(path):
            for argument in arguments:
                yield from (
                    self._items(argument, scope) if path == "builtins.next" else self.values(argument, scope, depth)
                )
        elif path in {"typing.cast", "builtins.getattr"} and len(arguments) > 1:
            yield from self._cast_or_attribute(path, arguments, scope, depth)
        elif path == "builtins.super":
            yield from self._super(scope)
        elif (shift := argument_called(path)) is not None and len(arguments) > shift:
            for target in self.values(arguments[shift], scope, depth):
                yield from {target} if path == "functools.partial" else self._call(target, None, scope, depth)
        elif len(path) < LONGEST and not path.startswith("builtins."):
            if client_class(path) is not None and call is not None:
                origin = Origin(scope.source.name, call.lineno, call.col_offset)
            if _is_around_a_chain(path) and any(self._is_chain(argument, scope, depth) for argument in arguments):
                yield External(CHAIN)
            yield External(path + ("(stream)" if call is not None and _asks_for_stream(call) else "()"), origin)

    def _cast_or_attribute(self, path: str, arguments: list[ast.expr], scope: Scope, depth: int) -> Iterator[Value]:
        if path == "typing.cast":
            yield from self.values(arguments[1], scope, depth)
        elif isinstance(arguments[1], ast.Constant) and isinstance(arguments[1].value, str):
            for owner in self.values(arguments[0], scope, depth):
                yield from self.attribute(owner, arguments[1].value)

    def _is_chain(self, expression: ast.expr, scope: Scope, depth: int) -> bool:
        values = self.values(expression, scope, depth)
        return any(isinstance(value, External) and is_chain(value.path) for value in values)

    def _super(self, scope: Scope) -> Iterator[Value]:
        here: Scope | None = scope
        while here is not None and not isinstance(here, Class):
            here = here.parent
        if isinstance(here, Class):
            yield from (Instance(base) for base in self._mro(here)[1:2])

    def _items(self, expression: ast.expr, scope: Scope) -> Iterator[Value]:
        """What going through `expression` gives, one by one."""
        for value in self.values(expression, scope):
            yield from self.called(value.of, name="yield") if isinstance(value, Generator) else {value}

    def _entered(self, expression: ast.expr, scope: Scope) -> Iterator[Value]:
        """What `with expression as …` gives."""
        for value in self.values(expression, scope):
            match value:
                case Generator(function):
                    yield from self.called(function, name="yield")
                case Instance():
                    yield value
                case External(path, origin) if client_class(path.removesuffix("()")) is None:
                    yield External(f"{path}.__enter__()", origin) if len(path) < LONGEST else value
                case _:
                    yield value


def _asks_for_stream(call: ast.Call) -> bool:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "stream"]
    return any(not (isinstance(value, ast.Constant) and not value.value) for value in given)


def _is_around_a_chain(path: str) -> bool:
    return path.startswith(("langchain", "langgraph"))
