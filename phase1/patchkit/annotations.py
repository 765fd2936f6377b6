"""What do annotations and `Depends` say about a parameter?"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from phase1.patchkit.attributes import Attributes
from phase1.patchkit.modules import Modules
from phase1.patchkit.scopes import Class, Function, Scope
from phase1.patchkit.tree import Source
from phase1.patchkit.values import External, Instance, Made, Value

__all__ = ["Annotations", "with_defaults"]


class Annotations(Attributes):
    """Annotations, aliases of them, and the dependencies of FastAPI."""

    def __init__(self, sources: Iterable[Source], modules: Modules) -> None:
        super().__init__(sources, modules)
        self._aliases: dict[str, list[ast.expr]] = {}
        for scope in self._of_file.values():
            self._note_aliases(scope)

    def _evaluate(self, expression: ast.expr, scope: Scope, depth: int) -> Iterator[Value]:
        raise NotImplementedError

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

    def _note_aliases(self, module: Scope) -> None:
        for node in module.nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value):
                    self._aliases.setdefault(name, []).append(value)
                case _:
                    pass

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


def with_defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Each parameter that takes one value, with its default."""
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
