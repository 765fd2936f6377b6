"""How do values get around? Everything that the tree assigns, passes and returns, until nothing changes.

Flow-insensitive, but for a function's own names: a name has all values that are ever given to it. Annotations count
only where nothing else is known.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from phase1.patchkit.annotations import with_defaults
from phase1.patchkit.expressions import Expressions
from phase1.patchkit.modules import Modules
from phase1.patchkit.names import Key
from phase1.patchkit.scopes import Class, Function, Scope
from phase1.patchkit.standard import argument_called
from phase1.patchkit.tree import Source
from phase1.patchkit.values import External, Instance, Made, ModuleValue, Value

__all__ = ["Flow"]

_ROUNDS: Final = 4  # after the first the rest is small; what has not settled then is not followed further
_RERUNS: Final = 30  # of one scope in a round


class Flow(Expressions):
    """The values of everything in `sources`."""

    def __init__(self, sources: Iterable[Source], modules: Modules) -> None:
        super().__init__(sources, modules)
        self._effects = {scope: list(_effects(scope)) for scope in self.scopes}
        self._order = {scope: number for number, scope in enumerate(self.scopes)}
        self._settle()
        self._believe_annotations()
        self._settle()

    def _settle(self) -> None:
        """All scopes once, then those again whose names have got new values, until a full round finds nothing new."""
        for _ in range(_ROUNDS):
            self._dirty.clear()
            self._bases.clear()
            self._forget()
            for scope in self.scopes:
                self._run(scope)
            if not self._dirty:
                return
            runs: Counter[Scope] = Counter()
            while waiting := [scope for scope in self._dirty if runs[scope] < _RERUNS]:
                self._dirty.clear()
                for scope in sorted(waiting, key=self._order.__getitem__):
                    runs[scope] += 1
                    self._caches[scope].clear()
                    self._run(scope)
        self._forget()

    def _run(self, scope: Scope) -> None:
        self._running = scope
        if isinstance(scope, Function):
            self._bind_own(scope)
        for effect, node in self._effects[scope]:
            effect(self, node, scope)
        self._running = None

    def _assigned(self, node: ast.Assign, scope: Scope) -> None:
        for target in node.targets:
            self._assign(target, node.value, scope)

    def _assigned_once(self, node: ast.AnnAssign | ast.NamedExpr, scope: Scope) -> None:
        if node.value is not None:
            self._assign(node.target, node.value, scope)

    def _added(self, node: ast.AugAssign, scope: Scope) -> None:
        self._store(node.target, self.values(node.value, scope), scope)

    def _looped(self, node: ast.For | ast.AsyncFor | ast.comprehension, scope: Scope) -> None:
        self._store(node.target, self._items(node.iter, scope), scope)

    def _with(self, node: ast.withitem, scope: Scope) -> None:
        if node.optional_vars is not None:
            self._store(node.optional_vars, self._entered(node.context_expr, scope), scope)

    def _gives(self, node: ast.Return | ast.Yield, scope: Scope) -> None:
        if node.value is not None:
            name = "<return>" if isinstance(node, ast.Return) else "<yield>"
            self._put((scope, name), self.values(node.value, scope))

    def _gives_all(self, node: ast.YieldFrom, scope: Scope) -> None:
        self._put((scope, "<yield>"), self._items(node.value, scope))

    def _defined(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, scope: Scope) -> None:
        self._put(self._home(scope, node.name), {self._made(node)})

    def _imported(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            self._import(alias, scope)

    def _imported_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        for alias in node.names:
            self._put(self._home(scope, alias.asname or alias.name), self._from(node, alias.name, scope))

    def _bind_own(self, function: Function) -> None:
        """Lambda bodies are returned; `self` is an instance; `Depends` fills parameters."""
        if isinstance(function.node, ast.Lambda):
            self._put((function, "<return>"), self.values(function.node.body, function))
        if function.owner is not None and function.receives_self and function.parameters:
            cls = Made(function.owner) if "classmethod" in function.decorators else Instance(function.owner)
            self._put((function, function.parameters[0].arg), {cls})
        for parameter, default in with_defaults(function.arguments):
            for target in self.dependency(parameter, default, function):
                self._put((function, parameter.arg), self._call(target, None, function, 0))
            if default is not None:
                self._put((function, parameter.arg), self.values(default, function.parent or function))

    def _believe_annotations(self) -> None:
        """Where nothing was given, what is written must do."""
        for function in self.functions:
            outside = function.parent or function
            for parameter in function.parameters:
                if not self._get((function, parameter.arg)):
                    self._put((function, parameter.arg), self._annotated_instances(parameter.annotation, outside))
            if not isinstance(function.node, ast.Lambda | ast.Module | ast.ClassDef) and not self.called(function):
                self._put((function, "<return>"), self._annotated_instances(function.node.returns, outside))
        for scope in self.scopes:
            for node in scope.nodes:
                if isinstance(node, ast.AnnAssign):
                    for key in self._targets(node.target, scope):
                        if not self._get(key):
                            self._put(key, self._annotated_instances(node.annotation, scope))

    def _targets(self, target: ast.expr, scope: Scope) -> Iterator[Key]:  # noqa: C901 - a table
        """Where an assignment to `target` goes."""
        match target:
            case ast.Name(id=name):
                yield self._home(scope, name)
            case ast.Attribute(value=ast.Attribute(attr="state"), attr=name):
                yield ("state", name)
            case ast.Attribute(value=value, attr=name):
                for owner in self.values(value, scope):
                    match owner:
                        case Instance(of=cls) | Made(of=Class() as cls):
                            yield (cls, name)
                        case ModuleValue(module):
                            yield (module, name if name in module.names else f"<set>{name}")
                        case External(path) if path.endswith(".state"):
                            yield ("state", name)
                        case _:
                            pass
            case ast.Subscript(value=value) | ast.Starred(value=value):
                yield from self._targets(value, scope)
            case ast.Tuple(elts=inner) | ast.List(elts=inner):
                for one in inner:
                    yield from self._targets(one, scope)
            case _:
                pass

    def _assign(self, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
                for one, its in zip(targets, values, strict=True):
                    self._assign(one, its, scope)
            case _:
                self._store(target, self.values(value, scope), scope)

    def _store(self, target: ast.expr, values: Iterable[Value], scope: Scope) -> None:
        found = frozenset(values)
        if found:
            for key in self._targets(target, scope):
                self._put(key, found)

    def _pass_arguments(self, call: ast.Call, scope: Scope) -> None:  # noqa: C901 - a table
        for target in self.values(call.func, scope):
            match target:
                case Made(of=Function() as function, bound=bound):
                    for one in (function, *self.overrides(function)):
                        self._bind(one, bound, call.args, call.keywords, scope)
                case Made(of=Class() as cls):
                    self._construct(cls, call, scope)
                case Instance():
                    for method in self.attribute(target, "__call__"):
                        if isinstance(method, Made) and isinstance(method.of, Function):
                            self._bind(method.of, method.bound, call.args, call.keywords, scope)
                case External(path) if (shift := argument_called(path)) is not None:
                    for inner in self.values(call.args[shift], scope) if len(call.args) > shift else ():
                        if isinstance(inner, Made) and isinstance(inner.of, Function):
                            self._bind(inner.of, inner.bound, call.args[shift + 1 :], call.keywords, scope)
                case _:
                    pass

    def _construct(self, cls: Class, call: ast.Call, scope: Scope) -> None:
        for method in self.attribute(Instance(cls), "__init__"):
            if isinstance(method, Made) and isinstance(method.of, Function):
                self._bind(method.of, Instance(cls), call.args, call.keywords, scope)
                return
        fields = [
            node.target.id
            for node in cls.nodes
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        for name, argument in zip(fields, call.args, strict=False):
            self._put((cls, name), self.values(argument, scope))
        for keyword in call.keywords:
            if keyword.arg in fields:
                self._put((cls, str(keyword.arg)), self.values(keyword.value, scope))

    def _bind(
        self,
        function: Function,
        bound: Instance | Made | None,
        positional: list[ast.expr],
        keywords: list[ast.keyword],
        scope: Scope,
    ) -> None:
        names = [parameter.arg for parameter in (*function.arguments.posonlyargs, *function.arguments.args)]
        if bound is not None and names and function.receives_self:
            self._put((function, names.pop(0)), {bound})
        for name, argument in zip(names, positional, strict=False):
            if isinstance(argument, ast.Starred):
                break
            self._put((function, name), self.values(argument, scope))
        accepted = {parameter.arg for parameter in function.parameters}
        for keyword in keywords:
            if keyword.arg in accepted:
                self._put((function, str(keyword.arg)), self.values(keyword.value, scope))


_EFFECTS: Final[dict[type[ast.AST], Callable[..., None]]] = {
    ast.AnnAssign: Flow._assigned_once,  # noqa: SLF001 - its own table
    ast.Assign: Flow._assigned,  # noqa: SLF001
    ast.AsyncFor: Flow._looped,  # noqa: SLF001
    ast.AsyncFunctionDef: Flow._defined,  # noqa: SLF001
    ast.AugAssign: Flow._added,  # noqa: SLF001
    ast.Call: Flow._pass_arguments,  # noqa: SLF001
    ast.ClassDef: Flow._defined,  # noqa: SLF001
    ast.For: Flow._looped,  # noqa: SLF001
    ast.FunctionDef: Flow._defined,  # noqa: SLF001
    ast.Import: Flow._imported,  # noqa: SLF001
    ast.ImportFrom: Flow._imported_from,  # noqa: SLF001
    ast.NamedExpr: Flow._assigned_once,  # noqa: SLF001
    ast.Return: Flow._gives,  # noqa: SLF001
    ast.Yield: Flow._gives,  # noqa: SLF001
    ast.YieldFrom: Flow._gives_all,  # noqa: SLF001
    ast.comprehension: Flow._looped,  # noqa: SLF001
    ast.withitem: Flow._with,  # noqa: SLF001
}


def _effects(scope: Scope) -> Iterator[tuple[Callable[..., None], ast.AST]]:
    for node in scope.nodes:
        effect = _EFFECTS.get(type(node))
        if effect is not None:
            yield effect, node
