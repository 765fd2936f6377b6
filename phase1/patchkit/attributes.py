"""What may `value.name` be: of an object, a class, a module or a library?"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from phase1.patchkit.libraries import client_class, is_answer
from phase1.patchkit.modules import Modules
from phase1.patchkit.names import Names
from phase1.patchkit.scopes import Class, Function, Scope
from phase1.patchkit.tree import Source
from phase1.patchkit.values import External, Generator, Instance, Made, ModuleValue, Value, Values

__all__ = ["LONGEST", "Attributes"]

LONGEST: Final = 160  # characters of a path: `x = x.next()` would grow for ever


class Attributes(Names):
    """Attributes, methods and what classes inherit."""

    def __init__(self, sources: Iterable[Source], modules: Modules) -> None:
        super().__init__(sources, modules)
        self._bases: dict[Class, list[Class]] = {}

    def values(self, expression: ast.expr, scope: Scope, depth: int = 0) -> Values:
        """Everything that `expression` may be in `scope`."""
        raise NotImplementedError

    def attribute(self, value: Value, name: str) -> Iterator[Value]:
        """What `value.name` may be."""
        match value:
            case External(path, origin):
                if len(path) < LONGEST and not path.startswith("builtins.") and not is_answer(path):
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


def _is_abstract(function: Function) -> bool:
    if "abstractmethod" in function.decorators:
        return True
    body = [] if isinstance(function.node, ast.Lambda | ast.Module) else function.node.body
    real = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return all(isinstance(node, ast.Pass | ast.Raise) for node in real)
