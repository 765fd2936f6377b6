"""Which values can an expression have? Everything that the tree assigns, passes and returns, until nothing changes.

Flow-insensitive: a name has all values that are ever given to it. A container is taken for what is in it. Annotations
count only where nothing else is known.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from phase1.patchkit.libraries import CHAIN, client_class, is_answer, is_chain
from phase1.patchkit.modules import Modules
from phase1.patchkit.scopes import Class, Function, Scope, scopes_of
from phase1.patchkit.standard import BUILTINS, argument_called, is_followed, is_transparent
from phase1.patchkit.tree import Source
from phase1.patchkit.values import External, Generator, Instance, Made, ModuleValue, Origin, Value, Values

__all__ = ["Flow"]

Key: TypeAlias = tuple[object, str]

_NOTHING: Final[Values] = frozenset()
_NO_VALUES: Final[set[Value]] = set()
_ROUNDS: Final = 4  # after the first the rest is small; what has not settled then is not followed further
_RERUNS: Final = 30  # of one scope in a round
_DEEPEST: Final = 40
_LONGEST: Final = 160  # characters of a path: `x = x.next()` would grow for ever
_MANY: Final = 40  # values of one name; more say nothing
_OF_CONTAINERS: Final = frozenset({"copy", "get", "items", "pop", "popitem", "setdefault", "values", "get_nowait"})
_BUILTIN: Final = {name: External(f"builtins.{name}") for name in BUILTINS}


class Flow:
    """The values of the names in `sources`."""

    def __init__(self, sources: Iterable[Source], modules: Modules) -> None:
        self._modules = modules
        self.scopes: list[Scope] = []
        self._of_file: dict[str, Scope] = {}
        self._of_node: dict[int, Scope] = {}
        for source in sources:
            scopes = scopes_of(source)
            self.scopes += scopes
            self._of_file[source.name] = scopes[0]
            self._of_node.update((id(scope.node), scope) for scope in scopes)
        self.classes = [scope for scope in self.scopes if isinstance(scope, Class)]
        self.functions = [scope for scope in self.scopes if isinstance(scope, Function)]
        self._values: dict[Key, set[Value]] = {}
        self._caches: dict[Scope, dict[int, Values]] = {scope: {} for scope in self.scopes}
        self._readers: dict[Key, set[Scope]] = {}
        self._dirty: set[Scope] = set()
        self._running: Scope | None = None
        self._bases: dict[Class, list[Class]] = {}
        self._aliases: dict[str, list[ast.expr]] = {}
        for scope in self._of_file.values():
            self._note_aliases(scope)
        self._effects = {scope: list(_effects(scope)) for scope in self.scopes}
        self._order = {scope: number for number, scope in enumerate(self.scopes)}
        self._settle()
        self._believe_annotations()
        self._settle()

    def _note_aliases(self, module: Scope) -> None:
        for node in module.nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value):
                    self._aliases.setdefault(name, []).append(value)
                case _:
                    pass

    # --- asked by the others ------------------------------------------------------------------------------------------

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

    def named(self, name: str, scope: Scope) -> Values:
        """Everything that `name` may be in `scope`."""
        return frozenset(self._name(scope, name))

    def module(self, source: Source) -> Scope | None:
        """The module of a file, if it was read."""
        return self._of_file.get(source.name)

    def scope_of(self, node: ast.AST) -> Scope:
        """The scope that a class, a function or a lambda opens."""
        return self._of_node[id(node)]

    def attribute(self, value: Value, name: str) -> Iterator[Value]:
        """What `value.name` may be."""
        match value:
            case External(path, origin):
                if len(path) < _LONGEST and not path.startswith("builtins.") and not is_answer(path):
                    yield External(f"{path}.{name}", origin)
                if path.endswith(".state"):
                    yield from self._get(("state", name))
            case ModuleValue(scope):
                yield from self._in_module(scope, name)
            case Instance(of=cls) | Made(of=Class() as cls):
                yield from self._of_class(value, cls, name)
            case _:
                pass

    def overrides(self, function: Function) -> list[Function]:
        """The methods that stand for `function` if it is abstract: those of the subclasses."""
        if function.owner is None or not _is_abstract(function):
            return []
        subclasses = [cls for cls in self.classes if function.owner in self._mro(cls)[1:]]
        return [cls.methods[function.name] for cls in subclasses if function.name in cls.methods]

    def bases(self, cls: Class) -> Iterator[Value]:
        """What a class is made from, over all its ancestors."""
        for ancestor in self._mro(cls):
            assert isinstance(ancestor.node, ast.ClassDef)  # noqa: S101 - for mypy
            for base in ancestor.node.bases:
                yield from self.values(base, ancestor.parent or ancestor)

    def called(self, function: Function, *, name: str = "return") -> Values:
        """What a call of `function` gives."""
        if function.yields and name == "return":
            return frozenset({Generator(function)})
        return frozenset(self._get((function, f"<{name}>")))

    def dependency(self, parameter: ast.arg, default: ast.expr | None, function: Function) -> Iterator[Made]:
        """The functions and classes that FastAPI calls for `parameter`."""
        outside = function.parent or function
        annotation = self._written(parameter.annotation)
        for expression in _dependencies(annotation, default):
            if expression.args:
                targets = self.values(expression.args[0], outside)
            else:
                targets = frozenset(self._annotated(annotation, outside))
            yield from (target for target in targets if isinstance(target, Made))

    def _written(self, annotation: ast.expr | None) -> ast.expr | None:
        """`CurrentUser = Annotated[User, Depends(get_user)]` for `CurrentUser`, if the tree has one of this name."""
        if isinstance(annotation, ast.Name):
            found = self._aliases.get(annotation.id, [])
            return found[0] if len(found) == 1 else annotation
        return annotation

    # --- until nothing changes ----------------------------------------------------------------------------------------

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

    def _forget(self) -> None:
        for cache in self._caches.values():
            cache.clear()

    def _get(self, key: Key) -> set[Value]:
        if self._running is not None:
            self._readers.setdefault(key, set()).add(self._running)
        return self._values.get(key, _NO_VALUES)

    def _put(self, key: Key, values: Iterable[Value]) -> None:
        known = self._values.setdefault(key, set())
        size = len(known)
        if size < _MANY:
            known.update(values)
            if len(known) != size:
                self._dirty |= self._readers.get(key, set())

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

    def _made(self, node: ast.AST) -> Value:
        inner = self._of_node[id(node)]
        assert isinstance(inner, Class | Function)  # noqa: S101 - for mypy
        return Made(inner)

    def _bind_own(self, function: Function) -> None:
        """Lambda bodies are returned; `self` is an instance; `Depends` fills parameters."""
        if isinstance(function.node, ast.Lambda):
            self._put((function, "<return>"), self.values(function.node.body, function))
        if function.owner is not None and function.receives_self and function.parameters:
            cls = Made(function.owner) if "classmethod" in function.decorators else Instance(function.owner)
            self._put((function, function.parameters[0].arg), {cls})
        for parameter, default in _with_defaults(function.arguments):
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

    # --- names --------------------------------------------------------------------------------------------------------

    def _home(self, scope: Scope, name: str) -> Key:
        """Where an assignment to `name` in `scope` goes."""
        if name in scope.elsewhere:
            here: Scope = scope.parent or scope
            while here.parent is not None and (isinstance(here, Class) or name not in here.names):
                here = here.parent
            return (here, name)
        return (scope, name)

    def _name(self, scope: Scope, name: str) -> Iterator[Value]:
        here: Scope | None = scope
        while here is not None:
            if name in here.names and (here is scope or not isinstance(here, Class)):
                yield from self._get((here, name))
                return
            here = here.parent
        for star in scope.module.stars:
            yield from self._from(star, name, scope.module)
        if name in BUILTINS:
            yield _BUILTIN[name]

    def _in_module(self, module: Scope, name: str) -> Iterator[Value]:
        if name in module.names:
            yield from self._get((module, name))
        yield from self._get((module, f"<set>{name}"))
        if name not in module.names:
            inside = self._modules.inside(module.source, name)
            if inside is not None and inside.name in self._of_file:
                yield ModuleValue(self._of_file[inside.name])
            for star in module.stars:
                yield from self._from(star, name, module)

    def _import(self, alias: ast.alias, scope: Scope) -> None:
        whole = self._modules.resolve(scope.source, alias.name)
        if alias.asname:
            self._put(self._home(scope, alias.asname), self._module_or_library(whole, alias.name))
            return
        top = alias.name.partition(".")[0]
        local = self._modules.resolve(scope.source, top)
        if local is not None or whole is None:
            self._put(self._home(scope, top), self._module_or_library(local, top))

    def _module_or_library(self, source: Source | None, name: str) -> Iterator[Value]:
        found = self._module(source)
        if found is not None:
            yield found
        elif is_followed(name):
            yield External(name)

    def _module(self, source: Source | None) -> ModuleValue | None:
        found = self._of_file.get(source.name) if source is not None else None
        return None if found is None else ModuleValue(found)

    def _from(self, node: ast.AST, name: str, scope: Scope) -> Iterator[Value]:
        assert isinstance(node, ast.ImportFrom)  # noqa: S101 - for mypy
        base = self._modules.resolve(scope.source, node.module or "", node.level)
        dotted = f"{node.module}.{name}" if node.module else name
        if base is not None and (module := self._module(base)) is not None:
            yield from self._in_module(module.scope, name)
            return
        inner = self._module(self._modules.resolve(scope.source, dotted, node.level))
        if inner is not None:
            yield inner
        elif base is None and not node.level and is_followed(dotted):
            yield External(dotted)

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

    # --- expressions --------------------------------------------------------------------------------------------------

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
            case ast.Dict(values=inner) if len(inner) < _MANY:
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
        elif len(path) < _LONGEST and not path.startswith("builtins."):
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
                    yield External(f"{path}.__enter__()", origin) if len(path) < _LONGEST else value
                case _:
                    yield value

    # --- classes ------------------------------------------------------------------------------------------------------

    def _mro(self, cls: Class) -> list[Class]:
        if cls not in self._bases:
            self._bases[cls] = [cls]  # a class cannot be its own ancestor
            assert isinstance(cls.node, ast.ClassDef)  # noqa: S101 - for mypy
            found = [cls]
            for base in cls.node.bases:
                for value in self.values(base, cls.parent or cls):
                    if isinstance(value, Made) and isinstance(value.of, Class):
                        found += [ancestor for ancestor in self._mro(value.of) if ancestor not in found]
            self._bases[cls] = found
        return self._bases[cls]

    def _of_class(self, value: Instance | Made, cls: Class, name: str) -> Iterator[Value]:
        for ancestor in self._mro(cls):
            yield from self._get((ancestor, name)) - {Made(method) for method in ancestor.methods.values()}
        for ancestor in self._mro(cls):
            if (method := ancestor.methods.get(name)) is not None:
                yield from self._method(value, method)
                return
        for base in self.bases(cls):
            if isinstance(base, External) and client_class(base.path) is not None:
                yield External(f"{base.path}().{name}")

    def _method(self, value: Instance | Made, method: Function) -> Iterator[Value]:
        if {"property", "cached_property"} & set(method.decorators):
            yield from self.called(method)
        elif "staticmethod" in method.decorators or (
            isinstance(value, Made) and "classmethod" not in method.decorators
        ):
            yield Made(method)
        else:
            yield Made(method, value)

    # --- calls --------------------------------------------------------------------------------------------------------

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

    # --- annotations --------------------------------------------------------------------------------------------------

    def _annotated_instances(self, annotation: ast.expr | None, scope: Scope) -> Iterator[Value]:
        for value in self._annotated(annotation, scope):
            match value:
                case Made(of=Class() as cls):
                    yield Instance(cls)
                case External(path) if not path.startswith(("builtins.", "typing.")):
                    yield External(f"{path}()")
                case _:
                    pass

    def _annotated(self, annotation: ast.expr | None, scope: Scope) -> Iterator[Value]:
        match annotation:
            case ast.Constant(value=str(text)):
                try:
                    parsed = ast.parse(text, mode="eval").body
                except (SyntaxError, ValueError):
                    return
                yield from self._annotated(parsed, scope)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                yield from self._annotated(left, scope)
                yield from self._annotated(right, scope)
            case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inside):
                if name in {"Optional", "Annotated", "Union", "Awaitable", "Coroutine", "Final", "ClassVar"}:
                    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
                    for part in parts[:1] if name == "Annotated" else parts:
                        yield from self._annotated(part, scope)
            case ast.Name() | ast.Attribute():
                yield from self._evaluate(annotation, scope, 0)
            case _:
                pass


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


def _with_defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    yield from zip(positional, [*missing, *arguments.defaults], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _dependencies(annotation: ast.expr | None, default: ast.expr | None) -> Iterator[ast.Call]:
    """`Depends(...)` as the default, or in an `Annotated`."""
    places = [default] if default is not None else []
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        places += annotation.slice.elts
    for place in places:
        match place:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in {"Depends", "Security"}:
                yield place
            case _:
                pass


def _asks_for_stream(call: ast.Call) -> bool:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "stream"]
    return any(not (isinstance(value, ast.Constant) and not value.value) for value in given)


def _is_around_a_chain(path: str) -> bool:
    return path.startswith(("langchain", "langgraph"))


def _is_abstract(function: Function) -> bool:
    if "abstractmethod" in function.decorators:
        return True
    body = [] if isinstance(function.node, ast.Lambda | ast.Module) else function.node.body
    real = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return all(isinstance(node, ast.Pass | ast.Raise) for node in real)
