"""What may a name stand for? The values that were given to it, here, around here, or in the module that it is from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from phase1.patchkit.modules import Modules
from phase1.patchkit.scopes import Class, Function, Scope, scopes_of
from phase1.patchkit.standard import BUILTINS, is_followed
from phase1.patchkit.tree import Source
from phase1.patchkit.values import External, Made, ModuleValue, Value, Values

__all__ = ["MANY", "Key", "Names"]

Key: TypeAlias = tuple[object, str]

MANY: Final = 40  # values of one name; more say nothing
_NO_VALUES: Final[set[Value]] = set()
_BUILTIN: Final = {name: External(f"builtins.{name}") for name in BUILTINS}


class Names:
    """The scopes of the files, and what is known of their names so far."""

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
        self._readers: dict[Key, set[Scope]] = {}  # who has to look again when a name gets a new value
        self._dirty: set[Scope] = set()
        self._running: Scope | None = None

    def module(self, source: Source) -> Scope | None:
        """The module of a file, if it was read."""
        return self._of_file.get(source.name)

    def named(self, name: str, scope: Scope) -> Values:
        """Everything that `name` may be in `scope`."""
        return frozenset(self._name(scope, name))

    def scope_of(self, node: ast.AST) -> Scope:
        """The scope that a class, a function or a lambda opens."""
        return self._of_node[id(node)]

    def _get(self, key: Key) -> set[Value]:
        if self._running is not None:
            self._readers.setdefault(key, set()).add(self._running)
        return self._values.get(key, _NO_VALUES)

    def _put(self, key: Key, values: Iterable[Value]) -> None:
        known = self._values.setdefault(key, set())
        size = len(known)
        if size < MANY:
            known.update(values)
            if len(known) != size:
                self._dirty |= self._readers.get(key, set())

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

    def _made(self, node: ast.AST) -> Value:
        inner = self._of_node[id(node)]
        assert isinstance(inner, Class | Function)  # noqa: S101 - for mypy
        return Made(inner)
